"""Measure on this machine what a frame costs beyond its network: the input made of it, people made of the outputs."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from litepose_ofa.latency_tables.decoding.measurement import DecodingSettings, measure_decoding
from litepose_ofa.scripts.build.data import settings_of
from litepose_ofa.scripts.command.app import script
from litepose_ofa.scripts.settings.fields import Name, PathText, fields_of
from litepose_ofa.scripts.settings.groups import RunSettings

logger = logging.getLogger(__name__)


class MeasureDecodingVerb(RunSettings, fields_of(DecodingSettings)):  # type: ignore[misc]
    name: Name
    output: PathText


@script("measure_decoding", MeasureDecodingVerb)
def main(cfg: DictConfig) -> None:
    """Write ``<output>/<name>.yaml``; show the fitted cost of each size."""
    settings = settings_of(DecodingSettings, cfg)
    with tqdm(total=settings.rounds + 1, desc="decoding", unit="round", disable=None) as bar:
        cost = measure_decoding(cfg.name, settings, np.random.default_rng(cfg.seed), on_round=bar.update)
    path = Path(cfg.output) / f"{cfg.name}.yaml"
    cost.save(path)
    logger.info("%s: %s, %d thread", path, cost.processor, cost.threads)
    counts = (0, 1, 5, cost.most_people)
    lines = ["  R  " + "".join(f"{f'{count} people':>12}" for count in counts) + "  spread  mean error"]
    for size in cost.sizes:
        times = "".join(f"{size.ms(count):9.2f} ms" for count in counts)
        lines.append(f"{size.image_size:3d}  {times}  {100 * size.spread:4.1f} %  {100 * size.mean_error:8.1f} %")
    logger.info("%s", "\n".join(lines))
