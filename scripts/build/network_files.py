"""From a path to a network that finds people: export folders, runtimes' files, subnets, supernets, weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_skeleton, find_arch
from litepose_ofa.scripts.build.networks import build_device, build_subnet_evaluator
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.people import PeoplePredictor, PoseModel, SquarePredictor, require_size
from litepose_ofa.supernet.export.bundle import WEIGHTS_FILE, ExportedModel, exported_skeleton, open_exported
from litepose_ofa.supernet.export.loading import find_weights, kind_of, load_network
from litepose_ofa.supernet.export.runners import is_runtime_file
from litepose_ofa.supernet.network.checkpoints import load_subnet, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose


@dataclass(frozen=True, slots=True)
class OpenNetwork:
    """A network that finds people: ``model`` is called on ``device``, at the resolution of ``arch``.

    ``weights`` is the network in torch, ``exported`` a runtime's file that runs it, if not torch does.
    """

    model: PoseModel
    weights: LitePose
    arch: Arch
    skeleton: Skeleton
    device: torch.device
    exported: ExportedModel | None = None

    @property
    def digest(self) -> str:
        """12 digits that tell the network from others: of its runtime's file, or of its weights."""
        return weights_digest(self.weights) if self.exported is None else self.exported.digest

    def open_predictor(self, settings: InferenceSettings) -> PeoplePredictor:
        """Return what finds people with it; a runtime's file takes square inputs alone."""
        predictor: type[PeoplePredictor] = PeoplePredictor if self.exported is None else SquarePredictor
        return predictor(self.model, self.arch.image_size, self.skeleton, settings, self.device)


def open_network(cfg: DictConfig, path: Path) -> OpenNetwork:
    """Open an export folder, a runtime's file in one, a subnet's file, or weights with their ``arch``."""
    file = find_weights(path)
    if is_runtime_file(file):
        return _open_exported(cfg, file)
    return _in_torch(cfg, *load_network(file, cfg.arch, build_skeleton(cfg)))


def open_network_or_subnet(cfg: DictConfig, path: Path) -> OpenNetwork:
    """Open what ``open_network`` does, or of a supernet the subnet ``arch``, BN recalibrated on training images."""
    file = find_weights(path)
    if is_runtime_file(file) or kind_of(file, cfg.arch) != "supernet":
        return open_network(cfg, file)
    if cfg.arch is None:
        raise InputError(f"{file}: is a supernet; say which subnet: arch=smallest, largest or a file")
    evaluator = build_subnet_evaluator(cfg, "train")
    return _in_torch(cfg, evaluator.prepare(find_arch(evaluator.space, cfg.arch)), build_skeleton(cfg))


def _in_torch(cfg: DictConfig, network: LitePose, skeleton: Skeleton) -> OpenNetwork:
    device = build_device(cfg)
    network.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    arch = network.arch
    if cfg.image_size is not None:
        require_size("image_size", cfg.image_size)
        arch = arch.with_image_size(cfg.image_size)
    return OpenNetwork(network, network, arch, skeleton, device)


def _open_exported(cfg: DictConfig, path: Path) -> OpenNetwork:
    """Open a runtime's file of an export folder, which says everything itself and takes inputs of one size."""
    build_device(cfg)
    require(cfg.arch is None, "arch", cfg.arch, f"null: {path} knows its architecture")
    exported = open_exported(path, threads=torch.get_num_threads())
    subnet = load_subnet(path.parent / WEIGHTS_FILE)
    size = subnet.arch.image_size
    require(cfg.image_size in (None, size), "image_size", cfg.image_size, f"null or {size}, which {path} takes")
    device, skeleton = torch.device("cpu"), exported_skeleton(path.parent)
    return OpenNetwork(exported.model, subnet, subnet.arch, skeleton, device, exported)
