"""From a path to a network that finds people: export folders, runtimes' files, subnets, supernets, weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_skeleton, find_arch
from litepose_ofa.scripts.build.networks import (
    build_device,
    build_subnet_evaluator,
    find_weights,
    kind_of,
    load_network,
)
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.people import PeoplePredictor, PoseModel, require_size
from litepose_ofa.supernet.export.bundle import WEIGHTS_FILE
from litepose_ofa.supernet.export.runtime import ExportedPose, SquarePredictor, is_runtime_file
from litepose_ofa.supernet.network.checkpoints import load_subnet, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose


@dataclass(frozen=True, slots=True)
class PoseNetwork:
    """A network that finds people.

    Attributes:
        model: What is called, on ``device``.
        weights: The network in torch.
        arch: Its architecture, at the resolution that it runs at.
        skeleton: Its keypoints.
        device: Where it runs.
        predictor: How images are fitted to its input.
        format: Of a runtime's file, the name of its format.
        file: Of a runtime's file, its digest.
    """

    model: PoseModel
    weights: LitePose
    arch: Arch
    skeleton: Skeleton
    device: torch.device
    predictor: type[PeoplePredictor] = PeoplePredictor
    format: str | None = None
    file: str | None = None

    @property
    def digest(self) -> str:
        """12 digits that tell the network from others: of its runtime's file, or of its weights."""
        return self.file or weights_digest(self.weights)

    def open_predictor(self, settings: InferenceSettings) -> PeoplePredictor:
        """Return what finds people with it."""
        return self.predictor(self.model, self.arch.image_size, self.skeleton, settings, self.device)


def open_pose_network(cfg: DictConfig, path: Path) -> PoseNetwork:
    """Open an export folder, a runtime's file in one, or what ``load_network`` loads; ``arch`` and ``dataset`` help.

    Raises:
        InputError: If it is missing, damaged, of another kind, or does not fit ``arch`` or the dataset.
    """
    weights = find_weights(path)
    if is_runtime_file(weights):
        return _open_exported(cfg, weights)
    return _in_torch(cfg, *load_network(weights, cfg.arch, build_skeleton(cfg)))


def open_model(cfg: DictConfig) -> PoseNetwork:
    """Open ``model``, which may be a supernet too: of it, the subnet ``arch``, BN recalibrated on training images.

    Raises:
        InputError: As ``open_pose_network``.
    """
    path = find_weights(Path(str(cfg.model)))
    if is_runtime_file(path) or kind_of(path, cfg.arch) != "supernet":
        return open_pose_network(cfg, path)
    if cfg.arch is None:
        raise InputError(f"{path}: is a supernet; say which subnet: arch=smallest, largest or a file")
    evaluator = build_subnet_evaluator(cfg, "train")
    return _in_torch(cfg, evaluator.prepare(find_arch(evaluator.space, cfg.arch)), build_skeleton(cfg))


def _in_torch(cfg: DictConfig, network: LitePose, skeleton: Skeleton) -> PoseNetwork:
    device = build_device(cfg)
    network.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    arch = network.arch
    if cfg.image_size is not None:
        require_size("image_size", cfg.image_size)
        arch = arch.with_image_size(cfg.image_size)
    return PoseNetwork(network, network, arch, skeleton, device)


def _open_exported(cfg: DictConfig, path: Path) -> PoseNetwork:
    """Open a runtime's file of an export folder, which says everything itself and takes inputs of one size."""
    build_device(cfg)
    require(cfg.arch is None, "arch", cfg.arch, f"null: {path} knows its architecture")
    exported = ExportedPose.open(path, threads=torch.get_num_threads())
    size = exported.usage.image_size
    require(cfg.image_size in (None, size), "image_size", cfg.image_size, f"null or {size}, which {path} takes")
    subnet = load_subnet(path.parent / WEIGHTS_FILE)
    return PoseNetwork(
        exported.model,
        subnet,
        subnet.arch,
        exported.usage.skeleton,
        torch.device("cpu"),
        SquarePredictor,
        exported.format,
        exported.digest,
    )
