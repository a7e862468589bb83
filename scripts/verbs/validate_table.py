"""Compare a latency table with whole networks that a profiling kit measured, and say what it covers of a space."""

import logging
from pathlib import Path
from typing import Annotated

from omegaconf import DictConfig

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import coverage
from litepose_ofa.latency_tables.profiling.kit import MEASUREMENTS_FILE
from litepose_ofa.latency_tables.profiling.measurements import read_measurements
from litepose_ofa.latency_tables.profiling.validation import format_fit, format_validation, validate
from litepose_ofa.scripts.build.data import build_space
from litepose_ofa.scripts.command.app import run_folder, script
from litepose_ofa.scripts.settings.fields import OneOrSeveral, PathText
from litepose_ofa.scripts.settings.groups import Keypoints, RunSettings
from litepose_ofa.search.reporting.page.drawing import save_png
from litepose_ofa.search.reporting.page.tables_section import validation_blocks
from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.files import write_json

logger = logging.getLogger(__name__)


class ValidateTableVerb(RunSettings):
    table: PathText
    kit: PathText | None
    measurements: Annotated[list[PathText], OneOrSeveral]
    num_keypoints: Keypoints
    record: bool


@script("validate_table", ValidateTableVerb)
def main(cfg: DictConfig) -> None:
    """Print errors, ranking and intervals; write ``<table>.json`` and ``<table>.png``."""
    table = LatencyTable.load(cfg.table)
    name = table.metadata.device
    require(
        not cfg.record or Path(cfg.table).exists(), "table", cfg.table, "the path of a table's .csv, if record=true"
    )
    logger.info("%s: %s, %s", name, table.metadata.provenance, table.metadata.runtime)
    logger.info("%s", format_fit(table))
    logger.info("%s", coverage(table, build_space(cfg), cfg.num_keypoints))
    if cfg.kit is None:
        return
    kit = Path(cfg.kit)
    reports = []
    for path in [Path(item) for item in cfg.measurements] or [kit / MEASUREMENTS_FILE]:
        measured = read_measurements(kit, path)
        reports.append(validate(table, measured.networks, num_keypoints=measured.network_keypoints, name=path.stem))
    logger.info("%s", format_validation(reports))
    folder = run_folder()
    record = {"table": name, "digest": table.digest, "runs": [report.to_dict() for report in reports]}
    write_json(folder / f"{name}.json", record)
    blocks = validation_blocks(record, {name: table})
    save_png(folder / f"{name}.png", blocks, f"{name}: {table.metadata.runtime}")
    logger.info("%s", folder / f"{name}.png")
    if cfg.record:
        inside = sum(report.inside * len(report.checks) for report in reports) / sum(len(r.checks) for r in reports)
        table.with_metadata(interval_coverage=round(inside, 3)).save(Path(cfg.table))
