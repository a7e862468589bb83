"""Recipes and schedules, as the config says; a wrong one is named."""

import itertools
import math
from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_space
from litepose_ofa.scripts.build.training import (
    build_learning_rate,
    build_phases,
    build_training_settings,
    check_teachers,
)
from litepose_ofa.scripts.settings.config import checked_config
from litepose_ofa.scripts.verbs.train import TrainVerb
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.recipe import Phase, SupernetPlan, TeacherKind, WarmupCosine, WarmupSteps
from litepose_ofa.supernet.training.teacher import Teacher

Compose = Callable[..., DictConfig]


@pytest.fixture
def compose_checked(compose_config: Compose) -> Compose:
    """Compose the config of ``train``, checked as the verb does."""
    return lambda *overrides: checked_config(compose_config("train", *overrides), TrainVerb)


@pytest.mark.parametrize("space", PRESETS)
def test_every_space_has_settings_that_build(compose_checked: Compose, space: str) -> None:
    cfg = compose_checked(f"space={space}", "seed=7")
    settings = build_training_settings(cfg)
    assert (settings.seed, settings.batch_size) == (7, cfg.training.batch_size)
    assert list(settings.loss.sigmas) == list(cfg.training.loss.sigmas)
    rate, steps = build_learning_rate(cfg), cfg.training.steps or 20_000
    assert isinstance(rate, WarmupCosine if space in ("tiny", "small") else WarmupSteps)
    assert math.isclose(max(rate(step, steps) for step in range(0, steps, 50)), rate.peak, rel_tol=1e-2)


FIRST_SUBNETS = {"sandwich": ["largest", "smallest", "random0"], "progressive": ["largest"], "single": ["random0"]}


@pytest.mark.parametrize("space", ["tiny", "litepose"])
@pytest.mark.parametrize("recipe", FIRST_SUBNETS)
def test_every_recipe_goes_with_every_space(compose_checked: Compose, recipe: str, space: str) -> None:
    cfg = compose_checked(f"space={space}", f"recipe={recipe}")
    phases = build_phases(cfg, 100_000)
    plan = SupernetPlan(build_space(cfg), phases, cfg.seed)
    assert [phase.name for phase in phases] == list(cfg.recipe.phases)
    assert abs(plan.steps - cfg.training.steps) < len(phases)
    assert list(plan(0).subnets)[:3] == FIRST_SUBNETS[recipe]
    assert build_space(cfg).restricted(phases[-1].elastic) == build_space(cfg), "in the end everything varies"
    for phase in phases:
        assert phase.learning_rate.peak == cfg.training.learning_rate.peak * cfg.recipe.phases[phase.name].rate
    check_teachers(phases, None, starts_trained=False)


def test_progressive_phases_share_out_the_steps(compose_checked: Compose) -> None:
    phases = build_phases(compose_checked("recipe=progressive", "training.steps=1000"), 40)
    shares = {"full": 300, "kernel": 150, "depth": 150, "expansion": 150, "width": 250}
    assert {phase.name: phase.steps for phase in phases} == shares
    for before, after in itertools.pairwise(phases):
        assert set(before.elastic) < set(after.elastic)
    assert [phase.sort_channels for phase in phases] == ["none", "none", "none", "hidden", "width"]


LENGTHS: dict[tuple[str, ...], int] = {
    ("training.steps=30",): 30,
    ("training.steps=null", "training.epochs=3"): 30,
    ("training.steps=null", "training.epochs=0.36"): 4,
    ("training.steps=null", "training.epochs=0.01"): 1,
    ("training.steps=30", "recipe.phases.sandwich.share=0.5"): 15,
    ("training.steps=30", "recipe.phases.sandwich.share=0.001"): 1,
    ("recipe.phases.sandwich.share=null", "+recipe.phases.sandwich.steps=7"): 7,
    ("training.steps=null", "~recipe.phases.sandwich.share", "+recipe.phases.sandwich.epochs=1.5"): 15,
    ("training.steps=null", "training.epochs=2", "training.batch_size=7"): 10,
}


@pytest.mark.parametrize("overrides", LENGTHS)
def test_a_phase_is_as_long_as_its_steps_epochs_or_share(compose_checked: Compose, overrides: tuple[str, ...]) -> None:
    """An epoch of 40 images is ten batches of 4, or five of 7."""
    (phase,) = build_phases(compose_checked(*overrides), 40)
    assert phase.steps == LENGTHS[overrides]


IN_PHASE = "recipe.phases.sandwich"
WRONG: dict[tuple[str, ...], str] = {
    ("training.steps=null",): "training.steps and training.epochs are both null; give one and make the other null",
    ("training.epochs=3",): "training.steps and training.epochs are {'steps': 1400, 'epochs': 3}; give one",
    ("training.accumulation=3",): "training.accumulation is 3; it must divide batch_size, 4",
    (f"+{IN_PHASE}.steps=7",): f"{IN_PHASE} has a share and steps or epochs; make one of them null",
    (f"{IN_PHASE}.share=null",): f"{IN_PHASE}.steps and {IN_PHASE}.epochs are both null",
    (f"{IN_PHASE}.share=0.6", "+recipe.phases.more={share: 0.5}"): "recipe.phases: the shares add up to 1.1; ",
    (f"{IN_PHASE}.rule=random",): f"{IN_PHASE}.teacher is 'largest', which only rule sandwich trains in place",
    (f"~{IN_PHASE}",): "recipe.phases is {}; it must be at least one phase",
}


@pytest.mark.parametrize("overrides", WRONG)
def test_a_wrong_setting_is_one_line_with_its_key(compose_checked: Compose, overrides: tuple[str, ...]) -> None:
    def build() -> None:
        cfg = compose_checked(*overrides)
        build_training_settings(cfg)
        build_phases(cfg, 40)

    with pytest.raises(InputError) as caught:
        build()
    assert str(caught.value).startswith(WRONG[overrides])
    assert "\n" not in str(caught.value)


def test_a_schedule_is_chosen_by_its_name_alone(compose_checked: Compose) -> None:
    cfg = compose_checked("training=litepose", "training.learning_rate.schedule=cosine")
    assert build_learning_rate(cfg) == WarmupCosine(peak=0.004, warmup=0.002)
    cfg = compose_checked("training.learning_rate.schedule=steps")
    assert build_learning_rate(cfg) == WarmupSteps(peak=0.008, warmup=0.05)


def phase_with(teacher: TeacherKind, name: str = "one") -> Phase:
    return Phase(name, 5, WarmupCosine(0.1), rule="sandwich", teacher=teacher)


def test_teachers_are_there_trained_and_used() -> None:
    teacher = Teacher(LitePose(SearchSpace.preset("tiny").smallest()), image_size=96)
    check_teachers([phase_with("none"), phase_with("external")], teacher, starts_trained=False)
    check_teachers([phase_with("none"), phase_with("frozen")], None, starts_trained=False)
    check_teachers([phase_with("frozen")], None, starts_trained=True)
    with pytest.raises(InputError, match=r"the teacher of phase two is external: give teacher\.weights"):
        check_teachers([phase_with("none"), phase_with("external", "two")], None, starts_trained=True)
    with pytest.raises(InputError, match=r"teacher\.weights is given, but no phase has teacher=external; phases: one"):
        check_teachers([phase_with("none")], teacher, starts_trained=False)
    with pytest.raises(InputError, match=r"the teacher of phase one is frozen before anything is trained: give init_"):
        check_teachers([phase_with("frozen")], None, starts_trained=False)
