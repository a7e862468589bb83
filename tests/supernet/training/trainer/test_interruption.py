"""Interrupted anywhere, killed, or its checkpoint damaged, a training ends with the same bits."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.loading import TrainingImages
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.training.recipe import Phase, SubnetPlan, SupernetPlan, TrainingSettings, WarmupCosine
from litepose_ofa.supernet.training.step import StepResult
from litepose_ofa.supernet.training.trainer import CHECKPOINTS_FOLDER, Trainer

State = dict[str, Any]
MakeTrainer = Callable[..., Trainer]
MakePlan = Callable[..., SupernetPlan]
AfterSteps = Callable[[int], Callable[[], bool]]
AssertEqual = Callable[[object, object], None]
ReadMetrics = Callable[[Path], list[dict[str, float]]]


STEPS_OF_AN_EPOCH = 4
"""Of eight images at batch 2."""


def states_of(trainer: Trainer) -> list[State]:
    """Train to the end; return the whole state after each step."""
    states: list[State] = []
    assert trainer.train(on_step=lambda step, result: states.append(copy.deepcopy(trainer.state_dict())))
    return states


RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adamw": ({}, {"ema_decay": 0.9}),
    "sgd": ({"num_random": 2}, {"optimizer": "sgd", "accumulation": 2, "ema_decay": 0.9}),
    "single": ({"rule": "random", "teacher": "none"}, {}),
    "progressive": ({"progressive": 2}, {"update": "per_sandwich", "ema_decay": 0.9}),
    "float16": ({"steps": 2}, {"precision": "float16"}),
}
"""What each changes in the plan and in the settings."""


@pytest.mark.parametrize("recipe", RECIPES)
def test_interrupted_after_every_step_it_ends_with_the_same_bits(
    make_trainer: MakeTrainer,
    make_plan: MakePlan,
    tmp_path: Path,
    recipe: str,
    after_steps: AfterSteps,
    read_metrics: ReadMetrics,
    assert_equal_states: AssertEqual,
) -> None:
    of_plan, of_settings = RECIPES[recipe]
    plan = make_plan(**of_plan)
    assert plan.steps % STEPS_OF_AN_EPOCH, "the last cut is to be inside an epoch"
    whole = make_trainer(tmp_path / "whole", plan=plan, **of_settings)
    for step, state in enumerate(states_of(whole), 1):
        part = make_trainer(tmp_path / "parts", plan=plan, **of_settings)
        assert part.step == step - 1
        assert part.train(should_stop=after_steps(1)) == (step == plan.steps)
        assert_equal_states(part.state_dict(), state)
    assert read_metrics(tmp_path / "parts") == read_metrics(tmp_path / "whole")
    assert [line["step"] for line in read_metrics(tmp_path / "whole")] == list(range(plan.steps))


def test_cut_inside_phases_and_between_them_it_ends_with_the_same_bits(
    make_trainer: MakeTrainer,
    make_plan: MakePlan,
    tmp_path: Path,
    after_steps: AfterSteps,
    read_metrics: ReadMetrics,
    assert_equal_states: AssertEqual,
) -> None:
    plan = make_plan(progressive=3)
    settings = {"ema_decay": 0.9, "optimizer": "adam"}
    whole = make_trainer(tmp_path / "whole", plan=plan, **settings)
    whole.train()
    for until in (1, 3, 5, 9, 14):
        part = make_trainer(tmp_path / "parts", plan=plan, **settings)
        assert not part.train(should_stop=after_steps(until - part.step))
        assert part.step == until
    rest = make_trainer(tmp_path / "parts", plan=plan, **settings)
    assert rest.train()
    assert_equal_states(rest.state_dict(), whole.state_dict())
    assert read_metrics(tmp_path / "parts") == read_metrics(tmp_path / "whole")


def test_a_kill_costs_only_the_steps_since_the_last_checkpoint(
    make_trainer: MakeTrainer, tmp_path: Path, read_metrics: ReadMetrics, assert_equal_states: AssertEqual
) -> None:
    class KilledError(Exception):
        pass

    def kill(step: int, result: StepResult) -> None:
        if step == 5:
            raise KilledError

    whole = make_trainer(tmp_path / "whole")
    whole.train()
    killed = make_trainer(tmp_path / "killed", checkpoint_every=2)
    with pytest.raises(KilledError):
        killed.train(on_step=kill)
    assert [line["step"] for line in read_metrics(tmp_path / "killed")] == [0, 1, 2, 3, 4]
    rest = make_trainer(tmp_path / "killed", checkpoint_every=2)
    assert rest.step == 4
    rest.train()
    assert_equal_states(rest.state_dict(), whole.state_dict())
    assert read_metrics(tmp_path / "killed") == read_metrics(tmp_path / "whole")


def test_a_single_network_goes_on_too(
    images: TrainingImages,
    small_space: SearchSpace,
    make_settings: Callable[..., TrainingSettings],
    tmp_path: Path,
    after_steps: AfterSteps,
    assert_equal_states: AssertEqual,
) -> None:
    supernet = LitePoseSupernet(small_space)
    phase = Phase("alone", 4, WarmupCosine(peak=0.004), rule="largest", num_random=0, teacher="none")
    plan = SubnetPlan(small_space.smallest(), phase)

    def make(folder: Path) -> Trainer:
        network = extract_subnet(supernet, plan.arch)
        trainer = Trainer(network, images, plan, make_settings(ema_decay=0.9), folder=folder)
        trainer.resume()
        return trainer

    for step, state in enumerate(states_of(make(tmp_path / "whole")), 1):
        part = make(tmp_path / "parts")
        part.train(should_stop=after_steps(1))
        assert part.step == step
        assert_equal_states(part.state_dict(), state)


def test_a_finished_training_stays_as_it_is(
    make_trainer: MakeTrainer,
    make_plan: MakePlan,
    folder: Path,
    read_metrics: ReadMetrics,
    assert_equal_states: AssertEqual,
) -> None:
    plan = make_plan(steps=2)
    first = make_trainer(plan=plan)
    first.train()
    again = make_trainer(plan=plan)
    assert again.train(on_step=lambda step, result: pytest.fail("nothing is left to do"))
    assert_equal_states(again.state_dict(), first.state_dict())
    assert len(read_metrics(folder)) == 2


@pytest.mark.parametrize("damage", ["cut short", "a bit flipped"])
def test_the_checkpoint_before_a_damaged_one_is_used(
    make_trainer: MakeTrainer,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: str,
    after_steps: AfterSteps,
    read_metrics: ReadMetrics,
    assert_equal_states: AssertEqual,
) -> None:
    whole = make_trainer(tmp_path / "whole")
    whole.train()
    make_trainer(checkpoint_every=2).train(should_stop=after_steps(5))
    *_, before, last = sorted((folder / CHECKPOINTS_FOLDER).iterdir())
    content = bytearray(last.read_bytes())
    if damage == "a bit flipped":
        content[len(content) // 2] ^= 1
    last.write_bytes(content[: len(content) // 2] if damage == "cut short" else content)
    rest = make_trainer(checkpoint_every=2)
    assert rest.step == 4
    assert f"{last}: is damaged" in caplog.text
    assert before.exists()
    rest.train()
    assert_equal_states(rest.state_dict(), whole.state_dict())
    assert read_metrics(folder) == read_metrics(tmp_path / "whole")


def test_without_a_whole_checkpoint_it_does_not_start_over(
    make_trainer: MakeTrainer, folder: Path, after_steps: AfterSteps
) -> None:
    make_trainer(checkpoint_every=1).train(should_stop=after_steps(2))
    for path in (folder / CHECKPOINTS_FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="no checkpoint is whole; remove the folder to start again"):
        make_trainer()


@pytest.mark.parametrize("state", [{"step": 1}, {"version": 1, "step": 1}])
def test_a_checkpoint_of_another_version_is_named(make_trainer: MakeTrainer, state: State) -> None:
    trainer = make_trainer()
    trainer.store.save(1, state)
    with pytest.raises(InputError, match=f"{CHECKPOINTS_FOLDER}: its checkpoints are of another version"):
        make_trainer()
