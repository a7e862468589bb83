"""From the composed config to library objects: the one place where config keys meet constructors."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from litepose_ofa.scripts.build.construct import construct
from litepose_ofa.search.workspace import Workspace
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.augmentation import Augmentation
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.splits import DatasetSplits, Holdout, SplitFiles
from litepose_ofa.supernet.data.loading import TrainingImages
from litepose_ofa.supernet.data.skeletons import Skeleton, get_skeleton
from litepose_ofa.supernet.errors import InputError, located, require
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.subnets import Calibration, SubnetEvaluator
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
from litepose_ofa.supernet.training.objective import LossSettings
from litepose_ofa.supernet.training.recipe import (
    LearningRate,
    Phase,
    TrainingSettings,
    WarmupCosine,
    WarmupSteps,
)
from litepose_ofa.supernet.training.step import keep_freed_memory
from litepose_ofa.supernet.training.teacher import Teacher
from litepose_ofa.supernet.training.validation import Validator


def build_space(cfg: DictConfig) -> SearchSpace:
    """Return the space of the ``space`` group."""
    return SearchSpace.from_dict(plain(cfg.space))


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


def build_skeleton(cfg: DictConfig) -> Skeleton:
    """Return the skeleton that ``dataset.skeleton`` names, or the one that it spells out."""
    skeleton = cfg.dataset.skeleton
    if not isinstance(skeleton, DictConfig):
        return get_skeleton(skeleton)
    with located("dataset.skeleton"):
        return Skeleton.from_dict({"name": cfg.dataset.name, **plain(skeleton)})


def build_splits(cfg: DictConfig) -> DatasetSplits:
    """Return where the splits of the ``dataset`` group come from."""
    train = _split_source(cfg, "train")
    if isinstance(train, Holdout):
        raise InputError("dataset.train is a holdout; it must have annotations and images")
    return DatasetSplits(
        skeleton=build_skeleton(cfg),
        train=train,
        search=_split_source(cfg, "search"),
        val=_split_source(cfg, "val"),
        on_bad_image=cfg.dataset.on_bad_image,
    )


def load_split(cfg: DictConfig, split: str) -> KeypointDataset:
    """Load one split of the dataset, held apart from the others.

    Raises:
        InputError: If the split is unknown, or the dataset's folder does not hold it.
    """
    return build_splits(cfg).load(split)


def build_training_settings(cfg: DictConfig) -> TrainingSettings:
    """Return how networks are trained, of the ``training`` group."""
    values = plain(cfg.training)
    for name in ("augmentation", "max_people", "steps", "epochs", "learning_rate", "num_random", "validation_images"):
        values.pop(name)
    values["loss"] = construct(LossSettings, values["loss"], "training.loss")
    return construct(TrainingSettings, {**values, "seed": cfg.seed}, "training")


def build_phases(cfg: DictConfig, num_images: int) -> tuple[Phase, ...]:
    """Return the phases of the ``recipe`` group, their lengths in steps.

    A phase's length is its ``steps``, its ``epochs``, or its ``share`` of ``training.steps`` or ``training.epochs``;
    its learning rate is ``training.learning_rate`` times its ``rate``.

    Args:
        cfg: The composed config.
        num_images: Images of an epoch.

    Raises:
        InputError: If a length is given twice or not at all, or a value is impossible.
    """
    phases = plain(cfg.recipe.phases)
    require(bool(phases), "recipe.phases", phases, "at least one phase")
    built, reached = [], 0.0
    for name, values in phases.items():
        built.append(_build_phase(cfg, name, values, num_images, reached))
        reached += values.get("share") or 0.0
    if reached > 1 + 1e-9:
        raise InputError(f"recipe.phases: the shares add up to {reached:g}; they must not exceed 1")
    return tuple(built)


def build_learning_rate(cfg: DictConfig, factor: float = 1.0) -> LearningRate:
    """Return the schedule of ``training.learning_rate``, its peak times a factor."""
    rate, where = plain(cfg.training)["learning_rate"], "training.learning_rate"
    schedules: dict[str, type[LearningRate]] = {"cosine": WarmupCosine, "steps": WarmupSteps}
    schedule = rate.pop("schedule")
    others = {name for other in schedules.values() for name in _field_names(other)} - _field_names(schedules[schedule])
    built = construct(schedules[schedule], {name: rate[name] for name in rate if name not in others}, where)
    return dataclasses.replace(built, peak=factor * built.peak)


def _field_names(cls: type[LearningRate]) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def steps_of(values: Mapping[str, Any], where: str, steps_per_epoch: int) -> int:
    """Return the length that ``steps`` or ``epochs`` gives; exactly one of them is not null."""
    given = {name: values[name] for name in ("steps", "epochs") if values.get(name) is not None}
    if len(given) != 1:
        raise InputError(
            f"{where}.steps and {where}.epochs are {given or 'both null'}; give one and make the other null"
        )
    ((name, value),) = given.items()
    allowed = isinstance(value, int if name == "steps" else int | float) and not isinstance(value, bool) and value > 0
    require(allowed, f"{where}.{name}", value, "an integer above 0" if name == "steps" else "a number above 0")
    return int(value) if name == "steps" else max(1, round(value * steps_per_epoch))


def _build_phase(cfg: DictConfig, name: str, given: dict[str, Any], num_images: int, reached: float) -> Phase:
    """Build a phase; ``reached`` is the sum of the shares before it, so that rounding does not add up."""
    where = f"recipe.phases.{name}"
    values = dict(given)
    steps_per_epoch = num_images // cfg.training.batch_size
    share, rate = values.pop("share", None), values.pop("rate", 1.0)
    length = {key: values.pop(key, None) for key in ("steps", "epochs")}
    for key, value in (("share", share), ("rate", rate)):
        number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        require(number or (value is None and key == "share"), f"{where}.{key}", value, "a number above 0")
    if share is None:
        steps = steps_of(length, where, steps_per_epoch)
    elif any(value is not None for value in length.values()):
        raise InputError(f"{where} has a share and steps or epochs; make one of them null")
    else:
        whole = steps_of(plain(cfg.training), "training", steps_per_epoch)
        steps = max(1, round((reached + share) * whole) - round(reached * whole))
    for key in ("name", "learning_rate"):
        if key in values:
            raise InputError(
                f"unknown setting {where}.{key}; a phase's key is its name, its learning rate is rate x training's"
            )
    fixed = {"name": name, "steps": steps, "learning_rate": build_learning_rate(cfg, rate)}
    return construct(Phase, {**values, **fixed}, where)


def build_augmentation(cfg: DictConfig) -> Augmentation:
    """Return the augmentation of the ``training`` group."""
    return construct(Augmentation, plain(cfg.training.augmentation), "training.augmentation")


def build_training_images(cfg: DictConfig) -> TrainingImages:
    """Return the training split's images with people, augmented."""
    dataset = load_split(cfg, "train").with_people()
    return TrainingImages(dataset, augmentation=build_augmentation(cfg), max_people=cfg.training.max_people)


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


def _require_skeleton(path: Path, num_keypoints: int, skeleton: Skeleton) -> None:
    """Refuse a supernet of other keypoints than the dataset's."""
    if num_keypoints != skeleton.num_keypoints:
        found = f"{num_keypoints} keypoints; dataset.skeleton {skeleton.name} has {skeleton.num_keypoints}"
        raise InputError(f"{path}: is a supernet of {found}")
    known = read_skeleton(path)
    difference = None if known is None else skeleton.difference(known)
    if known is not None and difference is not None:
        raise InputError(f"{path}: is a supernet of the skeleton {known.name}, which has {difference}")


def build_subnet_evaluator(cfg: DictConfig, split: str) -> SubnetEvaluator:
    """Return what measures subnets of the workspace's supernet on a split."""
    device = build_device(cfg)
    supernet = load_trained_supernet(cfg, device)
    calibration, settings, batch_size = _build_measuring(cfg)
    return SubnetEvaluator(supernet, calibration, load_split(cfg, split), batch_size=batch_size, settings=settings)


def build_inference(cfg: DictConfig) -> tuple[InferenceSettings, int]:
    """Return how people are predicted, and the images of a forward pass, of the ``evaluation`` group."""
    values = {name: value for name, value in plain(cfg.evaluation).items() if not name.startswith("bn_")}
    batch_size = values.pop("batch_size")
    return construct(InferenceSettings, values, "evaluation"), batch_size


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


def _build_measuring(cfg: DictConfig) -> tuple[Calibration, InferenceSettings, int]:
    """Return where batch-norm statistics come from, how people are predicted, and the batch size of that."""
    values = cfg.evaluation
    calibration = Calibration(load_split(cfg, "train"), num_images=values.bn_images, batch_size=values.bn_batch_size)
    return calibration, *build_inference(cfg)


def _split_source(cfg: DictConfig, split: str) -> SplitFiles | Holdout:
    """Return a split's files, below the dataset's root, or how it is held out of the training images."""
    node, where = cfg.dataset[split], f"dataset.{split}"
    values = plain(node)
    if not values.keys() & {"annotations", "images"}:
        return construct(Holdout, values, where)
    return construct(SplitFiles, {key: Path(cfg.dataset.root) / value for key, value in values.items()}, where)
