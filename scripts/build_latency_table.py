"""Estimate the latency table of a device that is not at hand, calibrated to published latencies of whole networks."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from latency_tables import LatencyTable
from latency_tables.coverage import space_operators
from latency_tables.estimates import DeviceEstimate, calibration_report, format_report
from scripts.builders import build_space
from scripts.cli import script
from supernet.errors import InputError
from supernet.space import SearchSpace

logger = logging.getLogger(__name__)


@script("build_latency_table")
def main(cfg: DictConfig) -> None:
    """Write ``<output>/<device>.csv`` and ``.yaml``; show the published networks against their estimates."""
    estimate = DeviceEstimate.of(cfg.device.name)
    spaces = [*map(SearchSpace.preset, cfg.spaces), build_space(cfg)]
    for keypoints in cfg.num_keypoints:
        if type(keypoints) is not int or keypoints < 1:
            raise InputError(f"num_keypoints has {keypoints!r}; it must be a list of positive integers")
    path = Path(cfg.output) / f"{estimate.device}.csv"
    before = set(LatencyTable.load(path).rows) if path.exists() else set()
    table = estimate.table(before.union(*(space_operators(s, k) for s in spaces for k in cfg.num_keypoints)))
    table.save(path)
    logger.info("%s: %d operators, %s", path, len(table.rows), table.metadata.provenance)
    logger.info("%s", format_report(calibration_report(estimate.device)))


if __name__ == "__main__":
    main()
