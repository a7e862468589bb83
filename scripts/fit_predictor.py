"""Fit the accuracy predictor to the measured subnets, and say how well it ranks subnets it has not seen."""

import logging

import numpy as np
from omegaconf import DictConfig

from scripts.builders import build_space
from scripts.cli import script, start_run
from scripts.search_builders import predictor_path, samples_path
from search.predictor import AccuracyPredictor
from search.sampling import AccuracySamples
from supernet.errors import InputError

logger = logging.getLogger(__name__)


@script("fit_predictor")
def main(cfg: DictConfig) -> None:
    """Read ``samples.json``, fit, write ``predictor.safetensors``."""
    start_run(cfg)
    samples = AccuracySamples.load(samples_path(cfg))
    if samples.space != build_space(cfg):
        raise InputError(f"{samples_path(cfg)}: is of the space {samples.space.name!r}, not {cfg.space.name!r}")
    predictor = AccuracyPredictor.fit(
        samples.space,
        samples.genomes,
        samples.ap,
        identity=samples.identity,
        num_keypoints=samples.num_keypoints,
        rng=np.random.default_rng(cfg.seed),
    )
    predictor.save(predictor_path(cfg))
    quality = predictor.quality
    logger.info(
        "%s: fitted to %d subnets; cross-validated Kendall tau %.2f, mean absolute error %.1f AP",
        predictor_path(cfg), quality.num_samples, quality.kendall_tau, 100 * quality.mae,
    )  # fmt: skip


if __name__ == "__main__":
    main()
