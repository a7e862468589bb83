"""What a picture of a device's front shows: which latencies and APs, the front's staircase, and what it leaves out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from litepose_ofa.search.reporting.panels import DevicePanel
from litepose_ofa.search.reporting.published_points import PublishedPoint

CLOUD_CUT = 0.1
"""Share of the subnets behind a front, those of the least AP, that may fall below the picture."""

WIDEST_BELOW = 3
"""How far below the least budget a picture goes, as a factor, unless something that was chosen is faster."""

LINEAR_RATIO = 6
"""Greatest by least latency from which on the axis is logarithmic."""

WIDEST_INTERVAL = 0.5
"""Greatest half-width of an interval that is drawn, by the extent of the picture."""

CHOSEN_BY = {
    "ap_val": "chosen: AP on held-out images",
    "ap_search": "chosen: AP on the search split",
    "ap_predicted": "chosen: AP by the {source}",
}
"""The APs that may be known of a chosen subnet, the best first, and how a legend says so."""


@dataclass(frozen=True, slots=True)
class LatencyWindow:
    """The latencies that a picture shows, in ms, and whether its axis is logarithmic."""

    low_ms: float
    high_ms: float
    is_logarithmic: bool

    def holds(self, latency_ms: float) -> bool:
        """Say whether a latency is inside."""
        return self.low_ms <= latency_ms <= self.high_ms


def staircase(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points of the fronts of all tiers that no other is faster and better than, the fastest first."""
    ordered = points.sort_values(["latency_ms", "ap"], ascending=[True, False])
    return ordered[ordered["ap"] > ordered["ap"].cummax().shift(fill_value=-np.inf)]


def latency_window(panel: DevicePanel) -> LatencyWindow:
    """Return what shows budgets, choices, and the front from well below the least budget on.

    Intervals of latencies may go beyond it.
    """
    budgets, chosen = panel.summary["budget_ms"], panel.summary["latency_ms"]
    ends = [*staircase(panel.front)["latency_ms"], *chosen, *budgets]
    inside = [point.latency_ms for point in panel.published if point.latency_ms < 1.5 * max(ends)]
    low, high = min(max(min(ends), min(budgets) / WIDEST_BELOW), *chosen), max([*ends, *inside])
    if high < LINEAR_RATIO * low:
        extent = high - low or high
        return LatencyWindow(low - 0.05 * extent, high + 0.08 * extent, False)
    return LatencyWindow(0.93 * low, 1.4 * high, True)


def ap_range(panel: DevicePanel, window: LatencyWindow) -> tuple[float, float]:
    """Return the least and the greatest AP, in %, inside a window; of other subnets the worst may fall below."""
    front = staircase(panel.front)
    shown = [100 * front.loc[front["latency_ms"].map(window.holds), "ap"].to_numpy(np.float64)]
    chosen = panel.summary[list(CHOSEN_BY)].to_numpy(np.float64).ravel()
    shown.append(100 * chosen[~np.isnan(chosen)])
    shown.append(np.array([100 * point.ap for point in panel.published if point.ap and window.holds(point.latency_ms)]))
    if panel.cloud is not None and len(panel.cloud.ap):
        shown.append(np.quantile(100 * panel.cloud.ap, [CLOUD_CUT, 1]))
    values = np.concatenate(shown)
    return float(values.min()), float(values.max())


def latency_title(panel: DevicePanel) -> str:
    """Return the title of the latency axis, which says whether the latencies are estimates."""
    is_measured = set(panel.summary["latency_provenance"]) == {"measured"}
    return "latency by measured operators, ms" if is_measured else "estimated latency, ms"


def ap_title(dataset: str | None) -> str:
    """Return the title of the AP axis; the dataset may not be known."""
    return f"AP{'' if dataset is None else f' on {dataset}'}, %"


def interval_ends(summary: pd.DataFrame) -> NDArray[np.float64]:
    """Return the low and the high ends of latencies, shape (2, n)."""
    return summary[["latency_low_ms", "latency_high_ms"]].to_numpy(np.float64).T


def interval_note(panel: DevicePanel) -> str:
    """Say how wide the intervals are where a picture has no room for them, else nothing."""
    ends = interval_ends(panel.summary)
    shown = [*panel.front["latency_ms"], *panel.summary["budget_ms"]]
    half = float(np.median(ends[1] - ends[0])) / 2
    if half < WIDEST_INTERVAL * (max(shown) - min(shown)):
        return ""
    return f"80 % intervals of the latencies, \N{PLUS-MINUS SIGN}{half:.2g} ms, are wider than this picture."


def outside_note(published: Sequence[PublishedPoint], window: LatencyWindow) -> str:
    """Say which published subnets are faster or slower than all that a picture shows, if any."""
    outside = [point for point in published if not window.holds(point.latency_ms)]
    listed = ", ".join(f"{point.name}\N{NO-BREAK SPACE}{point.latency_ms:,.0f}" for point in outside)
    return f"Published LitePose outside of this picture, ms: {listed}." if outside else ""
