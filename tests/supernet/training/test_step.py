"""Steps against gradients worked out one by one, in 16 bits too; what is not finite changes nothing; the average."""

import copy
import dataclasses
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import Heads, LitePose, PoseNetwork
from litepose_ofa.supernet.training.distributed import SINGLE
from litepose_ofa.supernet.training.objective import LossSettings, make_targets, pose_loss
from litepose_ofa.supernet.training.recipe import (
    Phase,
    StepPlan,
    SubnetPlan,
    SupernetPlan,
    TeacherKind,
    TrainingSettings,
    Update,
    WarmupCosine,
)
from litepose_ofa.supernet.training.step import StepResult, WeightUpdate, make_average, make_optimizer, train_on_batch
from litepose_ofa.supernet.training.teacher import Teacher

TEACHERS: list[TeacherKind] = ["none", "largest", "external"]
LOSS = LossSettings(foreground_weight=5.0, guide_weight=0.02, distillation_weight=0.3)
RATE = 0.05
PROGRESS = 0.5
Weights = dict[str, Tensor]
PlanStep = Callable[..., StepPlan]


@pytest.fixture
def supernet(make_supernet: Callable[[], LitePoseSupernet]) -> LitePoseSupernet:
    """In float64, so that orders of summation do not matter."""
    return make_supernet().double().train()


@pytest.fixture
def teacher(make_supernet: Callable[[], LitePoseSupernet], randomise: Callable[..., Any]) -> Teacher:
    other = randomise(make_supernet(), 1).double()
    return Teacher(extract_subnet(other, other.space.largest()), image_size=None)


@pytest.fixture
def batch(batch_of: Callable[[int, int], Batch]) -> Batch:
    """Four images of 32 x 32, in float64."""
    one = batch_of(4, 32)
    return dataclasses.replace(one, **{name: getattr(one, name).double() for name in ("images", "keypoints", "mask")})


@pytest.fixture
def plan_step(make_plan: Callable[..., SupernetPlan]) -> PlanStep:
    """Plan a step half-way through; by default of four subnets, so that every share of a loss is a power of two."""

    def plan(**changes: Any) -> StepPlan:
        return dataclasses.replace(make_plan(**{"steps": 100, "num_random": 2} | changes)(0), progress=PROGRESS)

    return plan


@pytest.fixture
def plan(plan_step: PlanStep) -> StepPlan:
    return plan_step()


def run(
    model: PoseNetwork,
    batch: Batch,
    plan: StepPlan,
    *,
    optimizer: Optimizer | None = None,
    clip_norm: float = math.inf,
    scaler: torch.amp.GradScaler | None = None,
    teacher: Teacher | None = None,
    **changes: Any,
) -> StepResult:
    """Run one step, by default of plain gradient descent."""
    optimizer = optimizer or SGD(model.parameters(), lr=RATE)
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    update = WeightUpdate(model, optimizer, clip_norm=clip_norm, scaler=scaler, process=SINGLE)
    settings = TrainingSettings(**{"batch_size": len(batch.images), "loss": LOSS} | changes)
    return train_on_batch(model, batch, plan, update, settings, teacher=teacher)


def gradients(model: PoseNetwork, batch: Batch, arch: Arch, teacher: Heads | None) -> tuple[list[Tensor], Heads, float]:
    """Gradient of one subnet's loss for every parameter, zeros where it has none; its outputs; its loss."""
    head0, head1 = model(batch.images, arch) if isinstance(model, LitePoseSupernet) else model(batch.images)
    heads = head0.float(), head1.float()
    loss, _ = pose_loss(heads, make_targets(batch, LOSS), LOSS, progress=PROGRESS, teacher=teacher)
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return list(found), (heads[0].detach(), heads[1].detach()), loss.item()


@torch.no_grad()
def descend(model: nn.Module, of_parameters: list[Tensor]) -> None:
    for parameter, gradient in zip(model.parameters(), of_parameters, strict=True):
        parameter -= RATE * gradient


def copied(model: nn.Module) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}


def moves(model: nn.Module, before: Weights) -> Tensor:
    return torch.cat([(value.detach() - before[name]).flatten() for name, value in model.named_parameters()])


def assert_same_bits(ours: Weights, theirs: Weights) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value.view(-1).view(torch.uint8), theirs[name].view(-1).view(torch.uint8)), name


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
    plan_step: PlanStep,
) -> None:
    plan, parts, expected = plan_step(teacher=kind), batch.split(accumulation), copy.deepcopy(supernet)
    soft: list[Heads | None] = [teacher(part) if kind == "external" else None for part in parts]
    found: list[list[Tensor]] = []
    losses = dict.fromkeys(plan.subnets, 0.0)
    for name, arch in plan.subnets.items():
        for i, part in enumerate(parts):
            gradient, heads, loss = gradients(expected, part, arch, soft[i])
            soft[i] = heads if kind == "largest" and soft[i] is None else soft[i]
            found.append(gradient)
            losses[name] += loss / accumulation
        if update == "per_subnet":
            descend(expected, mean(found))
            found = []
    if update == "per_sandwich":
        descend(expected, mean(found))
    given = {"teacher": teacher} if kind == "external" else {}
    result = run(supernet, batch, plan, update=update, accumulation=accumulation, **given)
    assert_same_weights(supernet, expected)
    assert list(result.losses) == ["largest", "smallest", "random0", "random1"]
    assert result.losses == pytest.approx(losses, rel=1e-8)
    assert result.skipped is None


def test_one_network_is_trained_by_its_own_gradient(
    supernet: LitePoseSupernet, teacher: Teacher, batch: Batch, plan: StepPlan
) -> None:
    arch = supernet.space.smallest().with_image_size(32)
    network = extract_subnet(supernet, arch)
    phase = Phase("finetune", 2, WarmupCosine(0.1), rule="largest", teacher="external")
    plan = dataclasses.replace(SubnetPlan(arch, phase)(0), progress=plan.progress)
    expected = copy.deepcopy(network)
    gradient, _, loss = gradients(expected, batch, arch, teacher(batch))
    descend(expected, gradient)
    result = run(network, batch, plan, teacher=teacher)
    assert_same_weights(network, expected)
    assert result.losses == {"subnet": pytest.approx(loss, rel=1e-10)}


def test_an_update_is_clipped(supernet: LitePoseSupernet, batch: Batch, plan: StepPlan) -> None:
    before = copied(supernet)
    run(supernet, batch, plan, update="per_sandwich", clip_norm=1e-3)
    assert moves(supernet, before).norm().item() == pytest.approx(RATE * 1e-3, rel=1e-3)


@dataclasses.dataclass(eq=False)
class Saved:
    """A tensor that a backward pass waits for."""

    tensor: Tensor


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_subnet_runs_when_nothing_is_left_of_the_graph_before(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, update: Update
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
        run(supernet, batch, plan, accumulation=2, update=update)
    assert at_start == [0] * 8
    assert min(most) > 50
    assert not alive


def snapshot(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Every weight, statistic and moment, copied."""
    states = optimizer.state_dict()["state"].items()
    moments = {f"{i}.{name}": torch.as_tensor(v).clone() for i, state in states for name, v in state.items()}
    return copied(model) | moments


@pytest.mark.parametrize(("value", "accumulation"), [(math.nan, 1), (math.inf, 2)])
@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_bad_image_changes_no_weight_no_moment_and_no_statistic(
    supernet: LitePoseSupernet, batch: Batch, update: Update, value: float, accumulation: int, plan_step: PlanStep
) -> None:
    plan = plan_step(num_random=0)
    optimizer = make_optimizer("adamw", supernet, weight_decay=0.01)
    for group in optimizer.param_groups:
        group["lr"] = 0.001
    run(supernet, batch, plan, optimizer=optimizer, clip_norm=5.0, update=update)
    before = snapshot(supernet, optimizer)
    assert len(before) > 2 * len(supernet.state_dict()), "moments"
    spoiled = dataclasses.replace(batch, images=batch.images.clone())
    spoiled.images[2, 1, 7, 9] = value
    changes: dict[str, Any] = {"clip_norm": 5.0, "update": update, "accumulation": accumulation}
    result = run(supernet, spoiled, plan, optimizer=optimizer, **changes)
    assert result.skipped in plan.subnets
    assert not math.isfinite(result.losses["largest"])
    assert_same_bits(snapshot(supernet, optimizer), before)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert run(supernet, batch, plan, optimizer=optimizer, **changes).skipped is None


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_bad_subnet_undoes_a_sandwich_but_no_earlier_update(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, update: Update, plan_step: PlanStep
) -> None:
    for name, parameter in supernet.named_parameters():
        if name.endswith("matrix_7to5"):  # every subnet but the largest fails: it alone never crops a kernel
            parameter.data.fill_(math.nan)
    expected, before = copy.deepcopy(supernet), copied(supernet)
    if update == "per_subnet":
        run(expected, batch, plan_step(rule="largest", teacher="none"))
        assert not torch.equal(expected.state_dict()["first.3.running_mean"], before["first.3.running_mean"])
    result = run(supernet, batch, plan, update=update)
    assert result.skipped == "smallest"
    assert math.isfinite(result.losses["largest"])
    assert not math.isfinite(result.losses["smallest"])
    assert_same_bits(dict(supernet.named_parameters()), dict(expected.named_parameters()))
    buffers = dict(supernet.named_buffers())
    assert_same_bits(buffers, {name: before[name] for name in buffers})


@pytest.mark.parametrize(("precision", "clip_norm"), [("bfloat16", math.inf), ("float16", 1.0)])
def test_products_in_16_bits_give_float32_gradients_close_to_float32_s(
    supernet: LitePoseSupernet,
    batch_of: Callable[[int, int], Batch],
    precision: str,
    clip_norm: float,
    plan_step: PlanStep,
) -> None:
    """A scale of the loss is gone again before gradients are clipped."""
    exact, batch, before = copy.deepcopy(supernet.float()), batch_of(4, 32), copied(supernet)
    types = set()
    for parameter in supernet.parameters():
        parameter.register_post_accumulate_grad_hook(lambda tensor: types.add(tensor.grad.dtype))
    seen: list[torch.dtype] = []
    supernet.register_forward_hook(lambda module, arguments, heads: seen.append(heads[0].dtype))
    plan = plan_step(rule="largest", teacher="none")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=precision == "float16")
    result = run(supernet, batch, plan, precision=precision, scaler=scaler, clip_norm=clip_norm)
    reference = run(exact, batch, plan, clip_norm=clip_norm)
    assert seen == [getattr(torch, precision)]
    assert types == {torch.float32}
    assert result.losses["largest"] == pytest.approx(reference.losses["largest"], rel=0.02)
    ours, theirs = moves(supernet, before), moves(exact, before)
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.99
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.05)


def test_a_float16_overflow_is_skipped_and_lowers_the_scale(
    supernet: LitePoseSupernet, batch_of: Callable[[int, int], Batch], plan_step: PlanStep
) -> None:
    before = copied(supernet.float())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    result = run(supernet, batch_of(4, 32), plan_step(num_random=0), precision="float16", scaler=scaler)
    assert result.skipped == "largest"
    assert math.isfinite(result.losses["largest"])
    assert_same_bits(supernet.state_dict(), before)
    assert scaler.get_scale() == 2.0**59


@pytest.mark.parametrize("static", [False, True])
def test_norms_and_kernel_matrices_do_not_decay(supernet: LitePoseSupernet, static: bool) -> None:
    network = LitePose(supernet.space.smallest()) if static else supernet
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = make_optimizer("adamw", network, weight_decay=0.03).param_groups
    found = [(names[id(parameter)], group["weight_decay"]) for group in groups for parameter in group["params"]]
    matrices = {name for name in names.values() if ".matrix_" in name}
    assert len(matrices) == (0 if static else 16)
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    free = {f"{norm}.{name}" for norm in norms for name in ("weight", "bias")} | matrices
    assert sorted(found) == sorted((name, 0.0 if name in free else 0.03) for name in names.values())


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9998])
@torch.no_grad()
def test_the_average_by_its_definition(decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(3, 2, bias=False).double()
    average = make_average(layer, decay)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for n in range(40):
        layer.weight.copy_(torch.randn(2, 3, generator=generator, dtype=torch.float64))
        average.update_parameters(layer)
        kept = min(decay, (1 + n) / (10 + n)) if n else 0
        expected = kept * expected + (1 - kept) * layer.weight
        torch.testing.assert_close(average.module.weight.detach(), expected, rtol=1e-12, atol=1e-14)


def test_statistics_are_the_model_s_latest(supernet: LitePoseSupernet) -> None:
    average = make_average(supernet, 0.9)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    for _ in range(3):
        supernet(images, supernet.space.largest())
        average.update_parameters(supernet)
    for (name, ours), theirs in zip(average.module.named_buffers(), supernet.buffers(), strict=True):
        assert torch.equal(ours, theirs), name
        assert "running" not in name or not torch.equal(ours, torch.full_like(ours, float("var" in name))), "moved"
    assert not {id(value) for value in average.module.buffers()} & {id(value) for value in supernet.buffers()}
