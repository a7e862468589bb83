"""Estimate the latency tables of devices that are not at hand."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.estimation import device_models, estimate_table
from litepose_ofa.latency_tables.profiling.validation import format_fit
from litepose_ofa.latency_tables.rows import read_rows
from litepose_ofa.scripts.build.data import build_space, build_spaces
from litepose_ofa.scripts.command.app import script
from litepose_ofa.scripts.settings.fields import PathText
from litepose_ofa.scripts.settings.groups import DeviceSettings, KeypointNumbers, RunSettings, Spaces
from litepose_ofa.supernet.files import locked_folder

logger = logging.getLogger(__name__)


class EstimatedDevice(DeviceSettings):
    """The ``device`` group where a name is enough: the table is to be made."""

    table: PathText | None = None  # type: ignore[assignment]


class EstimateTablesVerb(RunSettings):
    device: EstimatedDevice | None = None
    spaces: Spaces
    num_keypoints: KeypointNumbers
    output: PathText


@script("estimate_tables", EstimateTablesVerb)
def main(cfg: DictConfig) -> None:
    """Write ``<output>/<device>.csv`` and ``.yaml`` for each device."""
    spaces = [*build_spaces(cfg.spaces), build_space(cfg)]
    operators = {o for space in spaces for k in cfg.num_keypoints for o in space_operators(space, k)}
    with locked_folder(Path(cfg.output)):
        for device in device_models() if cfg.get("device") is None else [cfg.device.name]:
            path = Path(cfg.output) / f"{device}.csv"
            before = set(read_rows(path)) if path.exists() else set()
            table = estimate_table(device, before | operators)
            table.save(path)
            logger.info("\n%s: %d operators, %s", path, len(table.rows), table.metadata.provenance)
            logger.info("%s", format_fit(table))
