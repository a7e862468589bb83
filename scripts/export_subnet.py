"""Cut out the subnet that a search chose, prove it equal to the supernet, recalibrate, measure, export.

Or export what became of it in a finetuning.
"""

import copy
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from latency_tables import LatencyTable
from scripts.builders import build_subnet_evaluator, find_arch
from scripts.cli import script, start_run
from scripts.finetuning import SUBNET_FILE
from search.course.outcome import SearchOutcome
from supernet.arch import Arch
from supernet.checkpoints import load_subnet, read_description, weights_digest
from supernet.data.loading import SampleRequest, TrainingImages, collate
from supernet.errors import InputError, require
from supernet.evaluation.subnets import SubnetEvaluator
from supernet.export.bundle import MANIFEST_FILE, write_bundle
from supernet.extract import extract_subnet, is_equal_to_supernet
from supernet.files import read_json
from supernet.litepose import LitePose

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Finetuned:
    """A finetuned network on the evaluator's device, and the record of its training."""

    subnet: LitePose
    record: dict[str, Any]


@script("export_subnet")
def main(cfg: DictConfig) -> None:
    """Write the export folder of one device and tier."""
    count = cfg.checked_images
    require(type(count) is int and count >= 1, "checked_images", count, "an integer of at least 1")
    require(type(cfg.finetuned) is bool, "finetuned", cfg.finetuned, "true or false")
    evaluator = build_subnet_evaluator(cfg, "val")
    arch, chosen = _chosen(cfg, evaluator)
    folder = Path(cfg.workspace) / "export" / cfg.device.name / cfg.tier
    table = LatencyTable.load(cfg.device.table)
    if chosen is not None and chosen["search"]["table"] != table.digest:
        raise InputError(f"tier {cfg.tier} was searched with the table {chosen['table']}; pass device.table=... again")
    finetuned = _load_finetuned(cfg, evaluator, arch) if cfg.finetuned else None
    if finetuned is not None:
        arch = finetuned.subnet.arch  # of several candidates, finetuning may have preferred another
    source = {
        "device": cfg.device.name,
        "tier": cfg.tier,
        "search": chosen,
        "latency": {**asdict(table.estimate(arch, evaluator.num_keypoints)), "table": table.digest},
        "measured_on": evaluator.identity,
    }
    if finetuned is not None:
        source["finetuned"] = finetuned.record
    if _is_exported(folder, arch, source):
        logger.info("%s: already exported", folder)
        return
    start_run(cfg)
    images = _images(evaluator, arch, count)
    if finetuned is None:
        _prove_equal(evaluator, arch, images)
        subnet = evaluator.prepare(arch)
        equality = {"images": len(images), "bit_equal": True, "recalibrated_after": True}
    else:
        subnet, equality = finetuned.subnet, None
    result = evaluator.evaluate_prepared(subnet)
    facts: dict[str, Any] = {
        **source,
        "accuracy": {**result.metrics, "skipped_images": len(result.skipped)},
        "equal_to_supernet": equality,
    }
    manifest = write_bundle(folder, subnet.cpu(), skeleton=evaluator.dataset.skeleton, images=images, facts=facts)
    logger.info(
        "%s: %s on %d images, ONNX within %.1e, AP %.1f on %d held-out images",
        folder, "equal to the supernet" if equality else "finetuned, compared", len(images),
        manifest["onnx"]["max_abs_difference"], 100 * result.metrics["AP"], result.num_images,
    )  # fmt: skip


def _chosen(cfg: DictConfig, evaluator: SubnetEvaluator) -> tuple[Arch, dict[str, Any] | None]:
    """Return the architecture to export, and the search's record of it unless the config names one."""
    if cfg.arch is not None:
        arch = find_arch(evaluator.space, cfg.arch)
        chosen = None
    else:
        outcome = SearchOutcome.load(Path(cfg.workspace) / "search" / cfg.device.name / cfg.tier)
        outcome.require_weights(evaluator.identity["weights"])
        arch, chosen = outcome.arch, dict(outcome.record)
    if not evaluator.space.contains(arch):
        raise InputError(f"architecture {arch.digest} is not in the space {evaluator.space.name!r}")
    return arch, chosen


def _load_finetuned(cfg: DictConfig, evaluator: SubnetEvaluator, arch: Arch) -> _Finetuned:
    path = Path(cfg.workspace) / "finetune" / cfg.device.name / cfg.tier / SUBNET_FILE
    if not path.exists():
        raise InputError(f"{path}: no such file; finetune first (finetune_subnet.py device=... tier={cfg.tier})")
    subnet, record = load_subnet(path), read_description(path)["info"]
    known = record["archs"][0] if cfg.arch is None else subnet.arch.digest
    if arch.digest != known:
        raise InputError(f"{path}: was finetuned from the architecture {known}; the one to export is {arch.digest}")
    weights = evaluator.identity["weights"]
    if record["supernet"] not in (None, weights):
        raise InputError(f"{path}: was finetuned from other weights than the workspace's supernet has ({weights})")
    if subnet.num_keypoints != evaluator.num_keypoints:
        raise InputError(f"{path}: has {subnet.num_keypoints} keypoints; the dataset has {evaluator.num_keypoints}")
    device = next(evaluator.supernet.parameters()).device
    return _Finetuned(subnet.to(device), {**record, "weights": weights_digest(subnet)})


def _prove_equal(evaluator: SubnetEvaluator, arch: Arch, images: Tensor) -> None:
    supernet = copy.deepcopy(evaluator.supernet).cpu()  # bit-equality is a promise on the CPU
    if not is_equal_to_supernet(extract_subnet(supernet, arch), supernet, images):
        raise RuntimeError(f"subnet {arch.digest} differs from its supernet")


def _is_exported(folder: Path, arch: Arch, source: dict[str, Any]) -> bool:
    path = folder / MANIFEST_FILE
    if not path.exists():
        return False
    manifest = read_json(path)
    expected = json.loads(json.dumps({"finetuned": None, **source}))
    same = {key: manifest.get(key) for key in expected} == expected
    return bool(same and manifest["arch_digest"] == arch.digest)


def _images(evaluator: SubnetEvaluator, arch: Arch, count: int) -> Tensor:
    """Return held-out images as the network's input, (B, 3, R, R)."""
    images = TrainingImages(evaluator.dataset, augmentation=None)
    requests = [SampleRequest(index, arch.image_size, 0) for index in range(min(count, len(images)))]
    return collate([images[request] for request in requests]).images


if __name__ == "__main__":
    main()
