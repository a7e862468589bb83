"""How the searches went, as hypervolume over evaluations, and which choices drive AP and latency."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from litepose_ofa.search.reporting.importance import METHOD, ChoiceImportance, quantity_title
from litepose_ofa.search.reporting.page.section import BLUE, INK, LOW_HEIGHT, ORANGE, Chart, Grid, Prose, Section
from litepose_ofa.search.reporting.summary import AP_BY, REFERENCE

BAR_STEP = 17
"""Pixels a bar."""

RAISES, LOWERS = "more of it raises the quantity", "more of it lowers it"


def course_section(progress: pd.DataFrame) -> Section | None:
    """Return the section of the hypervolume over evaluations, a chart a device; None where none was recorded."""
    if progress.empty:
        return None
    source = str(progress["ap_source"].iloc[0])
    intro = (
        f"Hypervolume after each generation, AP by the {AP_BY[source]}. Reference point: {REFERENCE} of each tier; "
        "100 % would be AP 100 at no latency, so compare along a line, not between lines."
    )
    charts = [_hypervolume_chart(str(device), rows) for device, rows in progress.groupby("device", sort=False)]
    return Section("hypervolume", "Course of the searches", [Prose(intro), Grid(charts)])


def importance_section(importances: Mapping[str, Mapping[str, ChoiceImportance]], source: str) -> Section | None:
    """Return the section of what drives AP and latency, a chart a quantity; None where nothing is known of it."""
    if not importances:
        return None
    intro = (
        f"Bars: {METHOD}: the share of a quantity's variance that is left, on average, when all other choices "
        "are fixed; as choices interact, they add up to 100 % or more. Thin lines: standard errors."
    )
    first = next(iter(importances.values()))
    names = sorted(first, key=lambda name: -first[name].share)
    charts = [
        _importance_chart(quantity_title(quantity, source), found, names) for quantity, found in importances.items()
    ]
    return Section("importance", "What drives AP and latency", [Prose(intro), Grid(charts)])


def _hypervolume_chart(device: str, rows: pd.DataFrame) -> Chart:
    several = rows["budget_ms"].isna().all()
    labels = [
        str(tier) if pd.isna(budget) else f"{tier}: {budget:.4g} ms"
        for tier, budget in zip(rows["tier"], rows["budget_ms"], strict=True)
    ]
    points = pd.DataFrame(
        {"evaluations": rows["evaluations"], "hypervolume": (100 * rows["hypervolume"]).round(3), "tier": labels}
    )
    chart = alt.Chart(points).mark_line(point=alt.OverlayMarkDef(size=40), strokeWidth=2)
    told = [alt.Tooltip("tier:N"), alt.Tooltip("evaluations:Q"), alt.Tooltip("hypervolume:Q", title="hypervolume, %")]
    encoded = chart.encode(
        x=alt.X("evaluations:Q", scale=alt.Scale(zero=False)),
        y=alt.Y("hypervolume:Q", title="hypervolume, %", scale=alt.Scale(zero=False)),
        color=alt.Color("tier:N", title=None, sort=list(dict.fromkeys(labels))),
        tooltip=told,
    )
    title = f"{device}: mean of their fronts" if several else device
    return Chart(
        encoded.properties(width="container", height=LOW_HEIGHT, title=title),
        f"{title}: a line a tier{'' if several else ' and its latency budget'}.",
    )


def _importance_chart(title: str, found: Mapping[str, ChoiceImportance], names: list[str]) -> Chart:
    bars = pd.DataFrame([_bar(name, found[name]) for name in names])
    y = alt.Y("choice:N", sort=names, title=None, axis=alt.Axis(labelLimit=140, ticks=False, domain=False))
    colour = alt.Color(
        "effect:N", title=None, scale=alt.Scale(domain=[RAISES, LOWERS], range=[BLUE, ORANGE]),
    )  # fmt: skip
    told = [
        alt.Tooltip("choice:N"),
        alt.Tooltip("share:Q", title="share of variance, %", format=".1f"),
        alt.Tooltip("direction:N"),
    ]
    base = alt.Chart(bars)
    x = alt.X("share:Q", title="share of variance, %", axis=alt.Axis(grid=True))
    layers = alt.layer(
        base.mark_bar().encode(x=x, y=y, color=colour, tooltip=told),
        base.mark_rule(color=INK, opacity=0.6).encode(x="low:Q", x2="high:Q", y=y),
    )
    return Chart(
        layers.properties(width="container", height=BAR_STEP * len(names) + 10, title=title),
        f"{title}: shares of variance by choice, in the order of the first chart.",
    )


def _bar(name: str, found: ChoiceImportance) -> dict[str, Any]:
    return {
        "choice": name,
        "share": round(100 * found.share, 3),
        "low": round(100 * max(found.share - found.error, 0), 3),
        "high": round(100 * (found.share + found.error), 3),
        "effect": RAISES if found.direction >= 0 else LOWERS,
        "direction": f"{found.direction:+.2f} (+1: more of it always raises the quantity)",
    }
