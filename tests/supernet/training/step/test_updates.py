"""Updates of a step against gradients that are worked out one by one; those that are not finite change nothing."""

import copy
import dataclasses
import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import Heads
from litepose_ofa.supernet.training.recipe import Phase, StepPlan, SubnetPlan, TeacherKind, Update, WarmupCosine
from litepose_ofa.supernet.training.step import make_optimizer
from litepose_ofa.supernet.training.teacher import Teacher

TEACHERS: list[TeacherKind] = ["none", "largest", "external"]


def mean(groups: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(same).mean(dim=0) for same in zip(*groups, strict=True)]


def assert_same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


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
    soft: list[Heads | None] = [teacher(part) if kind == "external" else None for part in parts]
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
    steps.run(supernet, batch, plan, update="per_sandwich", clip_norm=1e-3)
    assert steps.moves(supernet, before).norm().item() == pytest.approx(steps.rate * 1e-3, rel=1e-3)


@dataclasses.dataclass(eq=False)
class Saved:
    """A tensor that a backward pass waits for."""

    tensor: Tensor


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_subnet_runs_when_nothing_is_left_of_the_graph_before(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, update: Update, steps: Any
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
        steps.run(supernet, batch, plan, accumulation=2, update=update)
    assert at_start == [0] * 8
    assert min(most) > 50
    assert not alive


def snapshot(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Every weight, statistic and moment, copied."""
    moments = {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    return {name: torch.as_tensor(value).clone() for name, value in (model.state_dict() | moments).items()}


@pytest.mark.parametrize(("value", "accumulation"), [(math.nan, 1), (math.inf, 2)])
@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_bad_image_changes_no_weight_no_moment_and_no_statistic(
    supernet: LitePoseSupernet, batch: Batch, update: Update, value: float, accumulation: int, steps: Any
) -> None:
    plan = steps.plan(num_random=0)
    optimizer = make_optimizer("adamw", supernet, weight_decay=0.01)
    for group in optimizer.param_groups:
        group["lr"] = 0.001
    steps.run(supernet, batch, plan, optimizer=optimizer, clip_norm=5.0, update=update)
    before = snapshot(supernet, optimizer)
    assert len(before) > 2 * len(supernet.state_dict()), "weights and moments"
    images = batch.images.clone()
    images[2, 1, 7, 9] = value
    spoiled = dataclasses.replace(batch, images=images)
    changes: dict[str, Any] = {"clip_norm": 5.0, "update": update, "accumulation": accumulation}
    result = steps.run(supernet, spoiled, plan, optimizer=optimizer, **changes)
    assert result.skipped in plan.subnets
    assert not math.isfinite(result.losses["largest"])
    steps.assert_same_bits(snapshot(supernet, optimizer), before)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert steps.run(supernet, batch, plan, optimizer=optimizer, **changes).skipped is None


def spoil_small_kernels(supernet: LitePoseSupernet) -> None:
    """Make every subnet but the largest fail: it alone never crops a kernel."""
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if name.endswith("matrix_7to5"):
                parameter.fill_(math.nan)


def test_earlier_updates_of_a_skipped_step_remain_and_statistics_go_back(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, steps: Any
) -> None:
    spoil_small_kernels(supernet)
    expected = copy.deepcopy(supernet)
    before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    steps.run(expected, batch, steps.plan(rule="largest", teacher="none"))
    result = steps.run(supernet, batch, plan, update="per_subnet")
    assert result.skipped == "smallest"
    assert list(result.losses) == ["largest", "smallest"]
    steps.assert_same_bits(dict(supernet.named_parameters()), dict(expected.named_parameters()))
    steps.assert_same_bits(dict(supernet.named_buffers()), before)
    assert not torch.equal(expected.state_dict()["first.3.running_mean"], before["first.3.running_mean"])


def test_a_sandwich_with_one_bad_subnet_is_skipped_as_a_whole(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, steps: Any
) -> None:
    spoil_small_kernels(supernet)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    result = steps.run(supernet, batch, plan, update="per_sandwich")
    assert result.skipped is not None
    assert math.isfinite(result.losses["largest"])
    assert not math.isfinite(result.losses["smallest"])
    steps.assert_same_bits(supernet.state_dict(), before)
