"""Each device's front, choices, other and published subnets, and which part of them a chart shows.

Legend: n subnets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.evaluators import identity_digest
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.reporting.evaluated import DEVICE, DeviceLatency, EvaluatedSubnets
from litepose_ofa.search.reporting.searches import FinishedSearch
from litepose_ofa.search.reporting.summary import AP_BY, SURROGATE
from litepose_ofa.supernet.archs.published import PUBLISHED_AP, published_archs
from litepose_ofa.supernet.errors import InputError

PREFIX = "search-"
"""Of the names of those that the authors published an AP of."""


@dataclass(frozen=True, slots=True)
class PublishedPoint:
    """A published subnet on a device.

    Attributes:
        name: ``XS``, ``S``, ``M`` or ``L``.
        latency_ms: By the device's table, with the decoding cost if there is one: as all others in the report.
        ap: Its published AP in [0, 1], trained by its authors; None if there is none on the dataset.
    """

    name: str
    latency_ms: float
    ap: float | None


def published_points(latency: DeviceLatency, *, dataset: str | None, num_keypoints: int = 14) -> list[PublishedPoint]:
    """Return the four published subnets that have a published AP, on a device.

    Raises:
        InputError: If the table lacks one of their operators, or the decoding cost an image size.
    """
    aps = PUBLISHED_AP.get(dataset or "", {})
    archs = {name: arch for name, arch in published_archs().items() if name.startswith(PREFIX)}
    return [
        PublishedPoint(name.removeprefix(PREFIX), ms, aps.get(name))
        for name, ms in zip(archs, latency.ms(archs.values(), num_keypoints).tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Cloud:
    """Subnets behind a front.

    Attributes:
        latency_ms: Shape (n,).
        ap: In [0, 1], shape (n,).
        label: What they are, and whose their AP is.
    """

    latency_ms: NDArray[np.float64]
    ap: NDArray[np.float64]
    label: str


@dataclass(frozen=True)
class DevicePanel:
    """What there is to draw of one device and latency table.

    Attributes:
        title: The device.
        summary: Rows of ``summarise``.
        front: Rows of ``collect_fronts``.
        cloud: Other subnets, if any are known.
        published: The published subnets.
        note: What the panel lacks, or nothing.
    """

    title: str
    summary: pd.DataFrame
    front: pd.DataFrame
    cloud: Cloud | None = None
    published: Sequence[PublishedPoint] = ()
    note: str = ""


def panel_groups(cells: Sequence[FinishedSearch]) -> dict[str, list[FinishedSearch]]:
    """Return searches by device and what its latencies rest on, under the title of their panel."""
    groups: dict[str, list[FinishedSearch]] = {}
    for cell in cells:
        groups.setdefault(cell.latency_digest, []).append(cell)
    titles = [_title(group[0]) for group in groups.values()]
    return {
        title if titles.count(title) == 1 else f"{title}, table {group[0].search['table']}": group
        for title, group in zip(titles, groups.values(), strict=True)
    }


def build_panel(
    title: str,
    cells: Sequence[FinishedSearch],
    summary: pd.DataFrame,
    fronts: pd.DataFrame,
    *,
    evaluated: EvaluatedSubnets | None,
    samples: AccuracySamples | None,
) -> DevicePanel:
    """Return the panel of one of ``panel_groups``.

    Behind the front stand measured subnets: those that the predictor was fitted to, or those that the search had
    measured. Where nothing was measured they are what the surrogate was asked about.
    """
    first, tiers = cells[0], [cell.tier for cell in cells]
    rows, front = (frame[(frame["device"] == first.device) & frame["tier"].isin(tiers)] for frame in (summary, fronts))
    cloud = None
    if evaluated is not None and first.source != "predictor":
        cloud = Cloud(evaluated.latency_ms, evaluated.ap, f"evaluated subnets, AP by the {AP_BY[first.source]}")
    try:
        latency = DeviceLatency.load(first.record["table"], first.search["table"], first.decoding)
        published = published_points(latency, dataset=first.dataset, num_keypoints=first.num_keypoints)
        if samples is not None and cloud is None and _is_measured_alike(samples, first):
            cost = latency.cost_model(samples.space, samples.num_keypoints)
            latency_ms = cost.latency_ms(samples.genomes, DEVICE)
            cloud = Cloud(latency_ms, samples.ap, "subnets measured to fit the accuracy predictor")
    except InputError as error:
        return DevicePanel(title, rows, front, cloud, note=f"Without the published subnets: {error}.")
    return DevicePanel(title, rows, front, cloud, published)


def _title(cell: FinishedSearch) -> str:
    decoding = cell.decoding
    return cell.device if decoding is None else f"{cell.device}, with decoding of {decoding['people']:g} people"


def _is_measured_alike(samples: AccuracySamples, cell: FinishedSearch) -> bool:
    """Say whether samples were measured on what the search's accuracies are of."""
    evaluator = cell.search["evaluator"]
    known = {key: evaluator.get(key) for key in samples.identity}
    return (
        cell.source != SURROGATE
        and samples.space.to_dict() == cell.search["space"]
        and identity_digest(known) == identity_digest(samples.identity)
    )


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
