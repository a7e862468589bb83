"""The picture of the fronts: AP against latency on each device."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from litepose_ofa.search.reporting.figures import (
    PANEL_COLUMNS,
    add_legend,
    make_grid,
    save_picture,
    set_title,
)
from litepose_ofa.search.reporting.front_view import (
    CHOSEN_BY,
    LatencyWindow,
    ap_range,
    ap_title,
    interval_ends,
    interval_note,
    latency_title,
    latency_window,
    outside_note,
    staircase,
)
from litepose_ofa.search.reporting.panels import DevicePanel
from litepose_ofa.search.reporting.published_points import PublishedPoint
from litepose_ofa.search.reporting.summary import AP_BY

FRONT_COLOUR, CHOSEN_COLOUR, PUBLISHED_COLOUR = "tab:blue", "tab:red", "tab:orange"
CLOUD_COLOUR = "0.75"

NOTE_WIDTH = 56
"""Characters a line."""

CHOSEN_MARKERS = {"ap_val": ("o", CHOSEN_COLOUR), "ap_search": ("D", CHOSEN_COLOUR), "ap_predicted": ("o", "white")}
"""Marker and fill of a chosen subnet by the best AP that is known of it."""


def plot_fronts(path: Path | str, panels: Sequence[DevicePanel], *, source: str, dataset: str | None) -> None:
    """Draw AP against latency, one panel a device: the front, what was chosen of it, and the published subnets.

    Args:
        path: The PNG to write.
        panels: The devices.
        source: Where the searches' accuracies come from.
        dataset: What the AP is of, if known.
    """
    figure, axes = make_grid(len(panels), width=5.2, height=4.8, share_y=True)
    bottoms, tops = zip(
        *(_draw_panel(axis, panel, source) for axis, panel in zip(axes, panels, strict=True)), strict=True
    )
    margin = 0.05 * (max(tops) - min(bottoms)) or 1.0
    axes[0].set_ylim(min(bottoms) - margin, max(tops) + margin)
    for axis in axes[::PANEL_COLUMNS]:
        axis.set_ylabel(ap_title(dataset))
    set_title(figure, f"Pareto fronts: AP, by the {AP_BY[source]}, against latency", source)
    add_legend(figure, axes)
    save_picture(figure, path)


def _draw_panel(axis: Axes, panel: DevicePanel, source: str) -> tuple[float, float]:
    """Draw a panel; return the least and the greatest AP, in %, that it has to show."""
    if panel.cloud is not None:
        cloud = panel.cloud
        axis.scatter(cloud.latency_ms, 100 * cloud.ap, s=9, color=CLOUD_COLOUR, lw=0, label=cloud.label, zorder=1)
    front, window = staircase(panel.front), latency_window(panel)
    axis.step(
        front["latency_ms"],
        100 * front["ap"],
        where="post",
        color=FRONT_COLOUR,
        lw=1.5,
        label=f"front: AP by the {AP_BY[source]}",
        zorder=2,
    )
    verified = panel.front[panel.front["verified_ap"].notna()]
    if len(verified):
        axis.plot(
            verified["latency_ms"], 100 * verified["verified_ap"], "x", color=FRONT_COLOUR, ms=5, lw=0,
            label="of the front, measured on the search split", zorder=3,
        )  # fmt: skip
    _draw_budgets(axis, panel.summary)
    note = interval_note(panel)
    _draw_chosen(axis, panel.summary, source, with_intervals=not note)
    _limit_latency(axis, window)
    _draw_published(axis, [point for point in panel.published if window.holds(point.latency_ms)])
    axis.set_xlabel(latency_title(panel))
    axis.set_title(panel.title, fontsize=11, pad=16)
    axis.grid(alpha=0.25)
    all_notes = (note, outside_note(panel.published, window), panel.note)
    notes = [textwrap.fill(note, NOTE_WIDTH) for note in all_notes if note]
    axis.text(
        0.98, 0.02, "\n".join(notes), transform=axis.transAxes, fontsize=7.5, color="0.3", ha="right", va="bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}, zorder=7,
    ).set_in_layout(False)  # fmt: skip
    return ap_range(panel, window)


def _draw_budgets(axis: Axes, summary: pd.DataFrame) -> None:
    for index, (budget_ms, tiers) in enumerate(summary.groupby("budget_ms")["tier"]):
        axis.axvline(float(str(budget_ms)), color="0.45", lw=0.7, ls=":", label="_" * index + "latency budgets")
        axis.annotate(
            ", ".join(tiers).upper(), (float(str(budget_ms)), 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", fontsize=7.5, color="0.35", ha="center", va="bottom",
        )  # fmt: skip


def _draw_chosen(axis: Axes, summary: pd.DataFrame, source: str, *, with_intervals: bool) -> None:
    left = summary
    for column, (marker, fill) in CHOSEN_MARKERS.items():
        known, left = left[left[column].notna()], left[left[column].isna()]
        if known.empty:
            continue
        latency = known["latency_ms"].to_numpy(np.float64)
        axis.errorbar(
            latency, 100 * known[column].to_numpy(np.float64), fmt=marker, ms=6, lw=0.9, capsize=2,
            xerr=np.abs(interval_ends(known) - latency) if with_intervals else None, color=CHOSEN_COLOUR,
            markerfacecolor=fill, zorder=5,
            label=f"{CHOSEN_BY[column].format(source=AP_BY[source])} (bar: 80 % interval of latency)",
        )  # fmt: skip


def _draw_published(axis: Axes, published: Sequence[PublishedPoint]) -> None:
    """Draw published subnets; one without an AP on this dataset is a mark at the foot of the picture."""
    with_ap = [(point.latency_ms, 100 * point.ap) for point in published if point.ap is not None]
    without = [(point.latency_ms, 0.0) for point in published if point.ap is None]
    style: dict[str, Any] = {"lw": 0, "color": PUBLISHED_COLOUR, "markeredgecolor": "0.2", "zorder": 6}
    if with_ap:
        label = "published LitePose: its published AP, latency by the same table"
        axis.plot(*zip(*with_ap, strict=True), "*", ms=11, label=label, **style)
    if without:
        label = "published LitePose: latency by the same table, no published AP on this dataset"
        transform = axis.get_xaxis_transform()
        axis.plot(*zip(*without, strict=True), "^", ms=8, label=label, clip_on=False, transform=transform, **style)
    for point in published:
        place, coordinates = (100 * point.ap, "data") if point.ap is not None else (0, "axes fraction")
        axis.annotate(
            f"LitePose-{point.name}", (point.latency_ms, place), xycoords=("data", coordinates), fontsize=7.5, zorder=6,
            xytext=(0, -14) if point.ap is not None else (0, 9), textcoords="offset points", ha="center",
        ).set_in_layout(False)  # fmt: skip


def _limit_latency(axis: Axes, window: LatencyWindow) -> None:
    axis.set_xlim(window.low_ms, window.high_ms)
    if window.is_logarithmic:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
