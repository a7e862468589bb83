"""Config keys meet constructors: every shipped recipe builds, and a wrong one is named."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, ListConfig

from litepose_ofa.scripts.build import builders
from litepose_ofa.scripts.build.training import check_teachers
from litepose_ofa.scripts.command.app import CONFIG_DIR
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.splits import SPLITS
from litepose_ofa.supernet.data.skeletons import SKELETONS
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import save_subnet, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import SINGLE
from litepose_ofa.supernet.training.objective import LossSettings
from litepose_ofa.supernet.training.recipe import (
    Phase,
    SupernetPlan,
    TeacherKind,
    WarmupCosine,
    WarmupSteps,
)
from litepose_ofa.supernet.training.teacher import Teacher

Compose = Callable[..., DictConfig]


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (Path(CONFIG_DIR) / group).glob("*.yaml"))


def ids(dataset: KeypointDataset) -> list[int]:
    return [record.id for record in dataset.records]


def phases_of(compose_config: Compose, *overrides: str, num_images: int = 40) -> tuple[Phase, ...]:
    return builders.build_phases(compose_config("train", *overrides), num_images)


@pytest.mark.parametrize("name", names("space"))
def test_every_space_has_settings_that_build(compose_config: Compose, name: str) -> None:
    cfg = compose_config("train", f"space={name}", "seed=7")
    assert builders.build_space(cfg) == SearchSpace.preset(name)
    settings = builders.build_training_settings(cfg)
    assert settings.seed == 7
    assert settings.batch_size == cfg.training.batch_size
    assert settings.loss == LossSettings(**{key: plain(value) for key, value in cfg.training.loss.items()})
    rate = builders.build_learning_rate(cfg)
    assert isinstance(rate, WarmupCosine if name == "tiny" else WarmupSteps)
    steps = cfg.training.steps
    assert rate(0, steps) > 0
    assert math.isclose(max(rate(step, steps) for step in range(0, steps, 50)), rate.peak, rel_tol=1e-2)
    assert builders.build_augmentation(cfg).flip == 0.5


def plain(value: object) -> object:
    return tuple(value) if isinstance(value, ListConfig) else value


FIRST_SUBNETS = {
    "sandwich": ["largest", "smallest", "random0"],
    "progressive": ["largest"],
    "single": ["random0"],
}


@pytest.mark.parametrize("training", names("training"))
@pytest.mark.parametrize("recipe", names("recipe"))
def test_every_recipe_goes_with_every_space(compose_config: Compose, recipe: str, training: str) -> None:
    cfg = compose_config("train", f"space={training}", f"recipe={recipe}")
    space = builders.build_space(cfg)
    phases = builders.build_phases(cfg, 100_000)
    plan = SupernetPlan(space, phases, cfg.seed)
    assert [phase.name for phase in phases] == list(cfg.recipe.phases)
    assert abs(plan.steps - cfg.training.steps) < len(phases)
    assert list(plan(0).subnets)[:3] == FIRST_SUBNETS[recipe]
    assert space.restricted(phases[-1].elastic) == space, "in the end everything varies"
    for phase in phases:
        assert phase.learning_rate.peak == cfg.training.learning_rate.peak * cfg.recipe.phases[phase.name].rate
    check_teachers(phases, None, starts_trained=False)
    if recipe == "sandwich":
        assert len(plan(0).subnets) == 2 + cfg.training.num_random


def test_every_recipe_is_tried() -> None:
    assert names("recipe") == sorted(FIRST_SUBNETS)


def test_progressive_phases_share_out_the_steps(compose_config: Compose) -> None:
    phases = phases_of(compose_config, "recipe=progressive", "training.steps=1000")
    assert {phase.name: phase.steps for phase in phases} == {
        "full": 300,
        "kernel": 150,
        "depth": 150,
        "expansion": 150,
        "width": 250,
    }
    for before, after in itertools.pairwise(phases):
        assert set(before.elastic) < set(after.elastic)
    assert [phase.sort_channels for phase in phases] == ["none", "none", "none", "hidden", "width"]


LENGTHS: dict[tuple[str, ...], int] = {
    ("training.steps=30",): 30,
    ("training.steps=null", "training.epochs=3"): 30,
    ("training.steps=null", "training.epochs=0.5"): 5,
    ("training.steps=null", "training.epochs=0.36"): 4,
    ("training.steps=null", "training.epochs=0.01"): 1,
    ("training.steps=30", "recipe.phases.sandwich.share=0.5"): 15,
    ("training.steps=30", "recipe.phases.sandwich.share=0.001"): 1,
    ("recipe.phases.sandwich.share=null", "+recipe.phases.sandwich.steps=7"): 7,
    ("recipe.phases.sandwich.share=null", "+recipe.phases.sandwich.epochs=2"): 20,
    ("training.steps=null", "~recipe.phases.sandwich.share", "+recipe.phases.sandwich.epochs=1.5"): 15,
    ("training.steps=null", "training.epochs=2", "training.batch_size=7"): 10,
}


@pytest.mark.parametrize("overrides", LENGTHS)
def test_a_phase_is_as_long_as_its_steps_epochs_or_share(compose_config: Compose, overrides: tuple[str, ...]) -> None:
    """An epoch of 40 images is ten batches of 4, or five of 7."""
    (phase,) = phases_of(compose_config, *overrides)
    assert phase.steps == LENGTHS[overrides]


IN_PHASE = "recipe.phases.sandwich"
WRONG: dict[tuple[str, ...], str] = {
    ("training.steps=null",): "training.steps and training.epochs are both null; give one and make the other null",
    ("training.epochs=3",): "training.steps and training.epochs are {'steps': 1200, 'epochs': 3}; give one",
    ("training.steps=0",): "training.steps is 0; it must be an integer above 0",
    ("training.steps=1.5",): "training.steps is 1.5; it must be an integer above 0",
    ("training.steps=true",): "training.steps is True; it must be an integer above 0",
    ("training.steps=many",): "training.steps is 'many'; it must be an integer above 0",
    ("training.steps=null", "training.epochs=-1"): "training.epochs is -1; it must be a number above 0",
    (f"+{IN_PHASE}.steps=7",): f"{IN_PHASE} has a share and steps or epochs; make one of them null",
    (f"{IN_PHASE}.share=null",): f"{IN_PHASE}.steps and {IN_PHASE}.epochs are both null",
    (f"{IN_PHASE}.share=null", f"+{IN_PHASE}.steps=7", f"+{IN_PHASE}.epochs=1"): f"{IN_PHASE}.steps and ",
    (f"{IN_PHASE}.share=null", f"+{IN_PHASE}.steps=0"): f"{IN_PHASE}.steps is 0; it must be an integer above 0",
    (f"{IN_PHASE}.share=0.6", "+recipe.phases.more={share: 0.5}"): "recipe.phases: the shares add up to 1.1; ",
    (f"{IN_PHASE}.share=0",): f"{IN_PHASE}.share is 0; it must be a number above 0",
    (f"{IN_PHASE}.share=all",): f"{IN_PHASE}.share is 'all'; it must be a number above 0",
    (f"{IN_PHASE}.rate=-1",): f"{IN_PHASE}.rate is -1; it must be a number above 0",
    (f"{IN_PHASE}.rate=null",): f"{IN_PHASE}.rate is None; it must be a number above 0",
    (f"{IN_PHASE}.rule=all",): f"{IN_PHASE}.rule is 'all'; it must be one of sandwich, random, largest",
    (f"{IN_PHASE}.rule=random",): f"{IN_PHASE}.teacher is 'largest', which only rule sandwich trains in place",
    (f"{IN_PHASE}.num_random=-1",): f"{IN_PHASE}.num_random is -1; it must be an integer from 0 to 1000",
    (f"+{IN_PHASE}.colour=3",): f"unknown setting {IN_PHASE}.colour; known: name, steps",
    (f"{IN_PHASE}.elastic=[kernels]",): f"{IN_PHASE}.elastic is 'kernels'; it must be",
    (f"~{IN_PHASE}",): "recipe.phases is {}; it must be at least one phase",
    ("training.learning_rate.peak=-1",): "training.learning_rate.peak is -1; it must be a number of at least 0",
    ("+training.learning_rate.gamma=1",): "unknown setting training.learning_rate.gamma; known: peak, warmup",
}


@pytest.mark.parametrize("overrides", WRONG)
def test_a_wrong_phase_is_one_line_with_its_key(compose_config: Compose, overrides: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        phases_of(compose_config, *overrides)
    assert str(caught.value).startswith(WRONG[overrides])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batch_size=0", "training.batch_size is 0; it must be an integer of at least 1"),
        ("training.accumulation=3", "training.accumulation is 3; it must divide batch_size, 4"),
        ("training.precision=float8", "training.precision is 'float8'; it must be one of float32, bfloat16, float16"),
        ("training.ema_decay=1", "training.ema_decay is 1; it must be a number of at least 0 and below 1"),
        ("training.sync_batch_norm=maybe", "training.sync_batch_norm is 'maybe'; it must be true or false"),
        ("training.loss.sigmas=[1.5]", "training.loss.sigmas is [1.5]; it must be a list of 2 numbers"),
        ("+training.momentum=0.9", "unknown setting training.momentum; known: batch_size"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_key(compose_config: Compose, override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        builders.build_training_settings(compose_config("train", override))
    assert str(caught.value).startswith(message)


def phase_with(teacher: TeacherKind, name: str = "one") -> Phase:
    return Phase(name, 5, WarmupCosine(0.1), rule="sandwich", teacher=teacher)


@pytest.fixture
def teacher() -> Teacher:
    return Teacher(LitePose(SearchSpace.preset("tiny").smallest()), image_size=96)


def test_teachers_that_are_there_and_used_pass(teacher: Teacher) -> None:
    check_teachers([phase_with("largest"), phase_with("none")], None, starts_trained=False)
    check_teachers([phase_with("none"), phase_with("external")], teacher, starts_trained=False)
    check_teachers([phase_with("none"), phase_with("frozen")], None, starts_trained=False)
    check_teachers([phase_with("frozen")], None, starts_trained=True)


@pytest.mark.parametrize("starts_trained", [False, True])
def test_a_teacher_that_is_missing_or_idle_is_refused(teacher: Teacher, starts_trained: bool) -> None:
    with pytest.raises(InputError, match=r"the teacher of phase two is external: give teacher\.weights"):
        check_teachers([phase_with("none"), phase_with("external", "two")], None, starts_trained=starts_trained)
    with pytest.raises(
        InputError, match=r"teacher\.weights is given, but no phase has teacher=external; phases: one, x"
    ):
        check_teachers([phase_with("none"), phase_with("frozen", "x")], teacher, starts_trained=starts_trained)


def test_an_untrained_network_teaches_nobody() -> None:
    with pytest.raises(InputError, match=r"the teacher of phase one is frozen before anything is trained: give init_"):
        check_teachers([phase_with("frozen")], None, starts_trained=False)


def build_teacher(compose_config: Compose, *overrides: str) -> Teacher | None:
    return builders.build_teacher(compose_config("train", *overrides), 14, torch.device("cpu"))


@pytest.mark.parametrize("published", [False, True])
def test_a_teacher_comes_from_a_file(compose_config: Compose, tmp_path: Path, published: bool) -> None:
    torch.manual_seed(0)
    network = LitePose(SearchSpace.preset("tiny").largest())
    if published:
        torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pth")
        network.arch.save(tmp_path / "arch.json")
        files = (f"teacher.weights={tmp_path}/weights.pth", f"teacher.arch={tmp_path}/arch.json")
    else:
        save_subnet(tmp_path / "weights.safetensors", network)
        files = (f"teacher.weights={tmp_path}/weights.safetensors",)
    teacher = build_teacher(compose_config, *files)
    assert teacher is not None
    assert teacher.image_size == network.arch.image_size == 128
    assert weights_digest(teacher.model) == weights_digest(network)


def test_a_teacher_that_does_not_fit_is_refused(compose_config: Compose, tmp_path: Path) -> None:
    assert build_teacher(compose_config) is None
    with pytest.raises(InputError, match=r"teacher\.arch is 'a\.json'; it must be null without teacher\.weights"):
        build_teacher(compose_config, "teacher.arch=a.json")
    with pytest.raises(InputError, match=r"absent\.safetensors: no such file"):
        build_teacher(compose_config, f"teacher.weights={tmp_path}/absent.safetensors")
    path = tmp_path / "coco.safetensors"
    save_subnet(path, LitePose(SearchSpace.preset("tiny").smallest(), num_keypoints=17))
    with pytest.raises(InputError, match="the teacher has 17 keypoints; the dataset has 14"):
        build_teacher(compose_config, f"teacher.weights={path}")


def test_a_validator_measures_a_split_or_its_first_images(compose_config: Compose) -> None:
    archs = {"one": SearchSpace.preset("tiny").smallest()}
    cfg = compose_config("train")
    validator = builders.build_validator(cfg, archs, SINGLE, images=3)
    assert validator.archs == archs
    assert ids(validator.dataset) == ids(builders.load_split(cfg, "search"))[:3]
    assert ids(validator.calibration.dataset) == ids(builders.load_split(cfg, "train"))
    assert validator.batch_size == cfg.evaluation.batch_size
    whole = builders.build_validator(cfg, archs, SINGLE, split="val")
    assert len(whole.dataset) == 4
    assert whole.dataset.annotations_path == builders.load_split(cfg, "val").annotations_path


def test_a_schedule_is_chosen_by_its_name_alone(compose_config: Compose) -> None:
    cfg = compose_config("train", "training=litepose", "training.learning_rate.schedule=cosine")
    assert builders.build_learning_rate(cfg) == WarmupCosine(peak=0.004, warmup=0.002)
    cfg = compose_config("train", "training.learning_rate.schedule=steps")
    assert builders.build_learning_rate(cfg) == WarmupSteps(peak=0.008, warmup=0.05)


def test_every_preset_is_a_choice() -> None:
    assert names("space") == names("training") == names("evaluation") == sorted(PRESETS)


def test_a_space_of_one_s_own_is_spelled_out(compose_config: Compose) -> None:
    spelled = SearchSpace.preset("tiny").to_dict() | {"image_sizes": [64, 96]}
    cfg = compose_config("train", "space.name=mine", "space.image_sizes=[64,96]")
    assert builders.build_space(cfg) == SearchSpace.from_dict(spelled | {"name": "mine"})


def test_the_device_and_its_threads(compose_config: Compose) -> None:
    assert builders.build_device(compose_config("train", "accelerator=cpu", "threads=1")).type == "cpu"
    assert torch.get_num_threads() == 1
    found = builders.build_device(compose_config("train", "threads=null"))
    assert found.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_an_accelerator_that_is_not_there_is_refused(compose_config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch finds no CUDA device"):
        builders.build_device(compose_config("train", "accelerator=cuda", "threads=1"))


def test_splits_are_files_of_the_dataset(compose_config: Compose) -> None:
    cfg = compose_config("evaluate")
    assert [len(builders.load_split(cfg, split)) for split in ("train", "search", "val")] == [12, 4, 4]
    with pytest.raises(InputError, match="unknown split 'test'; known: train, search, val"):
        builders.load_split(cfg, "test")


def test_a_search_split_without_files_is_held_out_of_train_by_a_seed_of_its_own(compose_config: Compose) -> None:
    def splits(seed: int, run_seed: int = 0) -> tuple[list[int], list[int], list[int]]:
        cfg = compose_config("evaluate", f"seed={run_seed}")
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
    dataset = compose_config("train", f"dataset={name}").dataset
    assert dataset.name == name
    assert dataset.skeleton in SKELETONS
    assert all(split in dataset for split in SPLITS)


def test_an_evaluator_follows_the_config(compose_config: Compose, trained: Path) -> None:
    overrides = ("threads=1", "evaluation.bn_images=3", "evaluation.bn_batch_size=2", "evaluation.flip_test=true")
    evaluator = builders.build_subnet_evaluator(
        compose_config("evaluate", f"workspace={trained}", *overrides), "search"
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
