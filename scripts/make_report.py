"""Put every finished search and export of a workspace into one table, one CSV and one picture."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from latency_tables import LatencyTable
from scripts.builders import build_space
from scripts.cli import script, start_run
from scripts.search_builders import samples_path
from search.cost import CostModel
from search.report import collect_fronts, find_cells, format_summary, plot_fronts, summarise
from search.results import CHOSEN_FILE
from search.sampling import AccuracySamples
from supernet.errors import InputError
from supernet.files import read_json, replacing

logger = logging.getLogger(__name__)


@script("make_report")
def main(cfg: DictConfig) -> None:
    """Write ``summary.csv``, ``front.csv`` and ``front.png``; print the summary."""
    workspace = Path(cfg.workspace)
    cells, waiting = find_cells(workspace)
    for device, tier in waiting:
        logger.warning("left out: export_subnet.py device=%s tier=%s has not run", device, tier)
    summary, fronts = summarise(workspace, cells), collect_fronts(workspace, cells)
    samples = AccuracySamples.load(samples_path(cfg))
    tables = {
        device: LatencyTable.load(read_json(workspace / "search" / device / tier / CHOSEN_FILE)["table"])
        for device, tier in cells
    }
    if samples.space != build_space(cfg):
        raise InputError(f"{samples_path(cfg)}: is of the space {samples.space.name!r}, not {cfg.space.name!r}")
    costs = CostModel(samples.space, tables=tables, num_keypoints=samples.num_keypoints)
    folder = start_run(cfg)
    for name, frame in (("summary.csv", summary), ("front.csv", fronts)):
        with replacing(folder / name) as temporary:
            frame.to_csv(temporary, index=False)
    plot_fronts(folder / "front.png", summary, fronts, samples, costs)
    logger.info("%s", format_summary(summary))
    logger.info("%s, front.csv, summary.csv", folder / "front.png")


if __name__ == "__main__":
    main()
