"""From the composed config to settings of the library, the search space, the dataset and its training images."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from litepose_ofa.scripts.settings.groups import MixtureMember
from litepose_ofa.search.workspace import Workspace
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.splits import DatasetSplits, Holdout, SplitFiles
from litepose_ofa.supernet.data.loading.augmentation import Augmentation
from litepose_ofa.supernet.data.loading.batches import TrainingImages
from litepose_ofa.supernet.data.loading.mixture import Member
from litepose_ofa.supernet.data.skeletons import Skeleton, get_skeleton
from litepose_ofa.supernet.errors import InputError, located, require
from litepose_ofa.supernet.validation import validate

T = TypeVar("T")


def plain(node: DictConfig) -> dict[str, Any]:
    """Return a config node as plain dicts, lists and scalars, interpolations resolved."""
    value = OmegaConf.to_container(node, resolve=True)
    assert isinstance(value, dict)
    return {str(key): item for key, item in value.items()}


def settings_of(model: type[T], node: DictConfig, key: str = "", **more: Any) -> T:
    """Return settings of the library from a config node, of the dotted key ``key``, that has their fields among others.

    ``more`` are values that the node does not have, or other ones.
    """
    names = {field.name for field in fields(model)}  # type: ignore[arg-type]
    return validate(model, {name: value for name, value in plain(node).items() if name in names} | more, key=key)


def option_of(group: str, name: str) -> dict[str, Any]:
    """Return the option of a group as the command line would choose it, one of the user's own folder too."""
    known = GlobalHydra.instance().config_loader().get_group_options(group)
    require(name in known, group, name, f"one of {', '.join(known)}")
    folders = [word for word in HydraConfig.get().overrides.hydra if word.startswith("hydra.searchpath")]
    return plain(compose("search", [*folders, f"{group}={name}"])[group])


def workspace_of(cfg: DictConfig) -> Workspace:
    """Return where the job's files are."""
    return Workspace(Path(cfg.workspace))


def build_spaces(names: Iterable[str]) -> list[SearchSpace]:
    """Return options of the ``space`` group."""
    return [SearchSpace.from_dict(option_of("space", name)) for name in names]


def build_space(cfg: DictConfig) -> SearchSpace:
    """Return the space of the ``space`` group."""
    return SearchSpace.from_dict(plain(cfg.space))


def find_arch(space: SearchSpace, name: str) -> Arch:
    """Return the space's smallest or largest architecture, or the one in a file."""
    if name in ("smallest", "largest"):
        return space.smallest() if name == "smallest" else space.largest()
    if not Path(name).suffix:
        raise InputError(f"arch is {name!r}; it must be smallest, largest or a .json or .yaml file")
    return Arch.load(name)


def build_skeleton(cfg: DictConfig) -> Skeleton:
    """Return the skeleton that ``dataset.skeleton`` names, or the one that it spells out."""
    skeleton = cfg.dataset.skeleton
    if not isinstance(skeleton, DictConfig):
        return get_skeleton(skeleton)
    with located("dataset.skeleton"):
        return _skeleton(plain(skeleton), cfg.dataset.name)


def _skeleton(values: str | Mapping[str, Any], name: str) -> Skeleton:
    """Return a known skeleton, or the one of a mapping, called ``name`` where it does not say."""
    return get_skeleton(values) if isinstance(values, str) else Skeleton.from_dict({"name": name, **values})


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


def _split_source(cfg: DictConfig, split: str) -> SplitFiles | Holdout:
    """Return a split's files, below the dataset's root, or how it is held out of the training images."""
    values, key = plain(cfg.dataset[split]), f"dataset.{split}"
    if not values.keys() & {"annotations", "images"}:
        return validate(Holdout, values, key=key)
    paths = {name: Path(cfg.dataset.root) / value for name, value in values.items() if isinstance(value, str)}
    return validate(SplitFiles, {**values, **paths}, key=key)


def build_training_images(cfg: DictConfig) -> TrainingImages:
    """Return the training split's images with people, and all those of the mixture, augmented."""
    augmentation = settings_of(Augmentation, cfg.training.augmentation, "training.augmentation")
    dataset = build_splits(cfg).load("train").with_people()
    mixture = build_mixture(cfg)
    return TrainingImages(dataset, augmentation=augmentation, max_people=cfg.training.max_people, mixture=mixture)


def build_mixture(cfg: DictConfig) -> list[Member]:
    """Return the further datasets of ``training.mixture``."""
    splits, built = build_splits(cfg), []
    for name, values in (plain(cfg.training)["mixture"] or {}).items():
        key = f"training.mixture.{name}"
        member = validate(MixtureMember, values, key=key)
        with located(key):
            root = Path(cfg.data_root) / name if member.root is None else Path(member.root)
            skeleton = splits.skeleton if member.skeleton is None else _skeleton(member.skeleton, name)
            dataset = splits.load_further(SplitFiles(root / member.annotations, root / member.images), skeleton)
            weights = {"share": member.share, "unlabelled_weight": member.unlabelled_weight}
            built.append(Member.of(name, dataset, splits.skeleton, **weights))
    return built
