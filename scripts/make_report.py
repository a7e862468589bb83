"""Put the searches of a workspace, the finished ones, into tables and pictures; say what is missing."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from scripts.cli import script, start_run
from scripts.search_builders import predictor_path, samples_path
from search.accuracy.predictor import AccuracyPredictor
from search.accuracy.sampling import AccuracySamples
from search.reporting.report import remove_report, write_report
from search.reporting.searches import Cell, comparable, group_name, read_searches
from supernet.errors import InputError
from supernet.files import read_yaml

logger = logging.getLogger(__name__)

SWEEP_RECORD = "multirun.yaml"


@script("make_report")
def main(cfg: DictConfig) -> None:
    """Write a report; of searches whose accuracies cannot be compared, one each in a folder of its own."""
    workspace = Path(cfg.workspace)
    cells, gaps = read_searches(workspace, planned_cells(workspace))
    groups = comparable(cells)
    samples = AccuracySamples.load(samples_path(cfg)) if samples_path(cfg).exists() else None
    predictor = AccuracyPredictor.load(predictor_path(cfg)) if predictor_path(cfg).exists() else None
    folder = start_run(cfg)
    remove_report(folder)
    if len(groups) > 1:
        logger.warning("The searches are of different spaces, supernets or predictors: a report each.")
    for group in groups:
        place = folder if len(groups) == 1 else folder / group_name(group)
        rng = np.random.default_rng(cfg.seed)
        text = write_report(place, group, gaps, samples=samples, predictor=predictor, rng=rng)
        logger.info("%s\n%s", text, place)


def planned_cells(workspace: Path) -> list[Cell]:
    """Return the devices and tiers of the workspace's last sweep, by Hydra's record of it; none where it names none."""
    try:
        overrides = read_yaml(workspace / SWEEP_RECORD)["hydra"]["overrides"]["task"]
        choices = dict(_listed_choices(overrides))
    except (InputError, KeyError, TypeError, ValueError):
        return []
    return list(itertools.product(choices.get("device", ()), choices.get("tier", ())))


def _listed_choices(overrides: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the overrides that are plain lists, as ``tier=xs,s``."""
    for override in overrides:
        key, _, value = override.partition("=")
        if not set(value) & set("()[]{}*"):
            yield key, value.split(",")


if __name__ == "__main__":
    main()
