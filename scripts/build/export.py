"""The content of an export: the formats that the config names, and facts for manifest and ``subnet.yaml``."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.scripts.build.data import plain
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation import InferenceSettings, ResampledAP, keypoint_breakdown
from litepose_ofa.supernet.evaluation.inference import EvaluationResult
from litepose_ofa.supernet.evaluation.subnets import Calibration, SubnetEvaluator
from litepose_ofa.supernet.export.formats import (
    PEAKS,
    ExportFormat,
    litert_format,
    ncnn_format,
    onnx_format,
    onnx_int8_format,
    onnx_peaks_format,
)
from litepose_ofa.supernet.export.runners import FloatArray

SPLIT = "val"


def build_formats(
    cfg: DictConfig, settings: InferenceSettings, calibration: Callable[[], FloatArray]
) -> list[ExportFormat]:
    """Return the formats that ``formats`` names, in its order; int8 takes its ranges from ``calibration``."""
    onnx = plain(cfg.onnx)
    makers: Mapping[str, Callable[[], ExportFormat]] = {
        "onnx": lambda: onnx_format(**onnx),
        "onnx_int8": lambda: onnx_int8_format(calibration()),
        PEAKS: lambda: onnx_peaks_format(**onnx, most=settings.max_people, threshold=settings.threshold),
        "litert": litert_format,
        "litert_fp16": lambda: litert_format(float16=True),
        "ncnn": ncnn_format,
        "ncnn_fp16": lambda: ncnn_format(float16=True),
    }
    names = list(cfg.formats)
    require(len(set(names)) == len(names), "formats", names, f"a list of different names of {', '.join(makers)}")
    for name in names:
        require(name in makers, "formats", name, f"of {', '.join(makers)}")
    return [makers[name]() for name in names]


def training_images(cfg: DictConfig, evaluator: SubnetEvaluator, image_size: int) -> FloatArray:
    """Return the ``calibration_images`` images of the training split, normalised, shape (N, 3, R, R)."""
    training = evaluator.calibration.dataset
    images = Calibration(training, num_images=cfg.calibration_images, batch_size=1, seed=cfg.seed)
    return np.concatenate([image.numpy() for image in images.batches(image_size)])


def latency_facts(
    cfg: DictConfig, table: LatencyTable, evaluator: SubnetEvaluator, arch: Arch, chosen: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the latency of the network, and that of a whole frame where the search or the config has a decoding cost.

    ``chosen`` is the search's record of the architecture, if a search chose it.
    """
    network = asdict(table.estimate(arch, evaluator.num_keypoints))
    facts = {"table": {"name": table.metadata.device, "digest": table.digest}, "network": network, "frame": None}
    found = _decoding(cfg, chosen)
    if found is None:
        return facts
    decoding, people = found
    device, space, num_keypoints = cfg.device.name, evaluator.space, evaluator.num_keypoints
    costs: dict[str, Any] = {"tables": {device: table}, "decoding": {device: decoding}, "people": people}
    cost = CostModel(space, num_keypoints=num_keypoints, **costs)
    genomes = cost.codec.encode(arch)[None]
    low_ms, high_ms = cost.latency_interval(genomes, device)
    frame = {"ms": cost.latency_ms(genomes, device).item(), "low_ms": low_ms.item(), "high_ms": high_ms.item()}
    is_own = decoding.name == table.metadata.device
    source = {"measured_on": decoding.name, "digest": decoding.digest, "people": people}
    return {**facts, "frame": {**frame, "decoding": {**source, "provenance": "measured" if is_own else "assumed"}}}


def accuracy_facts(cfg: DictConfig, result: EvaluationResult) -> dict[str, Any]:
    """Return what was measured of the network on the held-out images, by crowding too where the file has it."""
    matches = result.comparison.matches
    drawn = ResampledAP.of(matches, resamples=cfg.resamples, seed=cfg.seed) if cfg.resamples else None
    return {
        "dataset": cfg.dataset.name,
        "split": SPLIT,
        "images": len(result.predictions.image_ids),
        "skipped_images": len(result.predictions.skipped),
        "metrics": result.metrics,
        "interval": None if drawn is None else asdict(drawn.interval()),
        "resampled": None if drawn is None else asdict(drawn),
        "crowding": keypoint_breakdown(result.comparison)["crowding"],
    }


def usage_config(name: str) -> dict[str, Any]:
    """Return the overrides under which a subnet was measured, and the commands that take the folder, ``FOLDER``.

    ``name`` is the tier of what is trained from it.
    """
    hydra = HydraConfig.get()
    groups, choices = ("experiment", "space", "dataset", "evaluation"), hydra.runtime.choices
    by_default = {"experiment": None, "evaluation": choices["space"]}
    chosen = [f"{group}={choices[group]}" for group in groups if choices[group] != by_default.get(group, "")]
    keys = tuple(f"{group}." for group in groups)
    changed = [each for each in hydra.overrides.task if each.lstrip("+~").startswith(keys)]
    overrides = [*chosen, *(each for each in changed if not each.startswith("dataset.root="))]
    given = shlex.join(overrides)
    return {
        "overrides": overrides,
        "commands": {
            "evaluate": f"litepose evaluate weights=FOLDER {given}",
            "finetune": f"litepose finetune start=FOLDER tier={name} {given}",
            "train": f"litepose finetune start=scratch arch=FOLDER/arch.json share=1 rate=1 tier={name} {given}",
            "predict": "litepose predict model=FOLDER input=PICTURES output=OUTPUT",
        },
    }


def _decoding(cfg: DictConfig, chosen: Mapping[str, Any] | None) -> tuple[DecodingCost, float] | None:
    searched = (chosen or {}).get("search", {}).get("devices", {}).get(cfg.device.name, {}).get("decoding")
    if searched is None:
        given = cfg.device.get("decoding")
        return None if given is None else (DecodingCost.load(str(given)), cfg.people_per_frame)
    decoding = DecodingCost.load(str(cfg.device.get("decoding") or searched["measured_on"]))
    if decoding.digest != searched["digest"]:
        known = f"the decoding cost {searched['measured_on']} ({searched['digest']}), not {decoding.digest}"
        again = "search again, or pass device.decoding=... as then"
        raise InputError(f"tier {cfg.tier} was searched with {known}; {again}")
    return decoding, searched["people"]
