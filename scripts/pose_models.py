"""From ``model=PATH`` to a network that finds people: export folders, ONNX files, subnets, supernets, bare weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from scripts.builders import build_device, build_skeleton, build_subnet_evaluator, find_arch
from supernet.arch import Arch
from supernet.checkpoints import load_subnet, load_weights, read_description, read_skeleton, weights_digest
from supernet.data.skeletons import Skeleton
from supernet.errors import InputError
from supernet.evaluation import InferenceSettings
from supernet.evaluation.people import PeoplePredictor
from supernet.export.bundle import CONFIG_FILE, WEIGHTS_FILE
from supernet.export.runtime import ExportedUsage, OnnxPose, SquarePredictor
from supernet.litepose import LitePose


@dataclass(frozen=True, slots=True)
class PoseNetwork:
    """A network, its keypoints, and what tells it from others: the digest of its weights or of its ONNX file."""

    predictor: PeoplePredictor
    skeleton: Skeleton
    digest: str


def open_pose_network(cfg: DictConfig, settings: InferenceSettings) -> PoseNetwork:
    """Load what ``model``, ``arch`` and ``dataset`` say.

    An export folder and its ONNX file say everything themselves. A subnet's file that does not state its keypoints has
    those of the export folder it is in, or of the dataset. A supernet needs ``arch``, and its training images for BN
    recalibration. Any other weights need ``arch``, and have the keypoints of the dataset.

    Raises:
        InputError: If the model is missing, damaged, of no such kind, or does not fit ``arch`` or the dataset.
    """
    path = Path(cfg.model)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder (model)")
    if path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise InputError(f"{path}: is no export folder: it has no {CONFIG_FILE}; name a file of weights")
        path = path / WEIGHTS_FILE
    if path.suffix == ".onnx":
        return _open_onnx(cfg, path, settings)
    device = build_device(cfg)
    network, skeleton = _load_network(cfg, path)
    digest = weights_digest(network)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    image_size = network.arch.image_size if cfg.image_size is None else cfg.image_size
    if type(image_size) is not int:
        raise InputError(f"image_size is {image_size!r}; it must be an integer or null, for the architecture's own")
    predictor = PeoplePredictor(network.eval(), image_size, skeleton, settings, device)
    return PoseNetwork(predictor, skeleton, digest)


def _open_onnx(cfg: DictConfig, path: Path, settings: InferenceSettings) -> PoseNetwork:
    _refuse_arch(cfg, path)
    build_device(cfg)
    usage = ExportedUsage.load(path.parent)
    if cfg.image_size not in (None, usage.image_size):
        raise InputError(f"image_size is {cfg.image_size!r}; {path} takes {usage.image_size} alone")
    model = OnnxPose(path, usage)
    predictor = SquarePredictor(model, usage.image_size, usage.skeleton, settings)
    return PoseNetwork(predictor, usage.skeleton, model.digest)


def _load_network(cfg: DictConfig, path: Path) -> tuple[LitePose, Skeleton]:
    kind = _kind(cfg, path)
    if kind == "supernet":
        if cfg.arch is None:
            raise InputError(f"{path}: is a supernet; say which subnet: arch=smallest, largest or a file")
        evaluator = build_subnet_evaluator(cfg, "train")
        return evaluator.prepare(find_arch(evaluator.space, cfg.arch)), build_skeleton(cfg)
    if kind == "subnet":
        _refuse_arch(cfg, path)
        network = load_subnet(path)
        return network, _skeleton_of(cfg, path, network.num_keypoints)
    if cfg.arch is None:
        raise InputError(f"{path}: holds weights alone; give arch=FILE.json, and dataset=... for their keypoints")
    skeleton = build_skeleton(cfg)
    network = LitePose(Arch.load(cfg.arch), skeleton.num_keypoints)
    try:
        load_weights(network, path)
    except InputError as error:
        keypoints = f"{skeleton.num_keypoints} keypoints of dataset.skeleton {skeleton.name}"
        raise InputError(f"{error} (the model is {cfg.arch} with the {keypoints})") from None
    return network, skeleton


def _kind(cfg: DictConfig, path: Path) -> str:
    """Return supernet, subnet, or weights: a file that does not describe itself."""
    if path.suffix != ".safetensors":
        return "weights"
    try:
        return str(read_description(path)["kind"])
    except InputError:
        if cfg.arch is None:
            raise
        return "weights"


def _skeleton_of(cfg: DictConfig, path: Path, num_keypoints: int) -> Skeleton:
    """Return the keypoints that a subnet's file states, or its export folder, or else those of the dataset."""
    stated = read_skeleton(path)
    if stated is not None:
        return stated
    exported = (path.parent / CONFIG_FILE).is_file()
    skeleton = ExportedUsage.load(path.parent).skeleton if exported else build_skeleton(cfg)
    if skeleton.num_keypoints != num_keypoints:
        where = CONFIG_FILE if exported else "dataset.skeleton"
        has = f"{num_keypoints} keypoints; {where} {skeleton.name} has {skeleton.num_keypoints}"
        raise InputError(f"{path}: is a network of {has}")
    return skeleton


def _refuse_arch(cfg: DictConfig, path: Path) -> None:
    if cfg.arch is not None:
        raise InputError(f"arch is {cfg.arch!r}; it must be null: {path} knows its architecture")
