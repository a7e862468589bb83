"""Put the searches of a workspace, the finished ones, on one page, into tables and pictures; say what is missing."""

import itertools
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from omegaconf import DictConfig

from litepose_ofa.scripts.build.sample_pictures import draw_sample_pictures
from litepose_ofa.scripts.build.search import predictor_path, samples_path
from litepose_ofa.scripts.command.app import run_folder, script, start_run
from litepose_ofa.scripts.settings.overrides import OPTIONS_WITH_VALUES
from litepose_ofa.scripts.settings.searching import ReportVerb
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.reporting.findings import Findings
from litepose_ofa.search.reporting.page.document import PAGE_FILE
from litepose_ofa.search.reporting.page.report_page import remove_report, samples_section, write_index, write_report
from litepose_ofa.search.reporting.searches import Missing, comparable, group_name, read_searches
from litepose_ofa.search.workspace import RUN_RECORD, Workspace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import locked_folder, read_json, read_yaml

logger = logging.getLogger(__name__)

T = TypeVar("T")


@script("report", ReportVerb)
def make_report(cfg: DictConfig) -> None:
    """Write a report; of searches whose accuracies cannot be compared, one each in a folder of its own."""
    with locked_folder(run_folder()):
        _report(cfg)


def _report(cfg: DictConfig) -> None:
    workspace = Path(cfg.workspace)
    cells, gaps = read_searches(workspace, planned_cells(workspace))
    samples, no_samples = _load(AccuracySamples.load, samples_path(cfg))
    predictor, no_predictor = _load(AccuracyPredictor.load, predictor_path(cfg))
    gaps += [Missing(cell.device, cell.tier, reason) for reason in (*no_samples, *no_predictor) for cell in cells]
    folder = start_run(cfg)
    record = read_json(folder / RUN_RECORD)
    reports = {}
    for group in comparable(cells):
        rng = np.random.default_rng(cfg.seed)
        reports[group_name(group)] = Findings.collect(group, gaps, samples=samples, predictor=predictor, rng=rng)
    for name, findings in reports.items():
        pictures = samples_section(*draw_sample_pictures(cfg, findings.cells, cfg.samples))
        place = folder if len(reports) == 1 else folder / name
        text = write_report(place, findings, record=record, samples=pictures)
        logger.info("%s\n%s", text, place / PAGE_FILE)
    if len(reports) > 1:
        remove_report(folder, keep=[PAGE_FILE])
        write_index(folder, workspace, reports)
        logger.warning("The searches are of different spaces, supernets or predictors: a report each.")
        logger.info("%s leads to them", folder / PAGE_FILE)


def main() -> None:
    """Run the script; its workspace may also be given by its path alone."""
    try:
        sys.argv[1:] = name_workspace(sys.argv[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    make_report()


def name_workspace(arguments: Sequence[str]) -> list[str]:
    """Return command-line arguments for Hydra, in which a folder that stands alone is the workspace.

    Raises:
        InputError: If there is no such folder.
    """
    before = ("", *arguments)
    return [
        _as_override(argument) if _stands_alone(argument, previous) else argument
        for previous, argument in zip(before, arguments, strict=False)
    ]


def _stands_alone(argument: str, previous: str) -> bool:
    """Say whether an argument is neither an override nor an option nor an option's value."""
    return "=" not in argument and not argument.startswith(("-", "~")) and previous not in OPTIONS_WITH_VALUES


def _as_override(folder: str) -> str:
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; give the workspace of a search, such as runs/tiny-people")
    return f"workspace={folder}"


def _load(load: Callable[[Path], T], path: Path) -> tuple[T | None, list[str]]:
    """Return what a file of the workspace holds, if it is there, and what is wrong with it: a report can do without."""
    try:
        return (load(path) if path.exists() else None), []
    except InputError as error:
        return None, [f"left out: {error}"]


def planned_cells(workspace: Path) -> list[tuple[str, str]]:
    """Return the devices and tiers of the workspace's last sweep, by Hydra's record of it, if it was of searches."""
    try:
        record = read_yaml(Workspace(workspace).sweep_record)["hydra"]
        if record["job"]["config_name"] != "search":
            return []
        choices = dict(_listed_choices(record["overrides"]["task"]))
    except (InputError, AttributeError, KeyError, TypeError, ValueError):
        return []
    return list(itertools.product(choices.get("device", ()), choices.get("tier", ())))


def _listed_choices(overrides: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the overrides that are plain lists, as ``tier=xs,s``."""
    for override in overrides:
        key, _, value = override.partition("=")
        if not set(value) & set("()[]{}*"):
            yield key, value.split(",")
