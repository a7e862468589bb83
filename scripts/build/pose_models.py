"""From ``model=PATH`` to a network that finds people: export folders, runtimes' files, subnets, supernets, weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.builders import (
    build_device,
    build_skeleton,
    build_subnet_evaluator,
    find_arch,
)
from litepose_ofa.scripts.build.networks import find_weights, kind_of, load_network
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.people import PeoplePredictor
from litepose_ofa.supernet.export.runtime import ExportedPose, SquarePredictor, is_runtime_file
from litepose_ofa.supernet.network.checkpoints import weights_digest
from litepose_ofa.supernet.network.litepose import LitePose


@dataclass(frozen=True, slots=True)
class PoseNetwork:
    """A network, its keypoints, and what tells it from others: the digest of its weights or of its runtime's file."""

    predictor: PeoplePredictor
    skeleton: Skeleton
    digest: str


def open_pose_network(cfg: DictConfig, settings: InferenceSettings) -> PoseNetwork:
    """Load what ``model``, ``arch`` and ``dataset`` say.

    A runtime's file in an export folder says everything itself. A supernet needs ``arch``, and its training images for
    BN recalibration. ``load_network`` says what any other file needs.

    Raises:
        InputError: If the model is missing, damaged, of no such kind, or does not fit ``arch`` or the dataset.
    """
    path = find_weights(Path(str(cfg.model)))
    if is_runtime_file(path):
        return _open_exported(cfg, path, settings)
    device = build_device(cfg)
    supernet = kind_of(path, cfg.arch) == "supernet"
    network, skeleton = _cut_out(cfg, path) if supernet else load_network(path, cfg.arch, build_skeleton(cfg))
    digest = weights_digest(network)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    image_size = network.arch.image_size if cfg.image_size is None else cfg.image_size
    if type(image_size) is not int:
        raise InputError(f"image_size is {image_size!r}; it must be an integer or null, for the architecture's own")
    predictor = PeoplePredictor(network.eval(), image_size, skeleton, settings, device)
    return PoseNetwork(predictor, skeleton, digest)


def _open_exported(cfg: DictConfig, path: Path, settings: InferenceSettings) -> PoseNetwork:
    if cfg.arch is not None:
        raise InputError(f"arch is {cfg.arch!r}; it must be null: {path} knows its architecture")
    build_device(cfg)
    exported = ExportedPose.open(path, threads=torch.get_num_threads())
    usage = exported.usage
    if cfg.image_size not in (None, usage.image_size):
        raise InputError(f"image_size is {cfg.image_size!r}; {path} takes {usage.image_size} alone")
    predictor = SquarePredictor(exported.model, usage.image_size, usage.skeleton, settings)
    return PoseNetwork(predictor, usage.skeleton, exported.digest)


def _cut_out(cfg: DictConfig, path: Path) -> tuple[LitePose, Skeleton]:
    if cfg.arch is None:
        raise InputError(f"{path}: is a supernet; say which subnet: arch=smallest, largest or a file")
    evaluator = build_subnet_evaluator(cfg, "train")
    return evaluator.prepare(find_arch(evaluator.space, cfg.arch)), build_skeleton(cfg)
