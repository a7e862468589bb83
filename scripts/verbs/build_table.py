"""Turn what a profiling kit measured on a board into a latency table."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.building import build_table, extend_table
from litepose_ofa.latency_tables.profiling.kit import MEASUREMENTS_FILE
from litepose_ofa.latency_tables.profiling.measurements import read_measurements
from litepose_ofa.latency_tables.profiling.validation import format_fit
from litepose_ofa.scripts.build.data import build_spaces
from litepose_ofa.scripts.command.app import script
from litepose_ofa.scripts.settings.fields import Name, PathText
from litepose_ofa.scripts.settings.groups import KeypointNumbers, RunSettings, Spaces
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import locked_folder

logger = logging.getLogger(__name__)


class BuildTableVerb(RunSettings):
    kit: PathText
    measurements: PathText | None
    name: Name
    output: PathText
    spaces: Spaces
    num_keypoints: KeypointNumbers
    extend: bool


@script("build_table", BuildTableVerb)
def main(cfg: DictConfig) -> None:
    """Write ``<output>/<name>.csv`` and ``.yaml``; show how whole networks follow from their operators."""
    kit = Path(cfg.kit)
    measurements = read_measurements(kit, Path(cfg.measurements or kit / MEASUREMENTS_FILE))
    path = Path(cfg.output) / f"{cfg.name}.csv"
    spaces = build_spaces(cfg.spaces)
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
