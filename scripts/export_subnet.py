"""Cut out the subnet that a search chose, prove it equal to the supernet, recalibrate, measure, export."""

import copy
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from latency_tables import LatencyTable
from scripts.builders import build_subnet_evaluator, find_arch
from scripts.cli import script, start_run
from search.results import CHOSEN_FILE
from supernet.arch import Arch
from supernet.data.loading import SampleRequest, TrainingImages, collate
from supernet.errors import InputError
from supernet.evaluation.subnets import SubnetEvaluator
from supernet.export.bundle import MANIFEST_FILE, write_bundle
from supernet.extract import extract_subnet, is_equal_to_supernet
from supernet.files import read_json

logger = logging.getLogger(__name__)


@script("export_subnet")
def main(cfg: DictConfig) -> None:
    """Write the export folder of one device and tier."""
    if type(cfg.checked_images) is not int or cfg.checked_images < 1:
        raise InputError(f"checked_images is {cfg.checked_images!r}; it must be an integer of at least 1")
    evaluator = build_subnet_evaluator(cfg, "val")
    arch, chosen = _chosen(cfg, evaluator)
    folder = Path(cfg.workspace) / "export" / cfg.device.name / cfg.tier
    table = LatencyTable.load(cfg.device.table)
    if chosen is not None and chosen["search"]["table"] != table.digest:
        raise InputError(f"tier {cfg.tier} was searched with the table {chosen['table']}; pass device.table=... again")
    source = {
        "device": cfg.device.name,
        "tier": cfg.tier,
        "search": chosen,
        "latency": {**asdict(table.estimate(arch, evaluator.num_keypoints)), "table": table.digest},
        "measured_on": evaluator.identity,
    }
    if _is_exported(folder, arch, source):
        logger.info("%s: already exported", folder)
        return
    start_run(cfg)
    images = _images(evaluator, arch, cfg.checked_images)
    supernet = copy.deepcopy(evaluator.supernet).cpu()  # bit-equality is a promise on the CPU
    if not is_equal_to_supernet(extract_subnet(supernet, arch), supernet, images):
        raise RuntimeError(f"subnet {arch.digest} differs from its supernet")
    subnet = evaluator.prepare(arch)
    result = evaluator.evaluate_prepared(subnet)
    facts: dict[str, Any] = {
        **source,
        "accuracy": {**result.metrics, "skipped_images": len(result.skipped)},
        "equal_to_supernet": {"images": len(images), "bit_equal": True, "recalibrated_after": True},
    }
    manifest = write_bundle(folder, subnet.cpu(), skeleton=evaluator.dataset.skeleton, images=images, facts=facts)
    logger.info(
        "%s: equal to the supernet on %d images, ONNX within %.1e, AP %.1f on %d held-out images",
        folder, len(images), manifest["onnx"]["max_abs_difference"], 100 * result.metrics["AP"], result.num_images,
    )  # fmt: skip


def _chosen(cfg: DictConfig, evaluator: SubnetEvaluator) -> tuple[Arch, dict[str, Any] | None]:
    """Return the architecture to export, and the search's record of it unless the config names one."""
    if cfg.arch is not None:
        arch = find_arch(evaluator.space, cfg.arch)
        chosen = None
    else:
        path = Path(cfg.workspace) / "search" / cfg.device.name / cfg.tier / CHOSEN_FILE
        if not path.exists():
            raise InputError(f"{path}: no such file; search first (run_search.py device=... tier={cfg.tier})")
        chosen = read_json(path)
        arch = Arch.from_dict(chosen.pop("arch"))
        weights = evaluator.identity["weights"]
        if chosen["search"]["evaluator"]["weights"] != weights:
            raise InputError(f"{path}: was searched on other weights than the workspace's supernet has ({weights})")
    if not evaluator.space.contains(arch):
        raise InputError(f"architecture {arch.digest} is not in the space {evaluator.space.name!r}")
    return arch, chosen


def _is_exported(folder: Path, arch: Arch, source: dict[str, Any]) -> bool:
    path = folder / MANIFEST_FILE
    if not path.exists():
        return False
    manifest = read_json(path)
    same = {key: manifest.get(key) for key in source} == json.loads(json.dumps(source))
    return bool(same and manifest["arch_digest"] == arch.digest)


def _images(evaluator: SubnetEvaluator, arch: Arch, count: int) -> Tensor:
    """Return held-out images as the network's input, (B, 3, R, R)."""
    images = TrainingImages(evaluator.dataset, augmentation=None)
    requests = [SampleRequest(index, arch.image_size, 0) for index in range(min(count, len(images)))]
    return collate([images[request] for request in requests]).images


if __name__ == "__main__":
    main()
