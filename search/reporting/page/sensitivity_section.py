"""Whether the supernet can be trusted: the worth of each dimension in it, and its ranking against training alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from altair.typing import ChartType

from litepose_ofa.search.rank_agreement import format_estimate
from litepose_ofa.search.reporting.page.drawing import BLUE, GREY, ROW, VERMILION, scatter, tooltips
from litepose_ofa.search.reporting.page.section import Block, Chart, Grid, Table
from litepose_ofa.search.reporting.searches import read_table
from litepose_ofa.search.trust.rank_fidelity import GROUP_LABELS, format_group
from litepose_ofa.search.trust.sensitivity import sensitivity_devices


def read_sensitivity(path: Path) -> pd.DataFrame:
    """Read the frame of ``measure_sensitivity``."""
    return read_table(path, ("dimension", "value", "is_base"), numbers=("ap", "macs", "params"))


def sensitivity_blocks(frame: pd.DataFrame) -> list[Block]:
    """Return the blocks of the frame of ``measure_sensitivity``."""
    base = frame[frame["is_base"]].iloc[0]
    text = (
        f"One dimension changed at a time, all others as in the base subnet of {100 * base['ap']:.1f} % AP and "
        f"{base['macs'] / 1e6:,.1f} MMACs; one supernet, its weights shared, batch norm recalibrated for each."
    )
    caption = "Change of AP as one dimension varies; the number beside a point is the dimension's value, 0 is the base."
    accuracy = Chart(change_chart(frame["ap"] - base["ap"], frame, "change of AP, points", BLUE), caption)
    costs = []
    for device in sensitivity_devices(frame):
        measured = bool((frame[f"latency_provenance/{device}"] == "measured").all())
        kind = "latency from a measured table" if measured else "estimated latency"
        costs.append((f"latency_ms/{device}", f"change of {kind}, %", f"{device}: change of the {kind}"))
    charts = [
        Chart(
            change_chart(frame[column] / base[column] - 1, frame, title, VERMILION),
            f"{caption} as one dimension varies.",
        )
        for column, title, caption in costs or [("macs", "change of MACs, %", "Change of MACs")]
    ]
    return [text, accuracy, Grid(charts)]


def change_chart(change: "pd.Series[float]", frame: pd.DataFrame, title: str, colour: str) -> ChartType:
    """Draw a row of points a dimension around 0, the base, for changes of the rows of a frame, with its values."""
    points = pd.DataFrame({"dimension": frame["dimension"], "value": frame["value"].astype(str), title: 100 * change})
    base = alt.Chart(points).encode(alt.X(f"{title}:Q"), alt.Y("dimension:N", sort=None, title=None))
    zero = alt.Chart(pd.DataFrame({title: [0]})).mark_rule(opacity=0.4, strokeDash=[3, 3]).encode(alt.X(f"{title}:Q"))
    line = base.mark_line(color=GREY, strokeWidth=3, opacity=0.5).encode(detail="dimension:N")
    circles = base.mark_circle(size=70, color=colour, opacity=1).encode(tooltip=tooltips(points))
    values = base.mark_text(dy=-10, fontSize=10).encode(text="value:N")
    return alt.layer(zero, line, circles, values).properties(height=ROW * points["dimension"].nunique())


def fidelity_blocks(record: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of the record of ``litepose rank-fidelity``."""
    report, frame = record["report"], _points(record["records"])
    taus = {name: format_estimate(group["inherited"]["kendall_tau"]) for name, group in report["groups"].items()}
    found = ", ".join(f"{tau} {GROUP_LABELS[name]}" for name, tau in taus.items())
    text = (
        f"Subnets trained alone, {record['steps']:,} steps each, against the same subnets with the supernet's weights. "
        f"Kendall tau: {found}. In brackets: {100 * report['confidence']:g} % intervals over the subnets."
    )
    mmacs = [float(frame["MMACs"].min()), float(frame["MMACs"].max())]
    charts = [_scatter(frame[frame["group"] == name], name, mmacs, tau) for name, tau in taus.items()]
    table = pd.DataFrame([format_group(name, group) for name, group in report["groups"].items()])
    caption = (
        "Among subnets of equal MACs their size cannot rank them: what is left is what the supernet knows beyond size. "
        f"Regret: AP points lost by taking the best of the {report['top_k']} ranked highest."
    )
    return [text, Grid(charts), Table(table, caption)]


def _points(records: list[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": record["group"],
            "subnet": record["arch_digest"],
            "MMACs": record["macs"] / 1e6,
            "inherited AP, %": 100 * record["inherited_ap"],
            "AP trained alone, %": 100 * float(np.mean(record["trained_aps"])),
            "least of the seeds": 100 * min(record["trained_aps"]),
            "best of the seeds": 100 * max(record["trained_aps"]),
        }
        for record in records
    )


def _scatter(frame: pd.DataFrame, group: str, mmacs: list[float], tau: str) -> Chart:
    scale = alt.Scale(scheme="viridis", type="log", domain=mmacs)
    colour = alt.Color("MMACs:Q", scale=scale, legend=alt.Legend(title="MMACs", direction="horizontal"))
    seeds = ("least of the seeds", "best of the seeds")
    several = "; a line spans the training seeds" if (frame[seeds[1]] > frame[seeds[0]]).any() else ""
    subnets = f"Subnets, {GROUP_LABELS[group]}"
    return Chart(
        scatter(frame, "inherited AP, %", "AP trained alone, %", colour, interval=seeds, equality=False),
        f"{subnets}: AP trained alone against inherited AP{several}; Kendall tau {tau}.",
    )
