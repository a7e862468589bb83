"""From the composed config to library objects: the one place where config keys meet constructors."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from scripts.construct import construct
from supernet.arch import Arch
from supernet.checkpoints import load_supernet
from supernet.data.coco import KeypointDataset
from supernet.data.loading import Augmentation
from supernet.data.skeletons import get_skeleton
from supernet.elastic_litepose import LitePoseSupernet
from supernet.errors import InputError, require
from supernet.evaluation import InferenceSettings
from supernet.evaluation.subnets import Calibration, SubnetEvaluator
from supernet.space import SearchSpace
from supernet.training.objective import LossSettings
from supernet.training.schedule import WarmupCosine, WarmupSteps
from supernet.training.trainer import TrainingSettings

SPLITS = ("train", "search", "val")
SUPERNET_FILE = "supernet.safetensors"


def build_space(cfg: DictConfig) -> SearchSpace:
    """Return the preset that ``space.name`` names, or the space that ``space.choices`` spells out."""
    if cfg.space.choices is None:
        return SearchSpace.preset(cfg.space.name)
    return SearchSpace.from_dict({"name": cfg.space.name, **plain(cfg.space.choices)})


def build_device(cfg: DictConfig) -> torch.device:
    """Return the device to compute on and set torch's CPU threads."""
    if cfg.threads is not None:
        if type(cfg.threads) is not int or cfg.threads < 1:
            raise InputError(f"threads is {cfg.threads!r}; it must be a positive integer or null")
        torch.set_num_threads(cfg.threads)
    if cfg.accelerator not in ("auto", "cpu", "cuda"):
        raise InputError(f"accelerator is {cfg.accelerator!r}; it must be auto, cpu or cuda")
    if cfg.accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError("accelerator is 'cuda', but torch finds no CUDA device; use cpu or auto")
    use_cuda = cfg.accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_cuda else "cpu")


def load_split(cfg: DictConfig, split: str) -> KeypointDataset:
    """Load one split of the dataset; a search split without files of its own is held out of train.

    Raises:
        InputError: If the split is unknown, or the dataset's folder does not hold it.
    """
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    held_out = cfg.dataset.search.get("holdout_images")
    if held_out is None or split == "val":
        return _load_files(cfg, split)
    rest, search = _load_files(cfg, "train").holdout(held_out, cfg.dataset.search.seed)
    return rest if split == "train" else search


def build_training_settings(cfg: DictConfig) -> TrainingSettings:
    """Return the recipe of the ``training`` group."""
    values = plain(cfg.training)
    for name in ("augmentation", "max_people"):
        values.pop(name)
    rate = values.pop("learning_rate")
    require(isinstance(rate, dict) and "schedule" in rate, "training.learning_rate", rate, "a mapping with a schedule")
    schedules: dict[str, type[WarmupCosine] | type[WarmupSteps]] = {"cosine": WarmupCosine, "steps": WarmupSteps}
    schedule = rate.pop("schedule")
    if schedule not in schedules:
        raise InputError(f"training.learning_rate.schedule is {schedule!r}; known: {', '.join(schedules)}")
    values["learning_rate"] = construct(
        schedules[schedule], {"steps": values["steps"], **rate}, "training.learning_rate"
    )
    values["loss"] = construct(LossSettings, values["loss"], "training.loss")
    return construct(TrainingSettings, {**values, "seed": cfg.seed}, "training")


def build_augmentation(cfg: DictConfig) -> Augmentation:
    """Return the augmentation of the ``training`` group."""
    people = cfg.training.max_people
    require(type(people) is int and people >= 1, "training.max_people", people, "an integer of at least 1")
    return construct(Augmentation, plain(cfg.training.augmentation), "training.augmentation")


def supernet_path(cfg: DictConfig) -> Path:
    """Return where the workspace's trained supernet is."""
    return Path(cfg.workspace) / "supernet" / SUPERNET_FILE


def load_trained_supernet(cfg: DictConfig, device: torch.device) -> LitePoseSupernet:
    """Load the workspace's supernet.

    Raises:
        InputError: If there is none, or it is of another space or number of keypoints than the config's.
    """
    path = supernet_path(cfg)
    if not path.exists():
        raise InputError(f"{path}: no such file; train first (train_supernet.py) or set workspace")
    supernet = load_supernet(path)
    if supernet.space != build_space(cfg):
        raise InputError(f"{path}: is a supernet of the space {supernet.space.name!r}, not {cfg.space.name!r}")
    skeleton = get_skeleton(cfg.dataset.skeleton)
    if supernet.num_keypoints != skeleton.num_keypoints:
        found = f"{supernet.num_keypoints} keypoints; dataset.skeleton {skeleton.name} has {skeleton.num_keypoints}"
        raise InputError(f"{path}: is a supernet of {found}")
    return supernet.to(device=device, memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def build_subnet_evaluator(cfg: DictConfig, split: str) -> SubnetEvaluator:
    """Return what measures subnets of the workspace's supernet on a split."""
    device = build_device(cfg)
    supernet = load_trained_supernet(cfg, device)
    settings = plain(cfg.evaluation)
    batch = settings.pop("batch_size")
    require(type(batch) is int and batch >= 1, "evaluation.batch_size", batch, "an integer of at least 1")
    calibration = Calibration(
        load_split(cfg, "train"), num_images=settings.pop("bn_images"), batch_size=settings.pop("bn_batch_size")
    )
    return SubnetEvaluator(
        supernet,
        calibration,
        load_split(cfg, split),
        batch_size=batch,
        settings=construct(InferenceSettings, settings, "evaluation"),
    )


def find_arch(space: SearchSpace, name: str) -> Arch:
    """Return the space's smallest or largest architecture, or the one in a file."""
    if name in ("smallest", "largest"):
        return space.smallest() if name == "smallest" else space.largest()
    if not isinstance(name, str) or not Path(name).suffix:
        raise InputError(f"arch is {name!r}; it must be smallest, largest or a .json or .yaml file")
    return Arch.load(name)


def plain(node: DictConfig) -> dict[str, Any]:
    """Return a config node as plain dicts, lists and scalars, interpolations resolved."""
    value = OmegaConf.to_container(node, resolve=True)
    assert isinstance(value, dict)
    return {str(key): item for key, item in value.items()}


def _load_files(cfg: DictConfig, split: str) -> KeypointDataset:
    root, files = Path(cfg.dataset.root), cfg.dataset[split]
    return KeypointDataset.load(
        root / files.annotations,
        root / files.images,
        get_skeleton(cfg.dataset.skeleton),
        on_bad_image=cfg.dataset.on_bad_image,
    )
