"""Measure one network on a split: AP and PCK with their intervals, AR, and the time in network and decoding."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_splits, find_arch, settings_of
from litepose_ofa.scripts.build.network_files import open_network
from litepose_ofa.scripts.build.networks import build_inference, build_subnet_evaluator
from litepose_ofa.scripts.command.app import run_record, script, start_run
from litepose_ofa.scripts.settings.fields import Choice, PathText, Text, fields_of
from litepose_ofa.scripts.settings.groups import ImageSize, MeasuringSettings, Resamples, Split
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, located, require
from litepose_ofa.supernet.evaluation import (
    FoundSettings,
    Rate,
    ResampledAP,
    breakdown_table,
    evaluate_dataset,
    found_people,
    keypoint_breakdown,
    measure_pck,
    write_results,
)
from litepose_ofa.supernet.evaluation.inference import EvaluationResult
from litepose_ofa.supernet.evaluation.intervals import Interval
from litepose_ofa.supernet.evaluation.keypoint_ap import official_parameters, require_engine
from litepose_ofa.supernet.evaluation.pck import Pck
from litepose_ofa.supernet.evaluation.subnets import NetworkEvaluator
from litepose_ofa.supernet.export.shipped import named_path, shipped_names, tell_shipped
from litepose_ofa.supernet.files import read_json, write_json

logger = logging.getLogger(__name__)


class _Measured(NamedTuple):
    """A network's architecture, its accuracy, the name of its files, and what the record says of its source."""

    arch: Arch
    num_keypoints: int
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
    found: fields_of(FoundSettings)  # type: ignore[valid-type]
    save_results: bool


@script("evaluate", EvaluateVerb)
def main(cfg: DictConfig) -> None:
    """Find or prepare the network, evaluate it, write one JSON, and its results file if asked."""
    require_engine(cfg.engine)
    measured = _of_supernet(cfg) if cfg.weights is None else _of_path(cfg)
    result, predictions = measured.result, measured.result.predictions
    drawn, draws = None, {"resamples": cfg.resamples, "seed": cfg.seed}
    if cfg.resamples and result.metrics:
        drawn = ResampledAP.of(result.comparison.matches, **draws)
    pck = _pck(result, draws)
    cost = measure_complexity(measured.arch, measured.num_keypoints)
    record: dict[str, Any] = {
        "arch": measured.arch.to_dict(),
        "metrics": result.metrics,
        "ap_interval": None if drawn is None else asdict(drawn.interval()),
        "resampled": None if drawn is None else asdict(drawn),
        "pck": asdict(pck) if isinstance(pck, Pck) else {"absent": pck},
        "skipped_images": [str(skipped) for skipped in predictions.skipped],
        "macs": cost.macs,
        "params": cost.params,
        "measured_on": measured.identity,
    }
    if cfg.breakdown and result.metrics:
        record["breakdown"] = keypoint_breakdown(result.comparison)
        logger.info("%s\n\n%s\n", breakdown_table(record["breakdown"]), _pck_table(pck))
    if cfg.breakdown or not result.metrics:
        options = settings_of(FoundSettings, cfg.found, "found")
        found = found_people(result.comparison, options, **draws)
        record["found"] = {name: None if rate is None else asdict(rate) for name, rate in found.items()}
        logger.info("%s\n", _found_lines(found, options))
    if cfg.save_results:
        record["coco_eval"] = official_parameters(result.comparison)
    folder = start_run(cfg)
    tell_shipped(cfg.weights, cfg.supernet)
    path = folder / f"{measured.name}_{cfg.split}.json"
    write_json(path, {**record, "run": run_record(cfg)})
    for skipped in predictions.skipped:
        logger.warning("skipped %s", skipped)
    shown = {name: _shown(value) for name, value in result.metrics.items()}
    if drawn is not None:
        shown["AP"] = _shown(drawn.ap, drawn.interval())
    if isinstance(pck, Pck):
        shown[f"PCK@{pck.threshold}"] = _shown(pck.all.value, pck.all.interval)
    logger.info(
        "%s, %d px, %.1f MMACs, %d images of %s: %s (network %.1f s, decoding %.1f s)",
        measured.name, measured.arch.image_size, cost.macs / 1e6, len(predictions.image_ids), cfg.split,
        " ".join(f"{name} {value}" for name, value in shown.items()) or "nobody to find",
        predictions.network_seconds, predictions.decode_seconds,
    )  # fmt: skip
    if drawn is not None and (line := _against_best(drawn, path, measured)):
        logger.info("%s", line)
    logger.info("%s", path)
    if cfg.save_results:
        results = folder / f"results_{cfg.split}_{measured.name}.json"
        write_results(results, result.comparison.results)
        needed = ", ".join(record["coco_eval"])
        logger.info("%s%s", results, f"; for this AP, COCOeval needs the record's {needed}" if needed else "")


def _pck(result: EvaluationResult, draws: dict[str, int]) -> Pck | str:
    """Return PCK, or why there is none."""
    try:
        return measure_pck(result.comparison, **draws)
    except InputError as error:
        return str(error)


def _shown(value: float, interval: Interval | None = None, *, scale: float = 100, decimals: int = 1) -> str:
    """Return a value, in percent if not told otherwise, with its interval."""
    ends = "" if interval is None else f" ({scale * interval.low:.{decimals}f}-{scale * interval.high:.{decimals}f})"
    return f"{scale * value:.{decimals}f}{ends}"


def _pck_table(pck: Pck | str) -> str:
    if isinstance(pck, str):
        return f"no PCK: {pck}"
    rows = [
        f"{name:<16}{'-' if rate is None else _shown(rate.value, rate.interval):>24}"
        for name, rate in pck.keypoints.items()
    ]
    whose = f"PCK@{pck.threshold} of {pck.people} people; {pck.without_torso} have no torso labelled"
    return "\n".join([whose, *rows])


def _found_lines(found: dict[str, Rate | None], options: FoundSettings) -> str:
    """Say whom of the people the network finds, and how many people in pictures without any."""
    people, people_free, at = found["people"], found["people_free"], f"at score {options.score:g} and above"
    whom = f"with {options.keypoints} keypoints and {options.height:g} of the picture's height, or more"
    lines = []
    if people is not None:
        lines.append(f"{_shown(people.value, people.interval)} % of {people.total} people {whom}, are found {at}")
    if people_free is not None:
        shown = _shown(people_free.value, people_free.interval, scale=1, decimals=2)
        lines.append(f"{shown} people are found on each of {people_free.total} pictures without people {at}")
    return "\n".join(lines)


def _against_best(drawn: ResampledAP, path: Path, measured: _Measured) -> str | None:
    """Compare a network with the best other one that was measured alike in the folder; None if there is none."""
    others, ending = [], path.name.removeprefix(measured.name)
    for other in sorted({*path.parent.glob(f"*{ending}")} - {path}):
        record = read_json(other)
        known, kept = record.get("measured_on", {}), record.get("resampled")
        alike = all(known.get(key) == measured.identity.get(key) for key in ("images", "inference", "keypoints"))
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
    return _Measured(arch, evaluator.num_keypoints, result, name, identity)


def _of_path(cfg: DictConfig) -> _Measured:
    """Return the network of ``weights``; a runtime's file takes the one input that it has."""
    path = named_path(cfg.weights, "weights")
    network, dataset = open_network(cfg, path), build_splits(cfg).load(cfg.split)
    with located(path):
        shared = _shared_keypoints(cfg, network.skeleton, dataset.skeleton)
    settings, batch_size = build_inference(cfg), cfg.evaluation.batch_size
    evaluator = NetworkEvaluator(dataset, settings=settings, batch_size=batch_size, allow_people_free=True)
    predictor = network.open_predictor(settings)
    result = evaluate_dataset(predictor, dataset, batch_size=batch_size, engine=cfg.engine)
    identity, exported = evaluator.identity_of(network.weights) | shared, network.exported
    if exported is not None:
        identity |= {"format": exported.format, "file": exported.digest}
    name = cfg.weights if cfg.weights in shipped_names() else network.arch.digest
    num_keypoints = network.skeleton.num_keypoints
    return _Measured(network.arch, num_keypoints, result, f"{name}_{network.digest}", identity)


def _shared_keypoints(cfg: DictConfig, own: Skeleton, of_dataset: Skeleton) -> dict[str, list[str]]:
    """Return the keypoints that are compared, and warn, if they are not all of the dataset's."""
    names = list(of_dataset.shared_with(own).keypoints)
    if len(names) == of_dataset.num_keypoints:
        return {}
    known = f"{len(names)} of the {of_dataset.num_keypoints} keypoints of {of_dataset.name}"
    require(not cfg.save_results, "save_results", True, f"false: {own.name} has {known}, and COCO's format needs all")
    logger.warning("the network, of %s, is compared by %s: %s", own.name, known, ", ".join(names))
    return {"keypoints": names}
