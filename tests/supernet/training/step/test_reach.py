"""What a step reaches and what it leaves alone: parameters, teachers, memory."""

import copy
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.data.loading import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.recipe import StepPlan, TeacherKind, Update
from litepose_ofa.supernet.training.step import StepResult
from litepose_ofa.supernet.training.teacher import Teacher

TEACHERS: list[TeacherKind] = ["none", "largest", "external"]
RunStep = Callable[..., StepResult]


def test_a_step_leaves_no_gradient_and_its_teacher_as_it_was(
    supernet: LitePoseSupernet,
    teacher: Teacher,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    run_step: RunStep,
) -> None:
    before = copy.deepcopy(teacher.model.state_dict())
    run_step(supernet, batch, make_step_plan(teacher="external"), teacher=teacher)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert all(parameter.grad is None for parameter in teacher.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_every_parameter_is_trained(
    supernet: LitePoseSupernet, batch: Batch, make_step_plan: Callable[..., StepPlan], update: Update, run_step: RunStep
) -> None:
    """Regression: the public sampler never reaches the last blocks, and its kernel matrices are never used."""
    trained: set[str] = set()
    for name, parameter in supernet.named_parameters():

        def note(tensor: Tensor, name: str = name) -> None:
            if tensor.grad is not None and tensor.grad.count_nonzero():
                trained.add(name)

        parameter.register_post_accumulate_grad_hook(note)
    for number in range(40):
        run_step(supernet, batch, make_step_plan(number), update=update)
        if len(trained) == len(list(supernet.parameters())):
            break
    assert {name for name, _ in supernet.named_parameters()} - trained == set()


class Saved:
    """A tensor that a backward pass waits for."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_subnet_runs_when_nothing_is_left_of_the_graph_before(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, accumulation: int, update: Update, run_step: RunStep
) -> None:
    alive: weakref.WeakSet[Saved] = weakref.WeakSet()
    most, at_start = [], []

    def pack(tensor: Tensor) -> Saved:
        saved = Saved(tensor)
        alive.add(saved)
        return saved

    supernet.register_forward_pre_hook(lambda *_: at_start.append(len(alive)))
    supernet.register_forward_hook(lambda *_: most.append(len(alive)))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        run_step(supernet, batch, plan, accumulation=accumulation, update=update)
    assert at_start == [0] * 4 * accumulation
    assert min(most) > 50
    assert not alive
