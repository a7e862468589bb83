"""Cut out the subnet that a search chose, prove it equal to the supernet, recalibrate, measure, export."""

import copy
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from pydantic import Field

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.few_shot import FEWEST_NETWORKS
from litepose_ofa.scripts.build.data import find_arch, workspace_of
from litepose_ofa.scripts.build.export import (
    SPLIT,
    accuracy_facts,
    build_formats,
    latency_facts,
    training_images,
    usage_config,
)
from litepose_ofa.scripts.build.networks import build_subnet_evaluator, supernet_path
from litepose_ofa.scripts.build.spread import write_spread
from litepose_ofa.scripts.command.app import script, start_run
from litepose_ofa.scripts.settings.fields import Choice, Name, OneOrSeveral, PathText, Text
from litepose_ofa.scripts.settings.groups import DeviceSettings, MeasuringSettings, Resamples
from litepose_ofa.search.reporting.card import write_card
from litepose_ofa.search.study.results import SearchOutcome
from litepose_ofa.search.tuning.trials import read_facts
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.loading.batches import SampleRequest, TrainingImages, collate
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator
from litepose_ofa.supernet.export.bundle import MANIFEST_FILE, Manifest, open_export, write_bundle
from litepose_ofa.supernet.export.formats import PEAKS, ExportFormat, FormatEvaluator
from litepose_ofa.supernet.export.onnx_graph import OPSETS, Batch
from litepose_ofa.supernet.export.shipped import shipped_names, tell_shipped
from litepose_ofa.supernet.files import locked_folder, restore_folder
from litepose_ofa.supernet.network.checkpoints import load_subnet, weights_digest
from litepose_ofa.supernet.network.extract import extract_subnet, is_equal_to_supernet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.validation import Checked, Count, NonNegative

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """An architecture to export, its finetuned network if that is asked for, and what else the folder follows from."""

    folder: Path
    arch: Arch
    finetuned: LitePose | None
    table: LatencyTable
    formats: Sequence[ExportFormat]
    facts: dict[str, Any]


class OnnxSettings(Checked):
    """``onnx`` of an export."""

    batch: Batch
    opset: Annotated[int, Field(ge=OPSETS.start, le=OPSETS.stop - 1)]


class ExportVerb(MeasuringSettings):
    device: DeviceSettings
    tier: Name
    arch: Text | None
    supernet: PathText | None
    finetuned: bool
    spread: Annotated[int, Field(ge=FEWEST_NETWORKS, le=100)] | None
    checked_images: Annotated[int, Field(ge=1, le=1_000)]
    formats: Annotated[list[Choice], OneOrSeveral]
    onnx: OnnxSettings
    calibration_images: Count
    measure_formats: bool
    resamples: Resamples
    people_per_frame: NonNegative


@script("export", ExportVerb)
def main(cfg: DictConfig) -> None:
    """Write the export folder of one device and tier, or of one architecture; or a spread of networks to time."""
    if cfg.spread is not None:
        write_spread(cfg)
        return
    evaluator = build_subnet_evaluator(cfg, SPLIT)
    plan = _plan(cfg, evaluator)
    folder = plan.folder
    with locked_folder(folder.parents[1] / ".runs" / folder.parent.name / folder.name):  # wherever the run folder is
        restore_folder(folder)
        if _is_exported(plan):
            logger.info("%s: already exported", folder)
            return
        if folder.exists() and not (folder / MANIFEST_FILE).exists() and (folder.is_file() or any(folder.iterdir())):
            raise InputError(f"{folder}: holds other things than an export ({MANIFEST_FILE} is missing); move it away")
        start_run(cfg)
        tell_shipped(cfg.supernet)
        _report(_export(cfg, evaluator, plan))


def _plan(cfg: DictConfig, evaluator: SubnetEvaluator) -> _Plan:
    arch, chosen = _chosen(cfg, evaluator)
    table = LatencyTable.load(cfg.device.table)
    if chosen is not None and chosen["search"]["table"] != table.digest:
        known = f"the table {chosen['table']} ({chosen['search']['table']}), not {table.digest}"
        raise InputError(f"tier {cfg.tier} was searched with {known}; search again, or pass device.table=... as then")
    finetuned: LitePose | None = None
    record: dict[str, Any] | None = None
    path, weights = supernet_path(cfg), evaluator.identity["weights"]
    if cfg.finetuned:
        path = workspace_of(cfg).finetuned(cfg.device.name, cfg.tier)
        finetuned, record = _load_finetuned(cfg, evaluator, arch, path)
        arch = finetuned.arch  # of several candidates, finetuning may have preferred another
        weights = record["weights"]
    checkpoint = Path(os.path.relpath(path, cfg.workspace)).as_posix()
    if not cfg.finetuned and cfg.supernet in shipped_names():
        checkpoint = f"the shipped {cfg.supernet}"  # wherever it is installed
    facts = {
        "device": cfg.device.name,
        "tier": cfg.tier if cfg.arch is None else None,
        "search": chosen,
        "source": {"checkpoint": checkpoint, "weights": weights},
        "finetuned": record,
        "latency": latency_facts(cfg, table, evaluator, arch, chosen),
        "measured_on": evaluator.identity,
        "options": {name: cfg[name] for name in ("seed", "checked_images", "measure_formats", "resamples")},
    }
    folder = workspace_of(cfg).export(cfg.device.name, cfg.tier if cfg.arch is None else arch.digest)
    formats = build_formats(cfg, evaluator.settings, lambda: training_images(cfg, evaluator, arch.image_size))
    return _Plan(folder, arch, finetuned, table, formats, json.loads(json.dumps(facts)))


def _chosen(cfg: DictConfig, evaluator: SubnetEvaluator) -> tuple[Arch, dict[str, Any] | None]:
    """Return the architecture to export, and the search's record of it unless the config names one."""
    if cfg.arch is not None:
        arch, chosen = find_arch(evaluator.space, cfg.arch), None
    else:
        outcome = SearchOutcome.load(workspace_of(cfg).search(cfg.device.name, cfg.tier))
        outcome.require_weights(evaluator.identity["weights"])
        arch, chosen = outcome.arch, dict(outcome.record)
    if not evaluator.space.contains(arch):
        raise InputError(f"architecture {arch.digest} is not in the space {evaluator.space.name!r}")
    return arch, chosen


def _load_finetuned(
    cfg: DictConfig, evaluator: SubnetEvaluator, arch: Arch, path: Path
) -> tuple[LitePose, dict[str, Any]]:
    """Return a finetuned network on the evaluator's device, and the record of its training."""
    if not path.exists():
        raise InputError(f"{path}: no such file; finetune first (litepose finetune device=... tier={cfg.tier})")
    subnet, record = load_subnet(path), read_facts(path)
    known = record["archs"][0] if cfg.arch is None else subnet.arch.digest
    if arch.digest != known:
        raise InputError(f"{path}: was finetuned from the architecture {known}; the one to export is {arch.digest}")
    weights = evaluator.identity["weights"]
    if record["supernet"] not in (None, weights):
        raise InputError(f"{path}: was finetuned from other weights than the workspace's supernet has ({weights})")
    if subnet.num_keypoints != evaluator.num_keypoints:
        raise InputError(f"{path}: has {subnet.num_keypoints} keypoints; the dataset has {evaluator.num_keypoints}")
    device = next(evaluator.supernet.parameters()).device
    return subnet.to(device), {**record, "weights": weights_digest(subnet)}


def _is_exported(plan: _Plan) -> bool:
    """Say whether the folder is whole, and of this plan's facts and formats."""
    try:
        manifest = open_export(plan.folder)
    except InputError:
        return False
    known, formats = manifest.record, {fmt.name: json.loads(json.dumps(fmt.facts)) for fmt in plan.formats}
    return (
        known["arch_digest"] == plan.arch.digest
        and {key: known.get(key) for key in plan.facts} == plan.facts
        and list(manifest.formats) == list(formats)
        and all(described.items() <= dict(manifest.formats[name]).items() for name, described in formats.items())
    )


def _export(cfg: DictConfig, evaluator: SubnetEvaluator, plan: _Plan) -> Manifest:
    """Prove, recalibrate, measure, write."""
    held_out = TrainingImages(evaluator.dataset, augmentation=None)
    count = min(cfg.checked_images, len(held_out))
    images = collate([held_out[SampleRequest(index, plan.arch.image_size, 0)] for index in range(count)]).images
    if plan.finetuned is None:
        supernet = copy.deepcopy(evaluator.supernet).cpu()  # bit-equality is a promise on the CPU
        if not is_equal_to_supernet(extract_subnet(supernet, plan.arch), supernet, images):
            raise RuntimeError(f"subnet {plan.arch.digest} differs from its supernet")
        subnet = evaluator.prepare(plan.arch)
        equality = {"images": len(images), "bit_equal": True, "recalibrated_after": True}
    else:
        subnet, equality = plan.finetuned, None
    accuracy = accuracy_facts(cfg, evaluator.evaluate_prepared(subnet))
    subnet, skeleton = subnet.cpu(), evaluator.dataset.skeleton
    files = FormatEvaluator(
        subnet,
        evaluator.dataset,
        evaluator.settings,
        evaluator.batch_size,
        resamples=cfg.resamples,
        seed=cfg.seed,
        threads=torch.get_num_threads(),
    )

    def measure(fmt: ExportFormat, folder: Path) -> dict[str, Any]:
        measured = fmt.name != PEAKS and (cfg.measure_formats or fmt.tolerance is None)
        return {"accuracy": files.measure(fmt, folder) if measured else None}

    return write_bundle(
        plan.folder,
        subnet,
        skeleton=skeleton,
        images=images.contiguous().numpy(),
        formats=plan.formats,
        facts={**plan.facts, "accuracy": accuracy, "equal_to_supernet": equality},
        config=usage_config(plan.arch.digest),
        measure_format=measure,
        add_files=lambda folder, record: write_card(folder, plan.arch, skeleton, record, table=plan.table),
    )


def _report(manifest: Manifest) -> None:
    record = manifest.record
    accuracy, equality = record["accuracy"], record["equal_to_supernet"]
    logger.info(
        "%s: %s, AP %.1f on %d held-out images",
        manifest.folder, "finetuned" if equality is None else f"equal to the supernet on {equality['images']} images",
        100 * accuracy["metrics"]["AP"], accuracy["images"],
    )  # fmt: skip
    for name, described in manifest.formats.items():
        parity, measured = described["parity"], described["accuracy"]
        ap = "" if measured is None else f", AP {100 * measured['AP']:.1f} ({100 * measured['difference']:+.2f})"
        logger.info(
            "%s: %s, within %.1e of torch on %d images%s",
            name, " and ".join(described["files"]), parity["max_abs_difference"], parity["images"], ap,
        )  # fmt: skip
