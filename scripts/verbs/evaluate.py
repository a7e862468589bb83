"""Measure one network on a split: AP with its interval, AR, and the time in network and decoding."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_splits, find_arch
from litepose_ofa.scripts.build.network_files import open_network
from litepose_ofa.scripts.build.networks import build_inference, build_subnet_evaluator
from litepose_ofa.scripts.command.app import run_record, script, start_run
from litepose_ofa.scripts.settings.fields import Choice, PathText, Text
from litepose_ofa.scripts.settings.groups import ImageSize, MeasuringSettings, Resamples, Split
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.data.skeletons import require_keypoints
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import (
    ResampledAP,
    breakdown_table,
    evaluate_dataset,
    keypoint_breakdown,
    write_results,
)
from litepose_ofa.supernet.evaluation.inference import EvaluationResult
from litepose_ofa.supernet.evaluation.keypoint_ap import official_parameters, require_engine
from litepose_ofa.supernet.evaluation.subnets import NetworkEvaluator
from litepose_ofa.supernet.export.shipped import named_path, shipped_names, tell_shipped
from litepose_ofa.supernet.files import read_json, write_json

logger = logging.getLogger(__name__)


class _Measured(NamedTuple):
    """A network's architecture, its accuracy, the name of its files, and what the record says of its source."""

    arch: Arch
    result: EvaluationResult
    name: str
    identity: dict[str, Any]


class EvaluateVerb(MeasuringSettings):
    weights: PathText | None
    supernet: PathText | None
    arch: Text | None
    image_size: ImageSize | None
    split: Split
    engine: Choice
    resamples: Resamples
    breakdown: bool
    save_results: bool


@script("evaluate", EvaluateVerb)
def main(cfg: DictConfig) -> None:
    """Find or prepare the network, evaluate it, write one JSON, and its results file if asked."""
    require_engine(cfg.engine)
    measured = _of_supernet(cfg) if cfg.weights is None else _of_path(cfg)
    result, predictions = measured.result, measured.result.predictions
    drawn = None
    if cfg.resamples:
        drawn = ResampledAP.of(result.comparison.matches, resamples=cfg.resamples, seed=cfg.seed)
    cost = measure_complexity(measured.arch, result.comparison.skeleton.num_keypoints)
    record: dict[str, Any] = {
        "arch": measured.arch.to_dict(),
        "metrics": result.metrics,
        "ap_interval": None if drawn is None else asdict(drawn.interval()),
        "resampled": None if drawn is None else asdict(drawn),
        "skipped_images": [str(skipped) for skipped in predictions.skipped],
        "macs": cost.macs,
        "params": cost.params,
        "measured_on": measured.identity,
    }
    if cfg.breakdown:
        record["breakdown"] = keypoint_breakdown(result.comparison)
        logger.info("%s\n", breakdown_table(record["breakdown"]))
    if cfg.save_results:
        record["coco_eval"] = official_parameters(result.comparison)
    folder = start_run(cfg)
    tell_shipped(cfg.weights, cfg.supernet)
    path = folder / f"{measured.name}_{cfg.split}.json"
    write_json(path, {**record, "run": run_record(cfg)})
    for skipped in predictions.skipped:
        logger.warning("skipped %s", skipped)
    shown = {name: f"{100 * value:.1f}" for name, value in result.metrics.items()}
    if drawn is not None:
        interval = drawn.interval()
        shown["AP"] += f" ({100 * interval.low:.1f}-{100 * interval.high:.1f})"
    logger.info(
        "%s, %d px, %.1f MMACs, %d images of %s: %s (network %.1f s, decoding %.1f s)",
        measured.name, measured.arch.image_size, cost.macs / 1e6, len(predictions.image_ids), cfg.split,
        " ".join(f"{name} {value}" for name, value in shown.items()),
        predictions.network_seconds, predictions.decode_seconds,
    )  # fmt: skip
    if drawn is not None and (line := _against_best(drawn, path, measured)):
        logger.info("%s", line)
    logger.info("%s", path)
    if cfg.save_results:
        results = folder / f"results_{cfg.split}_{measured.name}.json"
        write_results(results, predictions.results)
        needed = ", ".join(record["coco_eval"])
        logger.info("%s%s", results, f"; for this AP, COCOeval needs the record's {needed}" if needed else "")


def _against_best(drawn: ResampledAP, path: Path, measured: _Measured) -> str | None:
    """Compare a network with the best other one that was measured alike in the folder; None if there is none."""
    others, ending = [], path.name.removeprefix(measured.name)
    for other in sorted({*path.parent.glob(f"*{ending}")} - {path}):
        record = read_json(other)
        known, kept = record.get("measured_on", {}), record.get("resampled")
        alike = all(known.get(key) == measured.identity[key] for key in ("images", "inference"))
        if kept and alike and (kept["drawn"], len(kept["draws"])) == (drawn.drawn, len(drawn.draws)):
            others.append((ResampledAP(**kept), other.name.removesuffix(ending)))
    if not others:
        return None
    best, name = max(others, key=lambda other: other[0].ap)
    difference, interval = drawn.minus(best)
    shown = f"{100 * difference:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
    return f"AP {shown} against {name}, the best other network here, image by image"


def _of_supernet(cfg: DictConfig) -> _Measured:
    """Return a subnet of the workspace's supernet, extracted and recalibrated."""
    evaluator = build_subnet_evaluator(cfg, cfg.split)
    choice = "largest" if cfg.arch is None else cfg.arch
    arch = find_arch(evaluator.space, choice)
    if cfg.image_size is not None:
        arch = arch.with_image_size(cfg.image_size)
    if not evaluator.space.contains(arch):
        raise InputError(f"arch {choice} at {arch.image_size} px is not in the space {evaluator.space.name!r}")
    result = evaluator.evaluate_prepared(evaluator.prepare(arch), engine=cfg.engine)
    identity = evaluator.identity
    name = arch.digest if cfg.supernet is None else f"{arch.digest}_{identity['weights']}"
    return _Measured(arch, result, name, identity)


def _of_path(cfg: DictConfig) -> _Measured:
    """Return the network of ``weights``; a runtime's file takes the one input that it has."""
    path = named_path(cfg.weights, "weights")
    network, dataset = open_network(cfg, path), build_splits(cfg).load(cfg.split)
    found = network.skeleton
    require_keypoints(f"{path}: is a subnet", found.num_keypoints, dataset.skeleton, known=found)
    settings, batch_size = build_inference(cfg), cfg.evaluation.batch_size
    evaluator = NetworkEvaluator(dataset, settings=settings, batch_size=batch_size)
    predictor = network.open_predictor(settings)
    result = evaluate_dataset(predictor, dataset, batch_size=batch_size, engine=cfg.engine)
    identity, exported = evaluator.identity_of(network.weights), network.exported
    if exported is not None:
        identity |= {"format": exported.format, "file": exported.digest}
    name = cfg.weights if cfg.weights in shipped_names() else network.arch.digest
    return _Measured(network.arch, result, f"{name}_{network.digest}", identity)
