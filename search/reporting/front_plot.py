"""The picture of the fronts: AP against latency on each device."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from search.reporting.figures import PANEL_COLUMNS, add_legend, make_grid, save_picture, set_title
from search.reporting.panels import DevicePanel
from search.reporting.published_points import PublishedPoint
from search.reporting.summary import AP_BY

FRONT_COLOUR, CHOSEN_COLOUR, PUBLISHED_COLOUR = "tab:blue", "tab:red", "tab:orange"
CLOUD_COLOUR = "0.75"

CLOUD_CUT = 0.1
"""Share of the subnets behind a front, those of the least AP, that may fall below the picture."""

WIDEST_BELOW = 3
"""How far below the least budget a picture goes, as a factor."""

LINEAR_RATIO = 6
"""Greatest by least latency from which on the axis is logarithmic."""

WIDEST_INTERVAL = 0.5
"""Greatest half-width of an interval that is drawn, by the extent of the picture."""

NOTE_WIDTH = 56
"""Characters a line."""

CHOSEN_MARKERS = {
    "ap_val": ("o", CHOSEN_COLOUR, "chosen: AP on held-out images"),
    "ap_search": ("D", CHOSEN_COLOUR, "chosen: AP on the search split"),
    "ap_predicted": ("o", "white", "chosen: AP by the {source}"),
}
"""Marker, fill and label of a chosen subnet by the best AP that is known of it."""


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
    margin = 0.05 * (max(tops) - min(bottoms))
    axes[0].set_ylim(min(bottoms) - margin, max(tops) + margin)
    for axis in axes[::PANEL_COLUMNS]:
        axis.set_ylabel(f"AP{'' if dataset is None else f' on {dataset}'}, %")
    set_title(figure, f"Pareto fronts: AP, by the {AP_BY[source]}, against latency", source)
    add_legend(figure, axes)
    save_picture(figure, path)


def _draw_panel(axis: Axes, panel: DevicePanel, source: str) -> tuple[float, float]:
    """Draw a panel; return the least and the greatest AP, in %, that it has to show."""
    if panel.cloud is not None:
        cloud = panel.cloud
        axis.scatter(cloud.latency_ms, 100 * cloud.ap, s=9, color=CLOUD_COLOUR, lw=0, label=cloud.label, zorder=1)
    points = panel.front.sort_values(["latency_ms", "ap"], ascending=[True, False])
    front = points[points["ap"] > points["ap"].cummax().shift(fill_value=-np.inf)]
    axis.step(
        front["latency_ms"],
        100 * front["ap"],
        where="post",
        color=FRONT_COLOUR,
        lw=1.5,
        label=f"front: AP by the {AP_BY[source]}",
        zorder=2,
    )
    verified = points[points["verified_ap"].notna()]
    if len(verified):
        axis.plot(
            verified["latency_ms"], 100 * verified["verified_ap"], "x", color=FRONT_COLOUR, ms=5, lw=0,
            label="of the front, measured on the search split", zorder=3,
        )  # fmt: skip
    _draw_budgets(axis, panel.summary)
    interval_note = _interval_note(panel)
    _draw_chosen(axis, panel.summary, source, with_intervals=not interval_note)
    _limit_latency(axis, panel, front)
    _draw_published(axis, panel.published)
    provenances = set(panel.summary["latency_provenance"])
    axis.set_xlabel("latency by measured operators, ms" if provenances == {"measured"} else "estimated latency, ms")
    axis.set_title(panel.title, fontsize=11, pad=16)
    axis.grid(alpha=0.25)
    all_notes = (interval_note, _outside_note(axis, panel.published), panel.note)
    notes = [textwrap.fill(note, NOTE_WIDTH) for note in all_notes if note]
    axis.text(
        0.98, 0.02, "\n".join(notes), transform=axis.transAxes, fontsize=7.5, color="0.3", ha="right", va="bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}, zorder=7,
    ).set_in_layout(False)  # fmt: skip
    return _ap_range(axis, panel, front)


def _ap_range(axis: Axes, panel: DevicePanel, front: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of what is inside the latencies shown; of other subnets the worst may fall below."""
    left, right = axis.get_xlim()
    shown = [100 * front.loc[front["latency_ms"].between(left, right), "ap"].to_numpy(np.float64)]
    chosen = panel.summary[list(CHOSEN_MARKERS)].to_numpy(np.float64).ravel()
    shown.append(100 * chosen[~np.isnan(chosen)])
    shown.append(
        np.array([100 * point.ap for point in panel.published if point.ap and left <= point.latency_ms <= right])
    )
    if panel.cloud is not None and len(panel.cloud.ap):
        shown.append(np.quantile(100 * panel.cloud.ap, [CLOUD_CUT, 1]))
    values = np.concatenate(shown)
    return float(values.min()), float(values.max())


def _draw_budgets(axis: Axes, summary: pd.DataFrame) -> None:
    for index, (budget_ms, tiers) in enumerate(summary.groupby("budget_ms")["tier"]):
        axis.axvline(float(str(budget_ms)), color="0.45", lw=0.7, ls=":", label="_" * index + "latency budgets")
        axis.annotate(
            ", ".join(tiers).upper(), (float(str(budget_ms)), 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", fontsize=7.5, color="0.35", ha="center", va="bottom",
        )  # fmt: skip


def _draw_chosen(axis: Axes, summary: pd.DataFrame, source: str, *, with_intervals: bool) -> None:
    left = summary
    for column, (marker, fill, label) in CHOSEN_MARKERS.items():
        known, left = left[left[column].notna()], left[left[column].isna()]
        if known.empty:
            continue
        latency = known["latency_ms"].to_numpy(np.float64)
        axis.errorbar(
            latency, 100 * known[column].to_numpy(np.float64), fmt=marker, ms=6, lw=0.9, capsize=2,
            xerr=np.abs(_interval_ends(known) - latency) if with_intervals else None, color=CHOSEN_COLOUR,
            markerfacecolor=fill, zorder=5,
            label=f"{label.format(source=AP_BY[source])} (bar: 80 % interval of latency)",
        )  # fmt: skip


def _interval_note(panel: DevicePanel) -> str:
    """Say how wide the intervals are where a picture has no room for them, else nothing."""
    ends = _interval_ends(panel.summary)
    shown = [*panel.front["latency_ms"], *panel.summary["budget_ms"]]
    half = float(np.median(ends[1] - ends[0])) / 2
    if half < WIDEST_INTERVAL * (max(shown) - min(shown)):
        return ""
    return f"80 % intervals of the latencies, \N{PLUS-MINUS SIGN}{half:.2g} ms, are wider than this picture."


def _outside_note(axis: Axes, published: Sequence[PublishedPoint]) -> str:
    """Say which published subnets are faster or slower than all that a picture shows, if any."""
    left, right = axis.get_xlim()
    outside = [point for point in published if not left <= point.latency_ms <= right]
    listed = ", ".join(f"{point.name}\N{NO-BREAK SPACE}{point.latency_ms:,.0f}" for point in outside)
    return f"Published LitePose outside of this picture, ms: {listed}." if outside else ""


def _interval_ends(summary: pd.DataFrame) -> NDArray[np.float64]:
    """Return the low and the high ends of latencies, shape (2, n)."""
    return summary[["latency_low_ms", "latency_high_ms"]].to_numpy(np.float64).T


def _draw_published(axis: Axes, published: Sequence[PublishedPoint]) -> None:
    """Draw what lies inside; a subnet without an AP on this dataset is a mark at the foot of the picture."""
    left, right = axis.get_xlim()
    inside = [point for point in published if left <= point.latency_ms <= right]
    with_ap = [(point.latency_ms, 100 * point.ap) for point in inside if point.ap is not None]
    without = [(point.latency_ms, 0.0) for point in inside if point.ap is None]
    style: dict[str, Any] = {"lw": 0, "color": PUBLISHED_COLOUR, "markeredgecolor": "0.2", "zorder": 6}
    if with_ap:
        label = "published LitePose: its published AP, latency by the same table"
        axis.plot(*zip(*with_ap, strict=True), "*", ms=11, label=label, **style)
    if without:
        label = "published LitePose: latency by the same table, no published AP on this dataset"
        transform = axis.get_xaxis_transform()
        axis.plot(*zip(*without, strict=True), "^", ms=8, label=label, clip_on=False, transform=transform, **style)
    for point in inside:
        place, coordinates = (100 * point.ap, "data") if point.ap is not None else (0, "axes fraction")
        axis.annotate(
            f"LitePose-{point.name}", (point.latency_ms, place), xycoords=("data", coordinates), fontsize=7.5, zorder=6,
            xytext=(0, -14) if point.ap is not None else (0, 9), textcoords="offset points", ha="center",
        ).set_in_layout(False)  # fmt: skip


def _limit_latency(axis: Axes, panel: DevicePanel, front: pd.DataFrame) -> None:
    """Show the fronts from well below the least budget on, and the budgets; wider intervals go beyond the picture."""
    budgets = panel.summary["budget_ms"]
    ends = [*front["latency_ms"], *panel.summary["latency_ms"], *budgets]
    inside = [point.latency_ms for point in panel.published if point.latency_ms < 1.5 * max(ends)]
    low, high = max(min(ends), min(budgets) / WIDEST_BELOW), max([*ends, *inside])
    if high < LINEAR_RATIO * low:
        axis.set_xlim(low - 0.05 * (high - low), high + 0.08 * (high - low))
        return
    axis.set_xscale("log")
    axis.set_xlim(0.93 * low, 1.4 * high)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
