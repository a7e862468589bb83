"""Config keys meet constructors: every shipped recipe builds, and a wrong one is named."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from scripts import builders
from scripts.cli import CONFIG_DIR
from supernet.data.coco import KeypointDataset
from supernet.data.skeletons import SKELETONS
from supernet.errors import InputError
from supernet.space import PRESETS, SearchSpace
from supernet.training.schedule import WarmupCosine, WarmupSteps

Compose = Callable[..., DictConfig]


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (Path(CONFIG_DIR) / group).glob("*.yaml"))


def ids(dataset: KeypointDataset) -> list[int]:
    return [record.id for record in dataset.records]


@pytest.mark.parametrize("name", names("space"))
def test_every_space_has_a_recipe_that_builds(compose_config: Compose, name: str) -> None:
    cfg = compose_config("train_supernet", f"space={name}", "seed=7")
    assert builders.build_space(cfg) is SearchSpace.preset(name)
    settings = builders.build_training_settings(cfg)
    assert settings.seed == 7
    assert settings.learning_rate.steps == settings.steps
    assert isinstance(settings.learning_rate, WarmupCosine if name == "tiny" else WarmupSteps)
    assert settings.learning_rate(0) > 0
    assert math.isclose(
        max(map(settings.learning_rate, range(0, settings.steps, 50))), settings.learning_rate.peak, rel_tol=1e-2
    )
    assert len(settings.loss.sigmas) == len(settings.loss.head_weights) == 2
    assert builders.build_augmentation(cfg).flip == 0.5


def test_every_preset_is_a_choice() -> None:
    assert names("space") == names("training") == names("evaluation") == sorted(PRESETS)


def test_a_space_of_one_s_own_is_spelled_out(compose_config: Compose, tmp_path: Path) -> None:
    spelled = SearchSpace.preset("tiny").to_dict() | {"image_sizes": [64, 96]}
    cfg = compose_config("train_supernet", "space.name=mine")
    cfg.space.choices = {key: value for key, value in spelled.items() if key != "name"}
    space = builders.build_space(cfg)
    assert space == SearchSpace.from_dict(spelled | {"name": "mine"})
    cfg.space.choices = dict(cfg.space.choices) | {"colours": [3]}
    with pytest.raises(InputError, match="colours"):
        builders.build_space(cfg)
    with pytest.raises(InputError, match="unknown space 'mine'; known: litepose, litepose_released, tiny"):
        builders.build_space(compose_config("train_supernet", "space.name=mine"))


def test_the_device_and_its_threads(compose_config: Compose) -> None:
    assert builders.build_device(compose_config("train_supernet", "accelerator=cpu", "threads=1")).type == "cpu"
    assert torch.get_num_threads() == 1
    found = builders.build_device(compose_config("train_supernet", "threads=null"))
    assert found.type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="accelerator is 'tpu'; it must be auto, cpu or cuda"):
        builders.build_device(compose_config("train_supernet", "accelerator=tpu", "threads=1"))


def test_an_accelerator_that_is_not_there_is_refused(compose_config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch finds no CUDA device"):
        builders.build_device(compose_config("train_supernet", "accelerator=cuda", "threads=1"))


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5"])
def test_threads_must_be_a_count(compose_config: Compose, threads: str) -> None:
    with pytest.raises(InputError, match="threads is"):
        builders.build_device(compose_config("train_supernet", f"threads={threads}"))


def test_splits_are_files_of_the_dataset(compose_config: Compose) -> None:
    cfg = compose_config("evaluate_subnet")
    assert [len(builders.load_split(cfg, split)) for split in ("train", "search", "val")] == [12, 4, 4]
    with pytest.raises(InputError, match="unknown split 'test'; known: train, search, val"):
        builders.load_split(cfg, "test")


def test_a_search_split_without_files_is_held_out_of_train_by_a_seed_of_its_own(compose_config: Compose) -> None:
    def splits(seed: int, run_seed: int = 0) -> tuple[list[int], list[int], list[int]]:
        cfg = compose_config("evaluate_subnet", f"seed={run_seed}")
        cfg.dataset.search = {"holdout_images": 5, "seed": seed}
        train, search, val = (ids(builders.load_split(cfg, split)) for split in ("train", "search", "val"))
        return train, search, val

    train, search, val = splits(0)
    assert (len(train), len(search), len(val)) == (7, 5, 4)
    assert sorted(train + search) == list(range(1, 13))
    assert splits(0) == (train, search, val)
    assert splits(1)[1] != search
    assert splits(0, run_seed=1) == (train, search, val)


@pytest.mark.parametrize("name", names("dataset"))
def test_every_dataset_is_of_a_known_skeleton_and_has_three_splits(compose_config: Compose, name: str) -> None:
    dataset = compose_config("train_supernet", f"dataset={name}").dataset
    assert dataset.name == name
    assert dataset.skeleton in SKELETONS
    assert all(split in dataset for split in builders.SPLITS)


def test_an_evaluator_follows_the_config(compose_config: Compose, trained: Path) -> None:
    overrides = ("threads=1", "evaluation.bn_images=3", "evaluation.bn_batch_size=2", "evaluation.flip_test=true")
    evaluator = builders.build_subnet_evaluator(
        compose_config("evaluate_subnet", f"workspace={trained}", *overrides), "search"
    )
    assert evaluator.space == SearchSpace.preset("tiny")
    assert not evaluator.supernet.training
    assert len(evaluator.dataset) == 4
    assert evaluator.batch_size == 25
    assert evaluator.settings.flip_test
    assert (evaluator.calibration.num_images, evaluator.calibration.batch_size) == (2, 2)
    assert len(evaluator.calibration.dataset) == 12


def test_architectures_are_found_by_name_or_in_a_file(tmp_path: Path) -> None:
    space = SearchSpace.preset("tiny")
    assert builders.find_arch(space, "smallest") == space.smallest()
    assert builders.find_arch(space, "largest") == space.largest()
    for name in ("one.json", "one.yaml"):
        path = tmp_path / name
        space.smallest().save(path)
        assert builders.find_arch(space, str(path)) == space.smallest()
    with pytest.raises(InputError, match="arch is 'medium'"):
        builders.find_arch(space, "medium")
