"""Turn what a profiling kit measured on a board into a latency table."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from latency_tables import LatencyTable
from latency_tables.coverage import space_operators
from latency_tables.profiling.building import build_table, extend_table
from latency_tables.profiling.kit import MEASUREMENTS_FILE
from latency_tables.profiling.measurements import read_measurements
from latency_tables.profiling.validation import format_fit
from scripts.cli import script
from scripts.settings.tables import BuildTableVerb
from supernet.errors import InputError
from supernet.files import locked_folder
from supernet.space import SearchSpace

logger = logging.getLogger(__name__)


@script("build_latency_table", BuildTableVerb)
def main(cfg: DictConfig) -> None:
    """Write ``<output>/<name>.csv`` and ``.yaml``; show how whole networks follow from their operators."""
    kit = Path(cfg.kit)
    measurements = read_measurements(kit, Path(cfg.measurements or kit / MEASUREMENTS_FILE))
    path = Path(cfg.output) / f"{cfg.name}.csv"
    spaces = [SearchSpace.preset(name) for name in cfg.spaces]
    wanted = {o for space in spaces for k in cfg.num_keypoints for o in space_operators(space, k)}
    rng = np.random.default_rng(cfg.seed)
    with locked_folder(path.parent):
        if cfg.extend:
            table = extend_table(LatencyTable.load(path), measurements, wanted=wanted, rng=rng)
        elif path.exists():
            raise InputError(f"{path}: is there already; extend=true adds to it, or choose another name")
        else:
            table = build_table(measurements, device=cfg.name, wanted=wanted, rng=rng)
        table.save(path)
    logger.info("%s: %d operators, %s", path, len(table.rows), table.metadata.provenance)
    logger.info("%s", format_fit(table))


if __name__ == "__main__":
    main()
