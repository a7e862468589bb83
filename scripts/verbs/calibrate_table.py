"""Make a latency table of one's own board from the times of a few whole networks."""

import datetime
import logging
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.few_shot import TimedNetwork, calibrate_table, scales
from litepose_ofa.latency_tables.profiling.validation import format_fit
from litepose_ofa.latency_tables.timings import TimingsFile
from litepose_ofa.scripts.build.data import workspace_of
from litepose_ofa.scripts.command.app import script
from litepose_ofa.scripts.settings.fields import Name, PathText, Text
from litepose_ofa.scripts.settings.groups import Keypoints, RunSettings
from litepose_ofa.supernet.errors import InputError, located
from litepose_ofa.supernet.files import locked_folder
from litepose_ofa.supernet.validation import Checked, Count

logger = logging.getLogger(__name__)


class BoardSettings(Checked):
    """``board``: what only the user knows of the device."""

    processor: Text | None
    runtime: Text | None
    threads: Count | None
    precision: Text | None
    clocks: Text | None


class CalibrateTableVerb(RunSettings):
    base: PathText
    measured: PathText
    name: Name
    output: PathText
    num_keypoints: Keypoints
    board: BoardSettings


@script("calibrate_table", CalibrateTableVerb)
def main(cfg: DictConfig) -> None:
    """Write ``<output>/<name>.csv`` and ``.yaml``; say how well the networks fit, and what comes next."""
    base, path = LatencyTable.load(cfg.base), Path(cfg.output) / f"{cfg.name}.csv"
    networks = TimingsFile(Path(cfg.measured), workspace_of(cfg).root / "export").read(cfg.num_keypoints)
    with located(cfg.measured):
        table = calibrate_table(base, networks, device=cfg.name, **_described(cfg))
    with locked_folder(path.parent):
        if path.exists():
            raise InputError(f"{path}: is there already; move it away, or choose another name")
        table.save(path)
    logger.info("%s: %d operators, an estimate calibrated on %d networks", path, len(table.rows), len(networks))
    logger.info("%s", _format(base, table, networks))
    budget = f"{np.median([network.ms for network in networks]):.3g}"
    given = f"device.name={cfg.name} device.table={path} budget_ms={budget} tier=mine"
    logger.info("search with it: litepose search %s", given)


def _described(cfg: DictConfig) -> dict[str, Any]:
    """Return the metadata that the user gives, and when and by what the table was made."""
    board = cfg.board
    texts = {key: board[key] or "not stated" for key in ("processor", "runtime", "precision", "clocks")}
    return {
        **texts,
        "runtime_provenance": "inferred" if board.runtime is None else "stated",
        "threads": board.threads,
        "date": datetime.date.today().isoformat(),
        "made_by": "litepose calibrate-table",
    }


def _format(base: LatencyTable, table: LatencyTable, networks: list[TimedNetwork]) -> str:
    """Say how the networks follow from the table, and how sure the table is of others."""
    by_kind = ", ".join(f"{kind} {scale:.3g}" for kind, scale in scales(base, table, networks).items())
    estimate = table.estimate(networks[0].arch, networks[0].num_keypoints)
    half = (estimate.high_ms - estimate.ms) / estimate.ms
    return "\n".join(
        (
            f"times the operators of {base.metadata.device}: {by_kind}",
            format_fit(table),
            f"80 % interval of a network: its latency +- {half:.1%}, by Student's t of {len(networks)} networks",
        )
    )
