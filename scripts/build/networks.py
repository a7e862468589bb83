"""From the composed config, or a path, to networks and what measures them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_space, build_splits, load_split, plain
from litepose_ofa.search.workspace import Workspace
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.subnets import Calibration, SubnetEvaluator
from litepose_ofa.supernet.export.bundle import CONFIG_FILE, WEIGHTS_FILE, open_export
from litepose_ofa.supernet.export.runtime import ExportedUsage
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
from litepose_ofa.supernet.validation import validate


def build_device(cfg: DictConfig) -> torch.device:
    """Return the device to compute on; set torch's CPU threads, and keep freed memory where it computes on a CPU."""
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    if cfg.accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError("accelerator is 'cuda', but torch finds no CUDA device; use cpu or auto")
    use_cuda = cfg.accelerator != "cpu" and torch.cuda.is_available()
    if not use_cuda:
        keep_freed_memory()
    return torch.device("cuda" if use_cuda else "cpu")


def build_inference(cfg: DictConfig) -> tuple[InferenceSettings, int]:
    """Return how people are predicted, and the images of a forward pass, of the ``evaluation`` group."""
    values = {name: value for name, value in plain(cfg.evaluation).items() if not name.startswith("bn_")}
    batch_size = values.pop("batch_size")
    return validate(InferenceSettings, values, key="evaluation"), batch_size


def _build_measuring(cfg: DictConfig) -> tuple[Calibration, InferenceSettings, int]:
    """Return where batch-norm statistics come from, how people are predicted, and the batch size of that."""
    values = cfg.evaluation
    calibration = Calibration(load_split(cfg, "train"), num_images=values.bn_images, batch_size=values.bn_batch_size)
    return calibration, *build_inference(cfg)


def build_validator(
    cfg: DictConfig, archs: Mapping[str, Arch], process: Process, *, split: str = "search", images: int | None = None
) -> Validator:
    """Return what measures networks during a training or after it.

    Args:
        cfg: The composed config.
        archs: The subnets by name.
        process: This rank.
        split: The images to measure on: those that architectures may be chosen on, unless nothing is chosen.
        images: Only the first so many.
    """
    calibration, settings, batch_size = _build_measuring(cfg)
    dataset = load_split(cfg, split)
    return Validator(
        archs,
        calibration,
        dataset if images is None else dataset.first(images),
        settings=settings,
        batch_size=batch_size,
        process=process,
    )


def supernet_path(cfg: DictConfig) -> Path:
    """Return where the supernet is: the config's ``supernet``, where it has one, or the workspace's trained one."""
    if cfg.get("supernet") is not None:
        return Path(cfg.supernet)
    return Workspace(Path(cfg.workspace)).supernet


def load_trained_supernet(cfg: DictConfig, device: torch.device) -> LitePoseSupernet:
    """Load the workspace's supernet.

    Raises:
        InputError: If there is none, or it is of another space or number of keypoints than the config's.
    """
    path = supernet_path(cfg)
    if not path.exists():
        raise InputError(f"{path}: no such file; train first (litepose train) or set workspace")
    supernet = load_supernet(path)
    if supernet.space != build_space(cfg):
        raise InputError(f"{path}: is a supernet of the space {supernet.space.name!r}, not {cfg.space.name!r}")
    splits = build_splits(cfg)
    _require_skeleton(path, supernet.num_keypoints, splits.skeleton)
    info = read_description(path)["info"]
    if "held_out" in info and info.get("dataset") == cfg.dataset.name:
        splits.require_unseen(info["held_out"], str(path))
    return supernet.to(device=device, memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def build_subnet_evaluator(cfg: DictConfig, split: str) -> SubnetEvaluator:
    """Return what measures subnets of the workspace's supernet on a split."""
    device = build_device(cfg)
    supernet = load_trained_supernet(cfg, device)
    calibration, settings, batch_size = _build_measuring(cfg)
    return SubnetEvaluator(supernet, calibration, load_split(cfg, split), batch_size=batch_size, settings=settings)


def build_teacher(cfg: DictConfig, num_keypoints: int, device: torch.device) -> Teacher | None:
    """Return the network of ``teacher.weights`` and ``teacher.arch``, at its own resolution, or None.

    Raises:
        InputError: If the files do not fit, or it knows other keypoints.
    """
    weights, arch = cfg.teacher.weights, cfg.teacher.arch
    if weights is None:
        require(arch is None, "teacher.arch", arch, "null without teacher.weights")
        return None
    if arch is None:
        network = load_subnet(weights)
    else:
        network = LitePose(Arch.load(arch), num_keypoints)
        load_weights(network, weights)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = Teacher(network, image_size=network.arch.image_size)
    teacher.require_keypoints(num_keypoints)
    return teacher


def find_weights(path: Path) -> Path:
    """Return a file, or the weights in the export folder that is named.

    Raises:
        InputError: If there is no such file or folder, or the folder is no whole export folder.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return open_export(path).folder / WEIGHTS_FILE if path.is_dir() else path


def kind_of(path: Path, arch: str | None) -> str:
    """Return what a file holds: ``supernet``, ``subnet``, or ``weights``, which do not describe themselves.

    Args:
        path: The file.
        arch: The file of its architecture, if it was named.

    Raises:
        InputError: If it is a safetensors file of others, or a damaged one, and there is no ``arch``.
    """
    if path.suffix != ".safetensors":
        return "weights"
    try:
        return str(read_description(path)["kind"])
    except InputError:
        if arch is None:
            raise
        return "weights"


def load_network(path: Path, arch: str | None, skeleton: Skeleton) -> tuple[LitePose, Skeleton]:
    """Load a network, and find out which keypoints it has.

    A subnet's file knows its architecture. It has the keypoints that it states, or else those of the export folder it
    is in, or else those of the dataset. Weights alone have the architecture ``arch`` and the keypoints of the dataset.

    Args:
        path: The file.
        arch: The file of its architecture; for a subnet's file None, or of the same architecture.
        skeleton: The keypoints of the dataset.

    Returns:
        The network, in eval mode, and its keypoints.

    Raises:
        InputError: If the file is missing or damaged, holds no static network, or does not fit ``arch`` or skeleton.
    """
    if kind_of(path, arch) != "weights":
        network = load_subnet(path)
        _require_own_arch(network, arch, path)
        return network, _skeleton_of(path, network, skeleton)
    if arch is None:
        raise InputError(f"{path}: holds weights alone; give arch=FILE.json, and dataset=... for their keypoints")
    network = LitePose(Arch.load(arch), skeleton.num_keypoints)
    try:
        load_weights(network, path)
    except InputError as error:
        keypoints = f"{skeleton.num_keypoints} keypoints of dataset.skeleton {skeleton.name}"
        raise InputError(f"{error} (the model is {arch} with the {keypoints})") from None
    return network.eval(), skeleton


def _require_own_arch(network: LitePose, arch: str | None, path: Path) -> None:
    if arch is not None and not (Path(arch).suffix and Arch.load(arch) == network.arch):
        raise InputError(f"arch is {arch!r}; it must be null, or a file of the architecture that {path} states")


def _skeleton_of(path: Path, network: LitePose, of_dataset: Skeleton) -> Skeleton:
    stated = read_skeleton(path)
    if stated is not None:
        return stated
    exported = (path.parent / CONFIG_FILE).is_file()
    skeleton = ExportedUsage.load(path.parent).skeleton if exported else of_dataset
    if skeleton.num_keypoints != network.num_keypoints:
        where = CONFIG_FILE if exported else "dataset.skeleton"
        has = f"{network.num_keypoints} keypoints; {where} {skeleton.name} has {skeleton.num_keypoints}"
        raise InputError(f"{path}: is a network of {has}")
    return skeleton


def _require_skeleton(path: Path, num_keypoints: int, skeleton: Skeleton) -> None:
    """Refuse a supernet of other keypoints than the dataset's."""
    if num_keypoints != skeleton.num_keypoints:
        found = f"{num_keypoints} keypoints; dataset.skeleton {skeleton.name} has {skeleton.num_keypoints}"
        raise InputError(f"{path}: is a supernet of {found}")
    known = read_skeleton(path)
    difference = None if known is None else skeleton.difference(known)
    if known is not None and difference is not None:
        raise InputError(f"{path}: is a supernet of the skeleton {known.name}, which has {difference}")
