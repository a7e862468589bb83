"""Estimate the latency tables of devices that are not at hand, and compare the estimates with published latencies."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.estimation.estimates import DeviceEstimate, estimated_devices, shipped_class_models
from litepose_ofa.latency_tables.estimation.report import format_report
from litepose_ofa.latency_tables.rows import read_rows
from litepose_ofa.scripts.build.data import build_space, build_spaces
from litepose_ofa.scripts.command.app import script
from litepose_ofa.scripts.settings.fields import PathText
from litepose_ofa.scripts.settings.groups import DeviceSettings, KeypointNumbers, RunSettings, Spaces
from litepose_ofa.supernet.files import locked_folder, read_yaml

logger = logging.getLogger(__name__)


class EstimatedDevice(DeviceSettings):
    """The ``device`` group where a name is enough: the table is to be made."""

    table: PathText | None = None  # type: ignore[assignment]


class EstimateTablesVerb(RunSettings):
    device: EstimatedDevice | None = None
    class_models: PathText | None
    spaces: Spaces
    num_keypoints: KeypointNumbers
    output: PathText


@script("estimate_tables", EstimateTablesVerb)
def main(cfg: DictConfig) -> None:
    """Write ``<output>/<device>.csv`` and ``.yaml`` for each device."""
    class_models = shipped_class_models() if cfg.class_models is None else read_yaml(Path(cfg.class_models))
    spaces = [*build_spaces(cfg.spaces), build_space(cfg)]
    operators = {o for space in spaces for k in cfg.num_keypoints for o in space_operators(space, k)}
    with locked_folder(Path(cfg.output)):
        for device in estimated_devices() if cfg.get("device") is None else [cfg.device.name]:
            estimate = DeviceEstimate.of(device, class_models)
            path = Path(cfg.output) / f"{device}.csv"
            before = set(read_rows(path)) if path.exists() else set()
            table = estimate.table(before | operators)
            table.save(path)
            logger.info("\n%s: %d operators, %s", path, len(table.rows), table.metadata.provenance)
            logger.info("%s", format_report(estimate))
