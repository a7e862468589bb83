"""Updates of a step against gradients that are worked out one by one."""

import copy
import dataclasses
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import Heads
from litepose_ofa.supernet.training.recipe import Phase, StepPlan, SubnetPlan, TeacherKind, Update, WarmupCosine
from litepose_ofa.supernet.training.teacher import Teacher

TEACHERS: list[TeacherKind] = ["none", "largest", "external"]


def mean(groups: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(same).mean(dim=0) for same in zip(*groups, strict=True)]


def assert_same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


def of_first(kind: TeacherKind, teacher: Teacher, batch: Batch) -> Heads | None:
    """What the first subnet learns from: the teacher, if it is not to teach itself."""
    return teacher(batch) if kind == "external" else None


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
@pytest.mark.parametrize("kind", TEACHERS)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_updates_are_by_the_mean_gradient_of_parts_and_subnets_or_after_each_subnet(
    supernet: LitePoseSupernet,
    teacher: Teacher,
    batch: Batch,
    accumulation: int,
    kind: TeacherKind,
    update: Update,
    steps: Any,
) -> None:
    plan, parts, expected = steps.plan(teacher=kind), batch.split(accumulation), copy.deepcopy(supernet)
    soft = [of_first(kind, teacher, part) for part in parts]
    found: list[list[Tensor]] = []
    losses = dict.fromkeys(plan.subnets, 0.0)
    for name, arch in plan.subnets.items():
        for i, part in enumerate(parts):
            gradient, heads, loss = steps.gradients(expected, part, arch, soft[i])
            soft[i] = heads if kind == "largest" and soft[i] is None else soft[i]
            found.append(gradient)
            losses[name] += loss / accumulation
        if update == "per_subnet":
            steps.descend(expected, mean(found))
            found = []
    if update == "per_sandwich":
        steps.descend(expected, mean(found))
    given = teacher if kind == "external" else None
    result = steps.run(supernet, batch, plan, update=update, accumulation=accumulation, teacher=given)
    assert_same_weights(supernet, expected)
    assert list(result.losses) == ["largest", "smallest", "random0", "random1"]
    assert result.losses == pytest.approx(losses, rel=1e-8)
    assert result.skipped is None


def test_one_network_is_trained_by_its_own_gradient(
    supernet: LitePoseSupernet, teacher: Teacher, batch: Batch, plan: StepPlan, steps: Any
) -> None:
    arch = supernet.space.smallest().with_image_size(32)
    network = extract_subnet(supernet, arch)
    phase = Phase("finetune", 2, WarmupCosine(0.1), rule="largest", teacher="external")
    plan = dataclasses.replace(SubnetPlan(arch, phase)(0), progress=plan.progress)
    expected = copy.deepcopy(network)
    gradient, _, loss = steps.gradients(expected, batch, arch, teacher(batch))
    steps.descend(expected, gradient)
    result = steps.run(network, batch, plan, teacher=teacher)
    assert_same_weights(network, expected)
    assert result.losses == {"subnet": pytest.approx(loss, rel=1e-10)}


def test_an_update_is_clipped(supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, steps: Any) -> None:
    before = steps.weights_of(supernet)
    steps.run(
        supernet, batch, plan, update="per_sandwich", optimizer=SGD(supernet.parameters(), lr=0.1), clip_norm=1e-3
    )
    torch.testing.assert_close(steps.moves(supernet, before).norm().item(), 1e-4, rtol=1e-3, atol=0)


def test_a_step_leaves_no_gradient_and_its_teacher_as_it_was(
    supernet: LitePoseSupernet, teacher: Teacher, batch: Batch, steps: Any
) -> None:
    before = copy.deepcopy(teacher.model.state_dict())
    steps.run(supernet, batch, steps.plan(teacher="external"), teacher=teacher)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert all(parameter.grad is None for parameter in teacher.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())


class Saved:
    """A tensor that a backward pass waits for."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_subnet_runs_when_nothing_is_left_of_the_graph_before(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, accumulation: int, update: Update, steps: Any
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
        steps.run(supernet, batch, plan, accumulation=accumulation, update=update)
    assert at_start == [0] * 4 * accumulation
    assert min(most) > 50
    assert not alive
