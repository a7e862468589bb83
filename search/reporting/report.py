"""All files of a report about searches that may be compared: tables, text and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from search.accuracy.predictor import AccuracyPredictor
from search.accuracy.sampling import AccuracySamples
from search.reporting.evaluated import EvaluatedSubnets
from search.reporting.front_plot import plot_fronts
from search.reporting.importance import importance_table
from search.reporting.importances import report_importances
from search.reporting.panels import build_panel, panel_groups
from search.reporting.plots import plot_hypervolume, plot_importance
from search.reporting.searches import Gap, SearchedCell
from search.reporting.summary import (
    SURROGATE,
    SURROGATE_WARNING,
    collect_fronts,
    collect_progress,
    format_gaps,
    format_summary,
    summarise,
)
from supernet.errors import InputError
from supernet.files import replacing, write_text

SUMMARY_TEXT = "summary.txt"
TABLES = ("summary", "front", "hypervolume", "importance")
PICTURES = ("front", "hypervolume", "importance")


def remove_report(folder: Path) -> None:
    """Remove the files of an earlier report: this one may lack some of them."""
    for name in (SUMMARY_TEXT, *(f"{table}.csv" for table in TABLES), *(f"{picture}.png" for picture in PICTURES)):
        (folder / name).unlink(missing_ok=True)


def write_report(
    folder: Path,
    cells: Sequence[SearchedCell],
    gaps: Sequence[Gap] = (),
    *,
    samples: AccuracySamples | None = None,
    predictor: AccuracyPredictor | None = None,
    rng: np.random.Generator,
) -> str:
    """Write the tables, the pictures and the text of a report.

    Args:
        folder: Where to.
        cells: Finished searches whose accuracies may be compared.
        gaps: What is known to be missing; what else turns out to be is added.
        samples: Measured subnets of the workspace; drawn if they are of the same supernet.
        predictor: The workspace's predictor; explained if it is the one that the searches had.
        rng: For the importances.

    Returns:
        The text: the summary, and what is missing.
    """
    remove_report(folder)
    source, groups = cells[0].source, panel_groups(cells)
    summary, fronts = summarise(cells), collect_fronts(cells)
    progress, without_progress = collect_progress(cells)
    evaluated, without_study = _read_studies(groups)
    importances, without_importances = report_importances(groups, evaluated, predictor, rng)
    _write_csv(folder / "summary.csv", summary)
    _write_csv(folder / "front.csv", fronts)
    panels = [
        build_panel(title, group, summary, fronts, evaluated=evaluated.get(title), samples=samples)
        for title, group in groups.items()
    ]
    plot_fronts(folder / "front.png", panels, source=source, dataset=cells[0].dataset)
    if len(progress):
        _write_csv(folder / "hypervolume.csv", progress)
        plot_hypervolume(folder / "hypervolume.png", progress)
    if importances:
        _write_csv(folder / "importance.csv", importance_table(importances, source))
        plot_importance(folder / "importance.png", importances, source)
    exports = [gap for cell in cells if (gap := cell.export_gap()) is not None]
    gaps = [*gaps, *exports, *without_progress, *without_study, *without_importances]
    text = _text(summary, gaps, is_surrogate=source == SURROGATE)
    write_text(folder / SUMMARY_TEXT, text + "\n")
    return text


def _read_studies(groups: Mapping[str, Sequence[SearchedCell]]) -> tuple[dict[str, EvaluatedSubnets], list[Gap]]:
    """Return the evaluated subnets by panel, and of which searches they cannot be read."""
    found, gaps = dict[str, EvaluatedSubnets](), list[Gap]()
    for title, cells in groups.items():
        parts = []
        for cell in cells:
            try:
                parts.append(EvaluatedSubnets.of(cell))
            except InputError as error:
                gaps.append(Gap(cell.device, cell.tier, f"what it evaluated is not known: {error}"))
        if parts:
            found[title] = EvaluatedSubnets.merged(parts)
    return found, gaps


def _text(summary: pd.DataFrame, gaps: Sequence[Gap], *, is_surrogate: bool) -> str:
    heading = [f"{SURROGATE_WARNING}.", ""] if is_surrogate else []
    missing = ["", "Missing:", *(f"- {line}" for line in format_gaps(gaps))] if gaps else []
    return "\n".join([*heading, format_summary(summary), *missing])


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
