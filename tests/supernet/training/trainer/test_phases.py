"""Where a phase begins: channels sorted, moments forgotten, the teacher frozen."""

import copy
import dataclasses
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import Heads
from litepose_ofa.supernet.training import trainer as trainer_module
from litepose_ofa.supernet.training.step import StepResult, train_on_batch
from litepose_ofa.supernet.training.trainer import Trainer


@torch.no_grad()
def largest_outputs(model: Any) -> Heads:
    """Return what the largest subnet makes of a fixed image in eval mode."""
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    heads: Heads = copy.deepcopy(model).eval()(image, model.space.largest())
    return heads


@dataclasses.dataclass
class Moment:
    """A copy of what phases change, and what the largest subnet and its average compute."""

    state: dict[str, Any]
    outputs: tuple[Heads, Heads]
    has_moments: bool

    @classmethod
    def of(cls, trainer: Trainer) -> "Moment":
        outputs = largest_outputs(trainer.model), largest_outputs(trainer.trained)
        return cls(copy.deepcopy(trainer.state_dict()), outputs, bool(trainer.optimizer.state))


@pytest.fixture
def phase_starts(monkeypatch: pytest.MonkeyPatch, trainings: Any) -> dict[str, tuple[Moment, Moment]]:
    """For every later phase of the progressive recipe: the moment before it begins, and that before its first step."""
    trainer = trainings.make(plan=trainings.plan(progressive=2), ema_decay=0.5)
    ends: list[Moment] = []
    starts: list[tuple[str, Moment]] = []

    def record(model: Any, batch: Any, plan: Any, *rest: Any, **more: Any) -> StepResult:
        starts.append((plan.phase.name, Moment.of(trainer)))
        return train_on_batch(model, batch, plan, *rest, **more)

    monkeypatch.setattr(trainer_module, "train_on_batch", record)
    trainer.train(on_step=lambda step, result: ends.append(Moment.of(trainer)))
    return {starts[step][0]: (ends[step - 1], starts[step][1]) for step in (2, 4, 6, 8)}


def test_a_phase_begins_sorted_without_moments_and_with_the_first_phases_teacher(
    phase_starts: dict[str, tuple[Moment, Moment]], trainings: Any
) -> None:
    for name, (before, after) in phase_starts.items():
        assert before.has_moments
        assert not after.has_moments
        is_sorted = name in ("expansion", "width")
        for which in ("model", "average"):
            assert trainings.is_equal(before.state[which], after.state[which]) != is_sorted, f"{which} in {name}"
        for network in range(2):
            for ours, theirs in zip(before.outputs[network], after.outputs[network], strict=True):
                difference = float((ours - theirs).abs().max() / theirs.abs().max())
                assert difference < 1e-5 if is_sorted else difference == 0
    assert phase_starts["kernel"][0].state["frozen_teacher"] is None
    teachers = [after.state["frozen_teacher"] for _, after in phase_starts.values()]
    assert all(trainings.is_equal(teacher, teachers[0]) for teacher in teachers)


def test_the_frozen_teacher_is_the_full_network_of_the_first_phase(trainings: Any) -> None:
    trainer = trainings.make(plan=trainings.plan(progressive=2))
    trainer.train(should_stop=trainings.stop_after(2))
    largest = extract_subnet(trainer.model, trainer.model.space.largest()).state_dict()
    trainer.train(should_stop=trainings.stop_after(1))
    assert trainings.is_equal(trainer.state_dict()["frozen_teacher"], largest)
