"""Updates of a step against gradients that are worked out one by one."""

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from litepose_ofa.supernet.data.loading import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import Heads
from litepose_ofa.supernet.training.recipe import (
    Phase,
    StepPlan,
    SubnetPlan,
    SupernetPlan,
    TeacherKind,
    Update,
    WarmupCosine,
)
from litepose_ofa.supernet.training.step import StepResult
from litepose_ofa.supernet.training.teacher import Teacher

MakePlan = Callable[..., SupernetPlan]
TEACHERS: list[TeacherKind] = ["none", "largest", "external"]
Descend = Callable[[nn.Module, list[Tensor]], None]
Gradients = Callable[..., tuple[list[Tensor], Heads, float]]
Moves = Callable[[nn.Module, list[Tensor]], Tensor]
RunStep = Callable[..., StepResult]
WeightsOf = Callable[[nn.Module], list[Tensor]]


def mean(groups: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(same).mean(dim=0) for same in zip(*groups, strict=True)]


def assert_same_weights(ours: nn.Module, theirs: nn.Module, *, rtol: float = 1e-10) -> None:
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def of_first(kind: TeacherKind, teacher: Teacher, batch: Batch) -> Heads | None:
    """What the first subnet learns from: the teacher, if it is not to teach itself."""
    return teacher(batch) if kind in ("frozen", "external") else None


@pytest.mark.parametrize("update", ["per_sandwich", "per_subnet"])
@pytest.mark.parametrize("kind", TEACHERS)
def test_an_update_is_one_by_the_mean_gradient_or_one_after_each_subnet(
    supernet: LitePoseSupernet,
    teacher: Teacher,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    kind: TeacherKind,
    update: Update,
    gradients: Gradients,
    descend: Descend,
    run_step: RunStep,
) -> None:
    plan = make_step_plan(teacher=kind)
    expected, soft = copy.deepcopy(supernet), of_first(kind, teacher, batch)
    found, losses = [], []
    for arch in plan.subnets.values():
        gradient, heads, loss = gradients(expected, batch, arch, soft)
        soft = heads if kind == "largest" and soft is None else soft
        found.append(gradient)
        losses.append(loss)
        if update == "per_subnet":
            descend(expected, gradient)
    if update == "per_sandwich":
        descend(expected, mean(found))
    given = teacher if kind in ("frozen", "external") else None
    result = run_step(supernet, batch, plan, update=update, teacher=given)
    assert_same_weights(supernet, expected)
    assert list(result.losses) == list(plan.subnets) == ["largest", "smallest", "random0", "random1"]
    assert list(result.losses.values()) == pytest.approx(losses, rel=1e-10)
    assert result.skipped is None


def test_one_network_is_trained_by_its_own_gradient(
    supernet: LitePoseSupernet,
    teacher: Teacher,
    batch: Batch,
    plan: StepPlan,
    gradients: Gradients,
    descend: Descend,
    run_step: RunStep,
) -> None:
    arch = supernet.space.smallest().with_image_size(32)
    network = extract_subnet(supernet, arch)
    phase = Phase("finetune", 2, WarmupCosine(0.1), rule="largest", teacher="external")
    plan = dataclasses.replace(SubnetPlan(arch, phase)(0), progress=plan.progress)
    expected = copy.deepcopy(network)
    gradient, _, loss = gradients(expected, batch, arch, teacher(batch))
    descend(expected, gradient)
    result = run_step(network, batch, plan, teacher=teacher)
    assert_same_weights(network, expected)
    assert result.losses == {"subnet": pytest.approx(loss, rel=1e-10)}


@pytest.mark.parametrize("kind", ["largest", "external"])
def test_accumulation_is_the_mean_over_parts_each_with_its_own_statistics(
    supernet: LitePoseSupernet,
    teacher: Teacher,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    kind: TeacherKind,
    gradients: Gradients,
    descend: Descend,
    run_step: RunStep,
) -> None:
    plan = make_step_plan(teacher=kind)
    expected = copy.deepcopy(supernet)
    found, losses = [], dict.fromkeys(plan.subnets, 0.0)
    for part in batch.split(2):
        soft = of_first(kind, teacher, part)
        for name, arch in plan.subnets.items():
            gradient, heads, loss = gradients(expected, part, arch, soft)
            soft = heads if kind == "largest" and soft is None else soft
            found.append(gradient)
            losses[name] += loss / 2
    descend(expected, mean(found))
    given = teacher if kind == "external" else None
    result = run_step(supernet, batch, plan, update="per_sandwich", accumulation=2, teacher=given)
    assert_same_weights(supernet, expected)
    assert result.losses == pytest.approx(losses, rel=1e-10)


def test_an_update_is_clipped(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, run_step: RunStep, weights_of: WeightsOf, moves: Moves
) -> None:
    before = weights_of(supernet)
    run_step(supernet, batch, plan, update="per_sandwich", optimizer=SGD(supernet.parameters(), lr=0.1), clip_norm=1e-3)
    torch.testing.assert_close(moves(supernet, before).norm().item(), 1e-4, rtol=1e-3, atol=0)
