"""Measure one subnet of a trained supernet on a split: AP and AR, and the time in network and decoding."""

import logging

from omegaconf import DictConfig

from scripts.builders import build_subnet_evaluator, find_arch
from scripts.cli import script, start_run
from supernet.complexity import measure_complexity
from supernet.errors import InputError
from supernet.files import write_json

logger = logging.getLogger(__name__)


@script("evaluate_subnet")
def main(cfg: DictConfig) -> None:
    """Extract, recalibrate, evaluate, write one JSON."""
    evaluator = build_subnet_evaluator(cfg, cfg.split)
    arch = find_arch(evaluator.space, cfg.arch)
    if cfg.image_size is not None:
        arch = arch.with_image_size(cfg.image_size)
    if not evaluator.space.contains(arch):
        raise InputError(f"arch {cfg.arch} at {arch.image_size} px is not in the space {evaluator.space.name!r}")
    result = evaluator.evaluate(arch)
    cost = measure_complexity(arch, evaluator.num_keypoints)
    path = start_run(cfg) / f"{arch.digest}_{cfg.split}.json"
    write_json(
        path,
        {
            "arch": arch.to_dict(),
            "metrics": result.metrics,
            "skipped_images": [str(skipped) for skipped in result.skipped],
            "macs": cost.macs,
            "params": cost.params,
            "measured_on": evaluator.identity,
        },
    )
    for skipped in result.skipped:
        logger.warning("skipped %s", skipped)
    names = " ".join(f"{name} {100 * value:.1f}" for name, value in result.metrics.items())
    logger.info(
        "%s, %d px, %.1f MMACs, %d images of %s: %s (network %.1f s, decoding %.1f s)",
        arch.digest, arch.image_size, cost.macs / 1e6, result.num_images, cfg.split, names,
        result.network_seconds, result.decode_seconds,
    )  # fmt: skip
    logger.info("%s", path)


if __name__ == "__main__":
    main()
