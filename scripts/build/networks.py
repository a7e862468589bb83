"""From the composed config to the workspace's supernet, a teacher, and what measures networks."""

from collections.abc import Mapping
from pathlib import Path

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_space, build_splits, settings_of, workspace_of
from litepose_ofa.scripts.settings.threads import thread_count
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.skeletons import require_keypoints
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.subnets import Calibration, NetworkEvaluator, SubnetEvaluator
from litepose_ofa.supernet.export.loading import find_weights
from litepose_ofa.supernet.export.shipped import named_path
from litepose_ofa.supernet.network.checkpoints import (
    load_subnet,
    load_supernet,
    load_weights,
    read_description,
    read_skeleton,
)
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import Process
from litepose_ofa.supernet.training.step import keep_freed_memory
from litepose_ofa.supernet.training.teacher import Teacher
from litepose_ofa.supernet.training.validation import Validator


def build_device(cfg: DictConfig) -> torch.device:
    """Return the device to compute on; set torch's CPU threads, and keep freed memory where it computes on a CPU."""
    torch.set_num_threads(thread_count(cfg.threads))
    if cfg.accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError("accelerator is 'cuda', but torch finds no CUDA device; use cpu or auto")
    use_cuda = cfg.accelerator != "cpu" and torch.cuda.is_available()
    if not use_cuda:
        keep_freed_memory()
    return torch.device("cuda" if use_cuda else "cpu")


def build_inference(cfg: DictConfig) -> InferenceSettings:
    """Return how people are predicted, of the ``evaluation`` group."""
    return settings_of(InferenceSettings, cfg.evaluation, "evaluation")


def _build_calibration(cfg: DictConfig) -> Calibration:
    """Return where subnets' batch-norm statistics come from."""
    values = cfg.evaluation
    return Calibration(build_splits(cfg).load("train"), num_images=values.bn_images, batch_size=values.bn_batch_size)


def build_validator(
    cfg: DictConfig, archs: Mapping[str, Arch], process: Process, *, split: str = "search", images: int | None = None
) -> Validator:
    """Return what measures networks during a training or after it, on all images of a split or the first so many.

    The split is ``search`` where anything is chosen by what is measured.
    """
    dataset = build_splits(cfg).load(split)
    dataset = dataset if images is None else dataset.first(images)
    evaluator = NetworkEvaluator(dataset, settings=build_inference(cfg), batch_size=cfg.evaluation.batch_size)
    return Validator(archs, _build_calibration(cfg), evaluator, process)


def supernet_path(cfg: DictConfig) -> Path:
    """Return where the supernet is: the config's ``supernet``, where it has one, or the workspace's trained one."""
    return (
        workspace_of(cfg).supernet
        if cfg.get("supernet") is None
        else find_weights(named_path(cfg.supernet, "supernet"))
    )


def load_trained_supernet(cfg: DictConfig, device: torch.device) -> LitePoseSupernet:
    """Load the workspace's supernet."""
    path = supernet_path(cfg)
    if not path.exists():
        raise InputError(f"{path}: no such file; train first (litepose train) or set workspace")
    supernet = load_supernet(path)
    if supernet.space != build_space(cfg):
        raise InputError(f"{path}: is a supernet of the space {supernet.space.name!r}, not {cfg.space.name!r}")
    splits = build_splits(cfg)
    require_keypoints(f"{path}: is a supernet", supernet.num_keypoints, splits.skeleton, known=read_skeleton(path))
    info = read_description(path)["info"]
    if "held_out" in info and info.get("dataset") == cfg.dataset.name:
        splits.require_unseen(info["held_out"], str(path))
    return supernet.to(device=device, memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def build_subnet_evaluator(cfg: DictConfig, split: str) -> SubnetEvaluator:
    """Return what measures subnets of the workspace's supernet on a split."""
    return SubnetEvaluator(
        load_trained_supernet(cfg, build_device(cfg)),
        _build_calibration(cfg),
        build_splits(cfg).load(split),
        batch_size=cfg.evaluation.batch_size,
        settings=build_inference(cfg),
    )


def build_teacher(cfg: DictConfig, num_keypoints: int, device: torch.device) -> Teacher | None:
    """Return the network of ``teacher.weights`` and ``teacher.arch``, at its own resolution, or None."""
    weights, arch = cfg.teacher.weights, cfg.teacher.arch
    if weights is None:
        require(arch is None, "teacher.arch", arch, "null without teacher.weights")
        return None
    path = find_weights(named_path(weights, "teacher.weights"))
    if arch is None:
        network = load_subnet(path)
    else:
        network = LitePose(Arch.load(arch), num_keypoints)
        load_weights(network, path)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if network.num_keypoints != num_keypoints:
        raise InputError(f"the teacher has {network.num_keypoints} keypoints; the dataset has {num_keypoints}")
    return Teacher(network, image_size=network.arch.image_size)
