"""What searches chose, how they went, what drives AP and latency, and what is missing of them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import altair as alt
import numpy as np
import pandas as pd
from altair.typing import ChartType

from litepose_ofa.search.reporting.importance import AP, LATENCY, METHOD
from litepose_ofa.search.reporting.page.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    ROW,
    VERMILION,
    lines,
    tooltips,
)
from litepose_ofa.search.reporting.page.section import Chart, Grid, Link, Section, Table
from litepose_ofa.search.reporting.searches import FinishedSearch, Missing
from litepose_ofa.search.reporting.summary import AP_BY, REFERENCE, explain_marks, format_gaps, shown_summary
from litepose_ofa.supernet.archs.operators import operators_of, places_of

NOT_A_BLOCK = "stem, deconvs, heads"
KIND_COLOURS = {"3x3": VERMILION, "5x5": GREEN, "7x7": BLUE, NOT_A_BLOCK: GREY}

SQUARES = [120, 450]
"""Square pixels of the operators of fewest and of most channels."""

BAR = 17
"""Pixels of a bar."""

RAISES, LOWERS = "more of it raises the quantity", "more of it lowers it"


def summary_section(summary: pd.DataFrame, folder: Path) -> Section:
    """Return the section of the chosen subnets; ``folder`` is the report's."""
    frame = shown_summary(summary)
    addresses = [quote(Path(os.path.relpath(place, folder)).as_posix()) + "/" for place in frame.pop("folder")]
    links = [Link(tier, address) for tier, address in zip(frame["tier"], addresses, strict=True)]
    frame["tier"] = pd.Series(links, dtype=object)
    caption = (
        "The chosen subnets; each tier leads to its files. AP in %; peak memory is that of the activations in float32 "
        "at batch 1. The same, unrounded: summary.csv beside this page."
    )
    table = Table(frame.dropna(axis="columns", how="all"), caption)
    return Section("summary", "Summary", [table, explain_marks(summary)])


def missing_section(gaps: Sequence[Missing]) -> Section | None:
    """Return the section of what a report has to do without, or None if that is nothing."""
    if not gaps:
        return None
    return Section("missing", "Missing", ["This report has to do without the following.", format_gaps(gaps)])


def subnets_section(cells: Sequence[FinishedSearch]) -> Section:
    """Return the section of the operators of what searches chose, a chart a device."""
    intro = (
        "A square is an operator, in the order they run, larger for more channels; its colour is the kernel of a "
        "block's depthwise convolution, the number on it the expansion of the block's hidden layer. Grey are stem, "
        "fusion deconvs and heads. Point at one for its sizes and MACs."
    )
    frame = pd.concat([subnet_operators(cell) for cell in cells], ignore_index=True)
    channels = frame["channels out"]
    size = alt.Scale(domain=[int(channels.min()), int(channels.max())], range=SQUARES)
    depths = zip(*(cell.arch.depths for cell in cells), strict=True)
    order = [_place(place.name) for place in places_of(tuple(map(max, depths)))]
    devices = frame.groupby("device", sort=False)
    return Section("subnets", "Chosen subnets", [intro, *(_subnets_chart(d, rows, order, size) for d, rows in devices)])


def subnet_operators(cell: FinishedSearch) -> pd.DataFrame:
    """Return a row an operator of what a search chose, in the order they run."""
    arch = cell.arch
    operators = zip(places_of(arch.depths), operators_of(arch, cell.num_keypoints), strict=True)
    return pd.DataFrame(
        {
            "device": cell.device,
            "tier": f"{cell.tier}, {arch.image_size} px",
            "subnet": arch.digest,
            "operator": _place(place.name),
            "channels in": operator.in_channels,
            "channels out": operator.out_channels,
            "kernel": f"{operator.kernel}x{operator.kernel}",
            "expansion": operator.expansion or None,
            "map side in, px": operator.resolution,
            "map side out, px": operator.out_resolution,
            "MMACs": operator.macs / 1e6,
            "kind": f"{operator.kernel}x{operator.kernel}" if operator.expansion else NOT_A_BLOCK,
        }
        for place, operator in operators
    )


def _place(name: str) -> str:
    """Return ``stage 3.1`` for ``stage.2.0``."""
    return re.sub(r"\d+", lambda index: str(int(index[0]) + 1), name).replace(".", " ", 1)


def _subnets_chart(device: Any, frame: pd.DataFrame, order: list[str], size: alt.Scale) -> Chart:
    kinds = sorted(frame["kind"].unique())
    colours = alt.Scale(domain=kinds, range=[KIND_COLOURS.get(kind, PURPLE) for kind in kinds])
    x = alt.X("operator:N", sort=order, title=None, scale=alt.Scale(domain=order))
    base = alt.Chart(frame).encode(x, alt.Y("tier:N", sort=None, title=None))
    squares = base.mark_square(opacity=1).encode(
        alt.Size("channels out:Q", scale=size, legend=None), alt.Color("kind:N", scale=colours),
        tooltip=tooltips(frame.drop(columns=["device", "kind"])),
    )  # fmt: skip
    numbers = base.mark_text(fontSize=10, color="white").encode(text="expansion:N").transform_filter("datum.expansion")
    chart = alt.layer(squares, numbers).properties(height=ROW * frame["tier"].nunique(), title=device)
    subnets = frame[["tier", "subnet"]].drop_duplicates().itertuples(index=False)
    listed = "; ".join(f"{row.tier}: {row.subnet}" for row in subnets)
    return Chart(chart, f"{device}, the smallest budget first. {listed}.")


def course_section(progress: pd.DataFrame) -> Section | None:
    """Return the section of the hypervolume over evaluations, a chart a device; None where none was recorded."""
    if progress.empty:
        return None
    intro = (
        f"Hypervolume after each generation, AP by the {AP_BY[progress['ap_source'].iloc[0]]}. Reference point: "
        f"{REFERENCE} of each tier; 100 % would be AP 100 at no latency, so compare along a line, not between lines."
    )
    charts = []
    for device, rows in progress.groupby("device", sort=False):
        several = rows["budget_ms"].isna().all()
        budgets = "" if several else rows["budget_ms"].map(": {:.4g} ms".format)
        frame = pd.DataFrame({"evaluations": rows["evaluations"], "tier": rows["tier"].astype(str) + budgets})
        frame["hypervolume, %"] = 100 * rows["hypervolume"]
        chart = lines(frame, "evaluations", "hypervolume, %", "tier", point=True)
        title = f"{device}: mean of their fronts" if several else str(device)
        caption = f"{title}: a line a tier{'' if several else ' and its latency budget'}."
        charts.append(Chart(chart.properties(title=title), caption))
    return Section("hypervolume", "Course of the searches", [intro, Grid(charts)])


def importance_section(importances: pd.DataFrame, source: str) -> Section | None:
    """Return the section of what drives AP and latency, a chart a quantity; None where nothing is known of it."""
    if importances.empty:
        return None
    intro = (
        f"Bars: {METHOD}: the share of a quantity's variance that is left, on average, when all other choices "
        "are fixed; as choices interact, they add up to 100 % or more. Thin lines: standard errors."
    )
    quantities = importances.groupby("quantity", sort=False)
    order = next(rows["choice"].tolist() for _, rows in quantities)
    charts = []
    for quantity, rows in quantities:
        title = f"AP by the {AP_BY[source]}" if quantity == AP else f"latency on {str(quantity).removeprefix(LATENCY)}"
        caption = f"{title}: shares of variance by choice, in the order of the first chart."
        charts.append(Chart(_importance_chart(rows, order).properties(title=title), caption))
    return Section("importance", "What drives AP and latency", [intro, Grid(charts)])


def _importance_chart(rows: pd.DataFrame, order: list[str]) -> ChartType:
    share, error = 100 * rows["variance_share"], 100 * rows["standard_error"]
    frame = pd.DataFrame(
        {
            "choice": rows["choice"],
            "share of variance, %": share,
            "from, %": (share - error).clip(lower=0),
            "to, %": share + error,
            "direction": rows["direction"].map("{:+.2f} (+1: more of it always raises the quantity)".format),
            "effect": np.where(rows["direction"] >= 0, RAISES, LOWERS),
        }
    )
    title = "share of variance, %"
    x, y = alt.X(f"{title}:Q", axis=alt.Axis(grid=True)), alt.Y("choice:N", sort=order, title=None)
    colour = alt.Color("effect:N", scale=alt.Scale(domain=[RAISES, LOWERS], range=[BLUE, ORANGE]))
    base = alt.Chart(frame).encode(y=y)
    bars = base.mark_bar().encode(x=x, color=colour, tooltip=tooltips(frame))
    errors = base.mark_rule(opacity=0.6).encode(alt.X("from, %:Q", title=title), x2="to, %:Q")
    return alt.layer(bars, errors).properties(height=BAR * len(order) + 10)
