"""What there is to draw of each device: front, choices, other subnets, and the published ones.

Legend: n subnets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.evaluators import identity_digest
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.reporting.device_latency import DEVICE, DeviceLatency
from litepose_ofa.search.reporting.evaluated import EvaluatedSubnets
from litepose_ofa.search.reporting.published_points import PublishedPoint, published_points
from litepose_ofa.search.reporting.searches import SearchedCell
from litepose_ofa.search.reporting.summary import AP_BY, SURROGATE
from litepose_ofa.supernet.errors import InputError


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


def panel_groups(cells: Sequence[SearchedCell]) -> dict[str, list[SearchedCell]]:
    """Return searches by device and what its latencies rest on, under the title of their panel."""
    groups: dict[str, list[SearchedCell]] = {}
    for cell in cells:
        groups.setdefault(cell.latency_digest, []).append(cell)
    titles = [_title(group[0]) for group in groups.values()]
    return {
        title if titles.count(title) == 1 else f"{title}, table {group[0].search['table']}": group
        for title, group in zip(titles, groups.values(), strict=True)
    }


def build_panel(
    title: str,
    cells: Sequence[SearchedCell],
    summary: pd.DataFrame,
    fronts: pd.DataFrame,
    *,
    evaluated: EvaluatedSubnets | None,
    samples: AccuracySamples | None,
) -> DevicePanel:
    """Return the panel of one of ``panel_groups``.

    Behind the front stand measured subnets: those that the predictor was fitted to, or those that the search had
    measured. Where nothing was measured they are what the surrogate was asked about.

    Args:
        title: Its title.
        cells: Its searches.
        summary: From ``summarise``, of all searches.
        fronts: From ``collect_fronts``, of all searches.
        evaluated: What the searches evaluated, if that can be read.
        samples: Measured subnets of the workspace, if there are any.
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


def _title(cell: SearchedCell) -> str:
    decoding = cell.decoding
    return cell.device if decoding is None else f"{cell.device}, with decoding of {decoding['people']:g} people"


def _is_measured_alike(samples: AccuracySamples, cell: SearchedCell) -> bool:
    """Say whether samples were measured on what the search's accuracies are of."""
    evaluator = cell.search["evaluator"]
    known = {key: evaluator.get(key) for key in samples.identity}
    return (
        cell.source != SURROGATE
        and samples.space.to_dict() == cell.search["space"]
        and identity_digest(known) == identity_digest(samples.identity)
    )
