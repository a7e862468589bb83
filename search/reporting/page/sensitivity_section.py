"""Sensitivity: what AP and cost do as each dimension alone varies."""

from collections.abc import Sequence
from pathlib import Path

import altair as alt
import pandas as pd
from altair.typing import ChartType

from litepose_ofa.search.reporting.page.charts import (
    BLUE,
    GREY,
    INK,
    VERMILION,
)
from litepose_ofa.search.reporting.page.recorded import recorded_blocks
from litepose_ofa.search.reporting.page.section import (
    Block,
    Chart,
    Grid,
    Prose,
    Section,
)
from litepose_ofa.search.reporting.searches import read_table
from litepose_ofa.search.trust.sensitivity import sensitivity_devices

SENSITIVITY_FILE = "sensitivity.csv"
COMMAND = "litepose sensitivity"
COLUMNS = ("dimension", "value", "is_base", "ap", "macs", "params")

ROW = 26
"""Pixels of a dimension."""


def sensitivity_section(workspace: Path) -> Section:
    """Return what ``litepose sensitivity`` measured.

    Args:
        workspace: The workspace.
    """
    blocks = recorded_blocks(
        workspace / "sensitivity" / SENSITIVITY_FILE,
        _blocks,
        what="What each dimension is worth",
        command=COMMAND,
        read=lambda path: read_table(path, COLUMNS),
    )
    return Section("sensitivity", "Sensitivity", blocks)


def _blocks(frame: pd.DataFrame) -> list[Block]:
    base = frame[frame["is_base"]].iloc[0]
    devices = sensitivity_devices(frame)
    blocks: list[Block] = [
        Prose(
            f"One dimension changed at a time, all others as in the base subnet of {100 * base['ap']:.1f} % AP and "
            f"{base['macs'] / 1e6:,.1f} MMACs; one supernet, its weights shared, batch norm recalibrated for each."
        ),
        Chart(
            dimension_chart(changes(frame, "ap", relative=False), "change of AP, points", BLUE),
            "Change of AP as one dimension varies; the number beside a point is the dimension's value, 0 is the base.",
        ),
    ]
    costs = []
    for device in devices:
        measured = bool((frame[f"latency_provenance/{device}"] == "measured").all())
        kind = "latency from a measured table" if measured else "estimated latency"
        chart = dimension_chart(
            changes(frame, f"latency_ms/{device}", relative=True), f"change of {kind}, %", VERMILION
        )
        costs.append(Chart(chart, f"{device}: change of the {kind} as one dimension varies."))
    if not devices:
        chart = dimension_chart(changes(frame, "macs", relative=True), "change of MACs, %", VERMILION)
        costs.append(Chart(chart, "Change of MACs as one dimension varies."))
    return [*blocks, Grid(costs)]


def changes(frame: pd.DataFrame, column: str, *, relative: bool) -> pd.DataFrame:
    """Return ``dimension``, ``value`` and ``change`` from the base architecture.

    Args:
        frame: From ``sensitivity``.
        column: What changes.
        relative: In percent of the base's; otherwise in points, 100 times the difference.
    """
    base = float(frame.loc[frame["is_base"], column].iloc[0])
    change = 100 * (frame[column] - base) / (base if relative else 1)
    return pd.DataFrame({"dimension": frame["dimension"], "value": frame["value"].astype(str), "change": change})


def dimension_chart(frame: pd.DataFrame, title: str, colour: str) -> ChartType:
    """Draw a line a dimension from its least to its greatest change, with a point a value.

    Args:
        frame: From ``changes``.
        title: Of the axis of changes.
        colour: Of the points.
    """
    order: Sequence[str] = list(dict.fromkeys(frame["dimension"]))
    row = alt.Y("dimension:N", sort=order, title=None)
    along = alt.X("change:Q", title=title, scale=alt.Scale(nice=True))
    spans = frame.groupby("dimension", sort=False)["change"].agg(low="min", high="max").reset_index()
    zero = alt.Chart(pd.DataFrame({"change": [0.0]})).mark_rule(color=INK, opacity=0.4, strokeDash=[3, 3])
    lines = alt.Chart(spans).mark_rule(color=GREY, strokeWidth=3).encode(alt.X("low:Q"), row, x2="high:Q")
    tooltip = ["dimension:N", "value:N", alt.Tooltip("change:Q", title=title, format="+.2f")]
    points = alt.Chart(frame).mark_circle(size=70, color=colour, opacity=1).encode(along, row, tooltip=tooltip)
    labels = alt.Chart(frame).mark_text(dy=-10, fontSize=10).encode(along, row, text="value:N")
    layers = alt.layer(zero.encode(along), lines, points, labels)
    return layers.properties(width="container", height=ROW * len(order))
