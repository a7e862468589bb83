"""Measure one network on a split: AP with its interval, AR, and the time in network and decoding.

A subnet of the workspace's supernet, or ``weights=PATH``: a subnet's file, an export folder or a runtime's file in it,
or others' weights with their ``arch``.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.builders import (
    build_device,
    build_inference,
    build_subnet_evaluator,
    find_arch,
    load_split,
)
from litepose_ofa.scripts.build.networks import find_weights, load_network
from litepose_ofa.scripts.command.app import run_record, script, start_run
from litepose_ofa.scripts.settings.searching import EvaluateVerb
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation import (
    ap_interval,
    evaluate_model,
    keypoint_breakdown,
    write_results,
)
from litepose_ofa.supernet.evaluation.inference import EvaluationResult
from litepose_ofa.supernet.evaluation.intervals import ApInterval
from litepose_ofa.supernet.evaluation.keypoint_ap import official_differences, official_parameters, require_engine
from litepose_ofa.supernet.evaluation.subnets import NetworkEvaluator
from litepose_ofa.supernet.export.bundle import WEIGHTS_FILE
from litepose_ofa.supernet.export.runtime import ExportedPose, SquarePredictor, is_runtime_file
from litepose_ofa.supernet.files import write_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose

logger = logging.getLogger(__name__)


class _Measured(NamedTuple):
    """A network's architecture, what measures it, the name of its files, and what the record says of its source."""

    arch: Arch
    evaluate: Callable[..., EvaluationResult]
    name: str
    identity: dict[str, Any]


@script("evaluate", EvaluateVerb)
def main(cfg: DictConfig) -> None:
    """Find or prepare the network, evaluate it, write one JSON, and its results file if asked."""
    require_engine(cfg.engine)
    measured = _of_supernet(cfg) if cfg.weights is None else _of_path(cfg, find_weights(Path(str(cfg.weights))))
    result = measured.evaluate(engine=cfg.engine)
    interval = ap_interval(result.comparison.matches, resamples=cfg.resamples, seed=cfg.seed) if cfg.resamples else None
    record = _record(measured, result, interval)
    if cfg.breakdown:
        breakdown = keypoint_breakdown(result.comparison)
        record["breakdown"] = breakdown.to_dict()
        logger.info("%s\n", breakdown.table())
    if cfg.save_results:
        record["coco_eval"] = official_parameters(result.comparison)
    folder = start_run(cfg)
    path = folder / f"{measured.name}_{cfg.split}.json"
    write_json(path, {**record, "run": run_record(cfg)})
    for skipped in result.skipped:
        logger.warning("skipped %s", skipped)
    logger.info(
        "%s, %d px, %.1f MMACs, %d images of %s: %s (network %.1f s, decoding %.1f s)",
        measured.name, measured.arch.image_size, record["macs"] / 1e6, result.num_images, cfg.split,
        _shown(result.metrics, interval), result.network_seconds, result.decode_seconds,
    )  # fmt: skip
    logger.info("%s", path)
    if cfg.save_results:
        results = folder / f"results_{cfg.split}_{measured.name}.json"
        write_results(results, result.predictions.results)
        needed = ", ".join(record["coco_eval"])
        logger.info("%s%s", results, f"; for this AP, COCOeval needs the record's {needed}" if needed else "")
        for difference in official_differences(result.comparison):
            logger.warning("COCOeval gives another AP of the dataset's file: %s", difference)


def _of_supernet(cfg: DictConfig) -> _Measured:
    """Return a subnet of the workspace's supernet, extracted and recalibrated."""
    evaluator = build_subnet_evaluator(cfg, cfg.split)
    choice = "largest" if cfg.arch is None else cfg.arch
    arch = _resized(find_arch(evaluator.space, choice), cfg)
    if not evaluator.space.contains(arch):
        raise InputError(f"arch {choice} at {arch.image_size} px is not in the space {evaluator.space.name!r}")
    evaluate = partial(evaluator.evaluate_prepared, evaluator.prepare(arch))
    return _Measured(arch, evaluate, arch.digest, evaluator.identity)


def _of_path(cfg: DictConfig, path: Path) -> _Measured:
    """Return the network of ``weights``."""
    return _of_runtime_file(cfg, path) if is_runtime_file(path) else _of_weights(cfg, path)


def _of_runtime_file(cfg: DictConfig, path: Path) -> _Measured:
    """Return the network of an export's file, under its runtime; images are fitted to the one input that it has."""
    build_device(cfg)
    require(cfg.arch is None, "arch", cfg.arch, f"null: {path} knows its architecture")
    exported = ExportedPose.open(path, threads=torch.get_num_threads())
    subnet, size = load_subnet(path.parent / WEIGHTS_FILE), exported.usage.image_size
    require(cfg.image_size in (None, size), "image_size", cfg.image_size, f"null or {size}, which {path} takes")
    dataset = load_split(cfg, cfg.split)
    _require_skeleton(path, exported.usage.skeleton, dataset.skeleton)
    settings, batch_size = build_inference(cfg)
    evaluate = partial(
        evaluate_model,
        exported.model,
        dataset,
        image_size=size,
        settings=settings,
        batch_size=batch_size,
        predictor=SquarePredictor,
    )
    identity = NetworkEvaluator(dataset, settings=settings, batch_size=batch_size).identity_of(subnet)
    name = f"{subnet.arch.digest}_{exported.digest}"
    return _Measured(subnet.arch, evaluate, name, {**identity, "format": exported.format, "file": exported.digest})


def _of_weights(cfg: DictConfig, path: Path) -> _Measured:
    """Return the network of a file as it is; where the file does not describe it, of the architecture ``arch``."""
    device = build_device(cfg)
    dataset = load_split(cfg, cfg.split)
    network, skeleton = load_network(path, cfg.arch, dataset.skeleton)
    _require_skeleton(path, skeleton, dataset.skeleton)
    resized = LitePose(_resized(network.arch, cfg), network.num_keypoints)
    resized.load_state_dict(network.state_dict())
    resized.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings, batch_size = build_inference(cfg)
    evaluator = NetworkEvaluator(dataset, settings=settings, batch_size=batch_size)
    name = f"{resized.arch.digest}_{weights_digest(resized)}"
    evaluate = partial(evaluator.evaluate_prepared, resized)
    return _Measured(resized.arch, evaluate, name, evaluator.identity_of(resized))


def _require_skeleton(path: Path, found: Skeleton, wanted: Skeleton) -> None:
    """Refuse a network of other keypoints than the dataset's."""
    if found.num_keypoints != wanted.num_keypoints:
        has = f"{found.num_keypoints} keypoints; dataset.skeleton {wanted.name} has {wanted.num_keypoints}"
        raise InputError(f"{path}: is a subnet of {has}")
    difference = wanted.difference(found)
    if difference is not None:
        raise InputError(f"{path}: is a subnet of another skeleton than dataset.skeleton, with {difference}")


def _resized(arch: Arch, cfg: DictConfig) -> Arch:
    return arch if cfg.image_size is None else arch.with_image_size(cfg.image_size)


def _record(measured: _Measured, result: EvaluationResult, interval: ApInterval | None) -> dict[str, Any]:
    cost = measure_complexity(measured.arch, result.comparison.skeleton.num_keypoints)
    return {
        "arch": measured.arch.to_dict(),
        "metrics": result.metrics,
        "ap_interval": None if interval is None else asdict(interval),
        "skipped_images": [str(skipped) for skipped in result.skipped],
        "macs": cost.macs,
        "params": cost.params,
        "measured_on": measured.identity,
    }


def _shown(metrics: dict[str, float], interval: ApInterval | None) -> str:
    shown = {name: f"{100 * value:.1f}" for name, value in metrics.items()}
    if interval is not None:
        shown["AP"] = str(interval)
    return " ".join(f"{name} {value}" for name, value in shown.items())
