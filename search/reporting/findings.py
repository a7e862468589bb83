"""All that a report has to tell of searches that may be compared, gathered once for tables, pictures and page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.reporting.evaluated import EvaluatedSubnets
from litepose_ofa.search.reporting.importance import Importances, report_importances
from litepose_ofa.search.reporting.panels import DevicePanel, build_panel, panel_groups
from litepose_ofa.search.reporting.searches import FinishedSearch, Missing
from litepose_ofa.search.reporting.summary import SURROGATE, collect_fronts, collect_progress, summarise
from litepose_ofa.supernet.errors import InputError


@dataclass(frozen=True)
class Findings:
    """What searches found.

    Attributes:
        cells: The finished searches, at least one; their accuracies may be compared.
        summary: From ``summarise``.
        fronts: From ``collect_fronts``.
        progress: From ``collect_progress``; empty where no search has recorded it.
        importances: What drives AP and latency, as far as it is known.
        panels: What there is to draw of each device.
        gaps: What is missing.
    """

    cells: Sequence[FinishedSearch]
    summary: pd.DataFrame
    fronts: pd.DataFrame
    progress: pd.DataFrame
    importances: Importances
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
