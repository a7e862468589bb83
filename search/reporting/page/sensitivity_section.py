"""Whether the supernet can be trusted: the worth of each dimension in it, and its ranking against training alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from altair.typing import ChartType

from litepose_ofa.search.reporting.page.section import (
    BLUE,
    GREY,
    HEIGHT,
    VERMILION,
    Block,
    Chart,
    Grid,
    Prose,
    Section,
    Table,
    interval,
    percent_axis,
    recorded_blocks,
    zero_line,
)
from litepose_ofa.search.reporting.searches import read_table
from litepose_ofa.search.trust.rank_fidelity import GROUP_LABELS
from litepose_ofa.search.trust.sensitivity import published_kernel_changes, sensitivity_devices
from litepose_ofa.search.workspace import Workspace

COLUMNS = ("dimension", "value", "is_base", "ap", "macs", "params")

ROW = 26
"""Pixels of a dimension."""


def sensitivity_section(workspace: Path) -> Section:
    """Return what ``litepose sensitivity`` measured."""
    blocks = recorded_blocks(
        Workspace(workspace).sensitivity,
        sensitivity_blocks,
        what="What each dimension is worth",
        command="litepose sensitivity",
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
    """Return ``dimension``, ``value`` and ``change`` from the base architecture."""
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
    """Draw a line a dimension from its least to its greatest change, with a point a value."""
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


def fidelity_section(workspace: Path) -> Section:
    """Return what ``litepose rank-fidelity`` recorded."""
    path = Workspace(workspace).rank_fidelity
    what = "Whether the supernet ranks subnets as training each alone would"
    return Section(
        "rank-fidelity",
        "Rank fidelity",
        recorded_blocks(path, fidelity_blocks, what=what, command="litepose rank-fidelity"),
    )


def fidelity_blocks(record: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of the record of ``litepose rank-fidelity``."""
    report = record["report"]
    groups = report["groups"]
    frame = _points(record["records"])
    level = f"{100 * report['confidence']:g} %"
    found = ", ".join(
        f"{interval(group['inherited']['kendall_tau'])} {GROUP_LABELS.get(name, name)}"
        for name, group in groups.items()
    )
    blocks: list[Block] = [
        Prose(
            f"Subnets trained alone, {record['steps']:,} steps each, against the same subnets with the supernet's "
            f"weights. Kendall tau: {found}. In brackets: {level} bootstrap intervals over the subnets."
        )
    ]
    mmacs = [float(frame["mmacs"].min()), float(frame["mmacs"].max())]
    taus = {name: interval(group["inherited"]["kendall_tau"]) for name, group in groups.items()}
    blocks.append(Grid([_scatter(frame[frame["group"] == name], name, mmacs, tau) for name, tau in taus.items()]))
    caption = (
        "Among subnets of equal MACs their size cannot rank them: what is left is what the supernet knows beyond size. "
        f"Regret: AP points lost by taking the best of the {report['top_k']} ranked highest."
    )
    return [*blocks, Table(fidelity_table(report), caption)]


def fidelity_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a group of subnets."""
    return pd.DataFrame(_row(name, group) for name, group in report["groups"].items())


def _row(name: str, group: Mapping[str, Any]) -> dict[str, str]:
    low, high = (macs / 1e6 for macs in group["macs_range"])
    row = {
        "subnets": f"{GROUP_LABELS.get(name, name)}, {group['num_subnets']}",
        "MMACs": f"{low:,.4g} to {high:,.4g}",
        "tau, inherited AP": interval(group["inherited"]["kendall_tau"]),
        "tau, MACs alone": interval(group["macs"]["kendall_tau"]),
        "gain over MACs": interval(group["tau_gain"], "+.2f"),
        "regret, AP points": interval(group["inherited"]["regret"], ".1f", scale=100),
    }
    if "noise_ceiling" in group:
        row["tau, two training seeds"] = interval(group["noise_ceiling"])
        row["tau, inherited AP, one seed"] = interval(group["inherited_one_seed"])
    return row


def _points(records: list[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": record["group"],
            "arch": record["arch_digest"],
            "mmacs": record["macs"] / 1e6,
            "inherited": 100 * record["inherited_ap"],
            "alone": 100 * sum(record["trained_aps"]) / len(record["trained_aps"]),
            "low": 100 * min(record["trained_aps"]),
            "high": 100 * max(record["trained_aps"]),
        }
        for record in records
    )


def _scatter(frame: pd.DataFrame, group: str, mmacs: list[float], tau: str) -> Chart:
    x = alt.X("inherited:Q", **percent_axis("inherited AP, %"))
    y = percent_axis("AP trained alone, %")
    scale = alt.Scale(scheme="viridis", type="log", domain=mmacs)
    colour = alt.Color("mmacs:Q", scale=scale, legend=alt.Legend(title="MMACs", direction="horizontal"))
    seeds = alt.Chart(frame).mark_rule(color=GREY).encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q")
    points = (
        alt.Chart(frame)
        .mark_circle(size=80, opacity=1, stroke="currentColor", strokeWidth=0.6, strokeOpacity=0.6)
        .encode(
            x=x,
            y=alt.Y("alone:Q", **y),
            color=colour,
            tooltip=[
                alt.Tooltip("arch:N", title="subnet"),
                alt.Tooltip("inherited:Q", title="inherited AP, %", format=".1f"),
                alt.Tooltip("alone:Q", title="AP alone, %", format=".1f"),
                alt.Tooltip("mmacs:Q", title="MMACs", format=",.4g"),
            ],
        )
    )
    several = "; a line spans the training seeds" if (frame["high"] > frame["low"]).any() else ""
    caption = (
        f"Subnets, {GROUP_LABELS.get(group, group)}: AP trained alone against inherited AP{several}; Kendall tau {tau}."
    )
    return Chart(alt.layer(seeds, points).properties(width="container", height=HEIGHT), caption)
