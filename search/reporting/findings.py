"""All that a report has to tell of searches that may be compared, gathered once for tables, pictures and page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from litepose_ofa.search.accuracy.evaluators import identity_digest
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.reporting.evaluated import EvaluatedSubnets, arch_latency_ms, device_latency
from litepose_ofa.search.reporting.importance import report_importances
from litepose_ofa.search.reporting.searches import MEASURED, FinishedSearch, Missing
from litepose_ofa.search.reporting.summary import AP_BY, SURROGATE, collect_fronts, collect_progress, summarise
from litepose_ofa.supernet.archs.published import PUBLISHED_AP, published_archs
from litepose_ofa.supernet.errors import InputError

PREFIX = "search-"
"""Of the names of those that the authors published an AP of."""


@dataclass(frozen=True)
class DevicePanel:
    """The subnets of one device and latency table.

    Attributes:
        title: The device.
        summary: Rows of ``summarise``; ``front`` those of ``collect_fronts``.
        others: Subnets behind the front, if any are known: ``latency_ms``, ``ap`` in [0, 1], and ``kind``, a name.
        published: LitePose-XS to L: ``name``, ``latency_ms`` by the same table, and the published ``ap`` in [0, 1],
            empty where there is none on the dataset.
        note: What the panel lacks, or nothing.
    """

    title: str
    summary: pd.DataFrame
    front: pd.DataFrame
    others: pd.DataFrame = field(default_factory=lambda: _others([], [], ""))
    published: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["name", "latency_ms", "ap"]))
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

    Behind the front stand the subnets that the search evaluated: measured, or what the surrogate was asked about.
    Where they cannot be read, it is those that a predictor was fitted to.
    """
    first, tiers = cells[0], [cell.tier for cell in cells]
    rows, front = (frame[(frame["device"] == first.device) & frame["tier"].isin(tiers)] for frame in (summary, fronts))
    others = _others([], [], "")
    if evaluated is not None:
        label = f"evaluated subnets, AP by the {AP_BY[MEASURED if first.is_measured else first.source]}"
        others = _others(evaluated.latency_ms, evaluated.ap, label)
    try:
        published = published_points(first)
        if samples is not None and others.empty and _is_measured_alike(samples, first):
            latency_ms = device_latency(first, samples.space)(samples.genomes)
            others = _others(latency_ms, samples.ap, "subnets measured to fit the accuracy predictor")
    except InputError as error:
        return DevicePanel(title, rows, front, others, note=f"Without the published subnets: {error}.")
    return DevicePanel(title, rows, front, others, published)


def published_points(cell: FinishedSearch) -> pd.DataFrame:
    """Return the four published subnets that have a published AP, on a search's device: see ``DevicePanel``."""
    archs = {name: arch for name, arch in published_archs().items() if name.startswith(PREFIX)}
    aps = PUBLISHED_AP.get(cell.dataset or "", {})
    return pd.DataFrame(
        {
            "name": [name.removeprefix(PREFIX) for name in archs],
            "latency_ms": [arch_latency_ms(cell, arch) for arch in archs.values()],
            "ap": [aps.get(name, np.nan) for name in archs],
        }
    )


def _others(latency_ms: ArrayLike, ap: ArrayLike, kind: str) -> pd.DataFrame:
    return pd.DataFrame({"latency_ms": latency_ms, "ap": ap}, dtype=float).assign(kind=kind)


def _title(cell: FinishedSearch) -> str:
    return cell.device + (f", with decoding of {cell.decoding['people']:g} people" if cell.decoding else "")


def _is_measured_alike(samples: AccuracySamples, cell: FinishedSearch) -> bool:
    """Say whether samples were measured on what the search's accuracies are of."""
    evaluator = cell.search["evaluator"]
    known = {key: evaluator.get(key) for key in samples.identity}
    return (
        cell.source != SURROGATE
        and samples.space.to_dict() == cell.search["space"]
        and identity_digest(known) == identity_digest(samples.identity)
    )


@dataclass(frozen=True)
class Findings:
    """What at least one finished search found, of which the accuracies may be compared.

    The tables are those of ``summarise``, ``collect_fronts``, ``collect_progress`` and ``report_importances``; the last
    two are empty where nothing is known.
    """

    cells: Sequence[FinishedSearch]
    summary: pd.DataFrame
    fronts: pd.DataFrame
    progress: pd.DataFrame
    importances: pd.DataFrame
    panels: Sequence[DevicePanel]
    gaps: Sequence[Missing]

    @classmethod
    def collect(
        cls,
        cells: Sequence[FinishedSearch],
        gaps: Sequence[Missing] = (),
        *,
        samples: AccuracySamples | None = None,
        predictor: AccuracyPredictor | None = None,
        rng: np.random.Generator,
    ) -> Self:
        """Gather what searches left."""
        groups = panel_groups(cells)
        summary, fronts = summarise(cells), collect_fronts(cells)
        progress, without_progress = collect_progress(cells)
        evaluated, without_study = _read_studies(groups)
        importances, without_importances = report_importances(groups, evaluated, predictor, rng)
        panels = [
            build_panel(title, group, summary, fronts, evaluated=evaluated.get(title), samples=samples)
            for title, group in groups.items()
        ]
        exports = [gap for cell in cells if (gap := cell.export_gap()) is not None]
        all_gaps = [*gaps, *exports, *without_progress, *without_study, *without_importances]
        return cls(cells, summary, fronts, progress, importances, panels, all_gaps)

    @property
    def source(self) -> str:
        """Where the accuracies come from."""
        return self.cells[0].source

    @property
    def is_surrogate(self) -> bool:
        """Whether the accuracies are drawn through published figures, and nothing was measured."""
        return self.source == SURROGATE

    @property
    def dataset(self) -> str | None:
        """The dataset whose AP the accuracies are, if known."""
        return self.cells[0].dataset


def _read_studies(groups: Mapping[str, Sequence[FinishedSearch]]) -> tuple[dict[str, EvaluatedSubnets], list[Missing]]:
    """Return the evaluated subnets by panel, and of which searches they cannot be read."""
    found, gaps = dict[str, EvaluatedSubnets](), list[Missing]()
    for title, cells in groups.items():
        parts = []
        for cell in cells:
            try:
                parts.append(EvaluatedSubnets.of(cell))
            except InputError as error:
                gaps.append(Missing(cell.device, cell.tier, f"what it evaluated is not known: {error}"))
        if parts:
            found[title] = EvaluatedSubnets.merged(parts)
    return found, gaps
