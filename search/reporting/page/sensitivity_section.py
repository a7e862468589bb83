"""Sensitivity: what AP and cost do as each dimension alone varies."""

from collections.abc import Sequence
from pathlib import Path

import altair as alt
import pandas as pd
from altair.typing import ChartType

from litepose_ofa.search.reporting.page.section import (
    BLUE,
    GREY,
    VERMILION,
    Block,
    Chart,
    Grid,
    Prose,
    Section,
    recorded_blocks,
    zero_line,
)
from litepose_ofa.search.reporting.searches import read_table
from litepose_ofa.search.trust.sensitivity import published_kernel_changes, sensitivity_devices

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
        sensitivity_blocks,
        what="What each dimension is worth",
        command=COMMAND,
        read=lambda path: read_table(path, COLUMNS),
    )
    return Section("sensitivity", "Sensitivity", blocks)


def sensitivity_blocks(frame: pd.DataFrame) -> list[Block]:
    """Return the blocks of the frame of ``measure_sensitivity``."""
    base = frame[frame["is_base"]].iloc[0]
    devices = sensitivity_devices(frame)
    published = _published(frame)
    blocks: list[Block] = [
        Prose(
            f"One dimension changed at a time, all others as in the base subnet of {100 * base['ap']:.1f} % AP and "
            f"{base['macs'] / 1e6:,.1f} MMACs; one supernet, its weights shared, batch norm recalibrated for each."
        ),
        Chart(
            dimension_chart(changes(frame, "ap", relative=False), "change of AP, points", BLUE, published),
            "Change of AP as one dimension varies; the number beside a point is the dimension's value, 0 is the base."
            + (" Squares: the published change by kernels, CrowdPose, trained separately." if len(published) else ""),
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


def _published(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the published changes of AP from the base's kernel, as ``changes`` does; nothing if it has none."""
    kernels = frame.loc[frame["is_base"] & (frame["dimension"] == "kernel"), "value"].astype(str)
    found = [published_kernel_changes(int(kernel)) for kernel in kernels if kernel.isdigit()]
    rows = [("kernel", str(kernel), 100 * change) for each in found for kernel, change in each.items()]
    return pd.DataFrame(rows, columns=["dimension", "value", "change"])


def dimension_chart(frame: pd.DataFrame, title: str, colour: str, published: pd.DataFrame | None = None) -> ChartType:
    """Draw a line a dimension from its least to its greatest change, with a point a value.

    Args:
        frame: From ``changes``.
        title: Of the axis of changes.
        colour: Of the points.
        published: To show beside them, from elsewhere.
    """
    order: Sequence[str] = list(dict.fromkeys(frame["dimension"]))
    row = alt.Y("dimension:N", sort=order, title=None)
    along = alt.X("change:Q", title=title, scale=alt.Scale(nice=True))
    spans = frame.groupby("dimension", sort=False)["change"].agg(low="min", high="max").reset_index()
    lines = alt.Chart(spans).mark_rule(color=GREY, strokeWidth=3).encode(alt.X("low:Q"), row, x2="high:Q")
    tooltip = ["dimension:N", "value:N", alt.Tooltip("change:Q", title=title, format="+.2f")]
    points = alt.Chart(frame).mark_circle(size=70, color=colour, opacity=1).encode(along, row, tooltip=tooltip)
    labels = alt.Chart(frame).mark_text(dy=-10, fontSize=10).encode(along, row, text="value:N")
    layers = alt.layer(zero_line("change").encode(along), lines, points, labels)
    if published is not None and len(published):
        squares = alt.Chart(published).mark_point(shape="square", size=70, color=VERMILION)
        values = alt.Chart(published).mark_text(dy=13, fontSize=10, color=VERMILION)
        layers += squares.encode(along, row, tooltip=tooltip) + values.encode(along, row, text="value:N")
    return layers.properties(width="container", height=ROW * len(order))
