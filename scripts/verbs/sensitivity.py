"""Measure what each dimension of a trained supernet is worth: AP and latency as it alone varies."""

import logging
from typing import Annotated

from omegaconf import DictConfig
from pydantic import Field
from tqdm import tqdm

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.scripts.build.data import find_arch, workspace_of
from litepose_ofa.scripts.build.networks import build_subnet_evaluator
from litepose_ofa.scripts.command.app import script, start_run
from litepose_ofa.scripts.settings.fields import OneOrSeveral, PathText, Text
from litepose_ofa.scripts.settings.groups import MeasuringSettings, Split
from litepose_ofa.search.accuracy.evaluators import AccuracyCache, SupernetEvaluator
from litepose_ofa.search.reporting.page.drawing import save_png
from litepose_ofa.search.reporting.page.sensitivity_section import sensitivity_blocks
from litepose_ofa.search.trust.sensitivity import format_sensitivity, measure_sensitivity, sensitivity_archs
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import replacing, write_json

logger = logging.getLogger(__name__)


class SensitivityVerb(MeasuringSettings):
    base: Text
    devices: Annotated[list[PathText], OneOrSeveral, Field(min_length=1)]
    split: Split
    supernet: PathText | None


@script("sensitivity", SensitivityVerb, locked=True)
def main(cfg: DictConfig) -> None:
    """Measure the variations that the cache lacks; write ``sensitivity.csv`` and ``sensitivity.png``."""
    tables = {device: LatencyTable.load(device) for device in cfg.devices}
    subnets = build_subnet_evaluator(cfg, cfg.split)
    base = find_arch(subnets.space, cfg.base)
    if not subnets.space.contains(base):
        raise InputError(f"base {cfg.base} is not in the space {subnets.space.name!r}")
    folder = start_run(cfg)
    cache = AccuracyCache(workspace_of(cfg).accuracies)
    evaluator = SupernetEvaluator(subnets.measure, identity=subnets.identity, cache=cache)
    variations = sensitivity_archs(subnets.space, base)
    with tqdm(total=len({variation.arch for variation in variations}), unit="subnet", disable=None) as bar:
        frame = measure_sensitivity(
            variations,
            lambda arch: evaluator.evaluate([arch])[0].ap,
            tables,
            subnets.num_keypoints,
            on_progress=bar.update,
        )
    with replacing(folder / "sensitivity.csv") as temporary:
        frame.to_csv(temporary, index=False)
    write_json(folder / "measured_on.json", {"base": base.to_dict(), **subnets.identity})
    save_png(folder / "sensitivity.png", sensitivity_blocks(frame), "Sensitivity")
    logger.info("%s", format_sensitivity(frame))
    logger.info("%s, sensitivity.csv", folder / "sensitivity.png")
