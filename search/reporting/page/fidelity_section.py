"""Rank fidelity: AP inside the supernet against AP after training the same subnets alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from litepose_ofa.search.reporting.page.section import (
    GREY,
    HEIGHT,
    Block,
    Chart,
    Grid,
    Prose,
    Section,
    Table,
    interval,
    percent_axis,
    recorded_blocks,
)
from litepose_ofa.search.trust.rank_fidelity import GROUP_LABELS

FIDELITY_FILE = "rank_fidelity.json"
COMMAND = "litepose rank-fidelity"


def fidelity_section(workspace: Path) -> Section:
    """Return what ``litepose rank-fidelity`` recorded.

    Args:
        workspace: The workspace.
    """
    path = workspace / "rank_fidelity" / FIDELITY_FILE
    what = "Whether the supernet ranks subnets as training each alone would"
    return Section("rank-fidelity", "Rank fidelity", recorded_blocks(path, fidelity_blocks, what=what, command=COMMAND))


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
    blocks.append(Grid([_scatter(frame[frame["group"] == name], name, mmacs) for name in groups]))
    caption = (
        "Among subnets of equal MACs their size cannot rank them: what is left is what the supernet knows beyond size. "
        f"Regret: AP points lost by taking the best of the {report['top_k']} ranked highest."
    )
    return [*blocks, Table(fidelity_table(report), caption)]


def fidelity_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a group of subnets.

    Args:
        report: ``fidelity_report``.
    """
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


def _scatter(frame: pd.DataFrame, group: str, mmacs: list[float]) -> Chart:
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
    caption = f"Subnets, {GROUP_LABELS.get(group, group)}: AP trained alone against inherited AP{several}."
    return Chart(alt.layer(seeds, points).properties(width="container", height=HEIGHT), caption)
