"""Interrupted anywhere or killed, a training ends with the same bits."""

import copy
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.training.step import StepResult
from litepose_ofa.supernet.training.trainer import CHECKPOINTS_FOLDER, Trainer

State = dict[str, Any]
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
def test_interrupted_after_every_step_it_ends_with_the_same_bits(tmp_path: Path, recipe: str, trainings: Any) -> None:
    of_plan, of_settings = RECIPES[recipe]
    plan = trainings.plan(**of_plan)
    assert plan.steps % STEPS_OF_AN_EPOCH, "the last cut is to be inside an epoch"
    whole = trainings.make(tmp_path / "whole", plan=plan, **of_settings)
    for step, state in enumerate(states_of(whole), 1):
        part = trainings.make(tmp_path / "parts", plan=plan, **of_settings)
        assert part.step == step - 1
        assert part.train(should_stop=trainings.stop_after(1)) == (step == plan.steps)
        trainings.assert_equal(part.state_dict(), state)
    assert trainings.metrics(tmp_path / "parts") == trainings.metrics(tmp_path / "whole")
    assert [line["step"] for line in trainings.metrics(tmp_path / "whole")] == list(range(plan.steps))


def test_a_kill_costs_only_the_steps_since_the_last_checkpoint(tmp_path: Path, trainings: Any) -> None:
    class KilledError(Exception):
        pass

    def kill(step: int, result: StepResult) -> None:
        if step == 5:
            raise KilledError

    whole = trainings.make(tmp_path / "whole")
    whole.train()
    killed = trainings.make(tmp_path / "killed", checkpoint_every=2)
    with pytest.raises(KilledError):
        killed.train(on_step=kill)
    assert [line["step"] for line in trainings.metrics(tmp_path / "killed")] == [0, 1, 2, 3, 4]
    rest = trainings.make(tmp_path / "killed", checkpoint_every=2)
    assert rest.step == 4
    rest.train()
    trainings.assert_equal(rest.state_dict(), whole.state_dict())
    assert trainings.metrics(tmp_path / "killed") == trainings.metrics(tmp_path / "whole")


def test_a_finished_training_stays_as_it_is(folder: Path, trainings: Any) -> None:
    plan = trainings.plan(steps=2)
    first = trainings.make(plan=plan)
    first.train()
    again = trainings.make(plan=plan)
    assert again.train(on_step=lambda step, result: pytest.fail("nothing is left to do"))
    trainings.assert_equal(again.state_dict(), first.state_dict())
    assert len(trainings.metrics(folder)) == 2


@pytest.mark.parametrize("state", [{"step": 1}, {"version": 1, "step": 1}])
def test_a_checkpoint_of_another_version_is_named(state: State, trainings: Any) -> None:
    trainer = trainings.make()
    trainer.store.save(1, state)
    with pytest.raises(InputError, match=f"{CHECKPOINTS_FOLDER}: its checkpoints are of another version"):
        trainings.make()
