"""The space, the dataset and its images, as the config says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_space, build_splits, build_training_images, find_arch
from litepose_ofa.scripts.command.app import CONFIG_DIR
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.augmentation import Augmentation, ColourJitter, RandomErasing
from litepose_ofa.supernet.data.loading.mixture import Labelling
from litepose_ofa.supernet.data.loading.mosaic import Mosaic
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError

Compose = Callable[..., DictConfig]


def ids(dataset: KeypointDataset) -> list[int]:
    return [record.id for record in dataset.records]


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(CONFIG_DIR).glob("space/*.yaml")))
def test_every_space_of_the_group_is_the_preset(compose_config: Compose, name: str) -> None:
    assert name in PRESETS
    assert build_space(compose_config("train", f"space={name}")) == SearchSpace.preset(name)


def test_architectures_are_found_by_name_or_in_a_file(tmp_path: Path) -> None:
    space = SearchSpace.preset("tiny")
    assert (find_arch(space, "smallest"), find_arch(space, "largest")) == (space.smallest(), space.largest())
    for name in ("one.json", "one.yaml"):
        space.smallest().save(tmp_path / name)
        assert find_arch(space, str(tmp_path / name)) == space.smallest()
    with pytest.raises(InputError, match="arch is 'medium'"):
        find_arch(space, "medium")


def test_a_search_split_without_files_is_held_out_of_train_by_a_seed_of_its_own(compose_config: Compose) -> None:
    def splits(seed: int, run_seed: int = 0) -> tuple[list[int], list[int], list[int]]:
        cfg = compose_config("evaluate", f"seed={run_seed}")
        cfg.dataset.search = {"holdout_images": 5, "seed": seed}
        train, search, val = (ids(build_splits(cfg).load(split)) for split in ("train", "search", "val"))
        return train, search, val

    train, search, val = splits(0)
    assert (len(train), len(search), len(val)) == (7, 5, 4)
    assert sorted(train + search) == list(range(1, 13))
    assert splits(1)[1] != search
    assert splits(0, run_seed=1) == (train, search, val)


def test_the_augmentation_is_the_published_one_or_as_the_block_says(compose_config: Compose) -> None:
    published = build_training_images(compose_config("train", "training=litepose")).augmentation
    assert published == Augmentation()
    block = "training.augmentation"
    changes = (f"{block}.colour.hue_degrees=18", f"{block}.erasing.probability=0.5", f"{block}.erasing.fill=mean")
    built = build_training_images(compose_config("train", *changes)).augmentation
    assert built is not None
    assert built.colour == ColourJitter(hue_degrees=18)
    assert built.erasing == RandomErasing(probability=0.5, fill="mean")
    assert built.rotation_degrees == 0
    with pytest.raises(InputError, match=r"^training.augmentation.scale is .*; it must be ascending"):
        build_training_images(compose_config("train", f"{block}.scale=[1.5,0.75]"))


def test_a_mosaic_is_as_the_block_says(compose_config: Compose) -> None:
    block = "training.augmentation.mosaic"
    built = build_training_images(compose_config("train", f"{block}.probability=0.5", f"{block}.pictures=[2,3]"))
    assert built.augmentation is not None
    assert built.augmentation.mosaic == Mosaic(probability=0.5, pictures=(2, 3))
    with pytest.raises(InputError, match=r"^training.augmentation.mosaic.pictures is \(3, 2\); it must be ascending"):
        build_training_images(compose_config("train", f"{block}.pictures=[3,2]"))


MIXTURE = "training.mixture={people:{share:0.25,annotations:annotations/train.json,images:images/train}}"


def test_a_mixture_is_as_the_block_says(compose_config: Compose, own_data_root: Path) -> None:
    """Beside twelve images the same again as a quarter of an epoch, once by a root of its own and half labelled."""
    (member,) = build_training_images(compose_config("train", MIXTURE)).mixture
    assert (member.name, member.share, len(member.dataset)) == ("people", 0.25, 12)
    assert member.labelling == Labelling((True,) * 14, 1.0)
    assert len(build_training_images(compose_config("train", MIXTURE))) == 16
    limbs = "skeleton:{keypoints:[left_knee,right_knee],limbs:[],flip_pairs:[],sigmas:[0.1,0.1],area:box}"
    folder = own_data_root / "limbs"
    (folder / "images").mkdir(parents=True)
    picture = {"id": 1, "file_name": "1.png", "width": 8, "height": 8}
    (folder / "all.json").write_text(json.dumps({"images": [picture], "annotations": []}))
    overrides = f"training.mixture={{a:{{share:0,root:{folder},annotations:all.json,unlabelled_weight:0.5,{limbs}}}}}"
    (member,) = build_training_images(compose_config("train", overrides)).mixture
    known = [name for name, labelled in zip(CROWDPOSE.keypoints, member.labelling.joints, strict=True) if labelled]
    assert (known, member.labelling.unlabelled_weight) == (["left_knee", "right_knee"], 0.5)


def test_lspet_is_in_three_splits_and_mixed_with_what_lacks_some_of_its_joints(
    compose_config: Compose, reference_path: Callable[[str], Path]
) -> None:
    mixture = "training.mixture={no_people:{share:0.1},coco_real:{share:0.03,skeleton:coco}}"
    cfg = compose_config("train", "dataset=lspet", f"data_root={reference_path('data/lspet').parent}", mixture)
    names = {split: set(build_splits(cfg).load(split).file_names) for split in ("train", "search", "val")}
    assert {split: len(found) for split, found in names.items()} == {"train": 8500, "search": 500, "val": 1000}
    assert len(set.union(*names.values())) == 10000
    images = build_training_images(cfg)
    assert len(images) == 8500 + 977 + 293
    assert [sum(member.labelling.joints) for member in images.mixture] == [14, 12]
