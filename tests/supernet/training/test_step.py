"""A training step against gradients and updates that are worked out one by one."""

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

from supernet.arch import Arch
from supernet.data.loading import Batch
from supernet.elastic_litepose import LitePoseSupernet
from supernet.extract import extract_subnet
from supernet.litepose import Heads
from supernet.training.distributed import SINGLE
from supernet.training.objective import LossSettings, make_targets, pose_loss
from supernet.training.optimizers import make_optimizer
from supernet.training.recipe import Phase, StepPlan, SubnetPlan, SupernetPlan, TeacherKind, WarmupCosine
from supernet.training.settings import TrainingSettings, Update
from supernet.training.step import PoseNetwork, StepResult, WeightUpdate, train_on_batch
from supernet.training.teacher import Teacher

LOSS = LossSettings(foreground_weight=5.0, guide_weight=0.02, distillation_weight=0.3)
RATE = 0.05
PROGRESS = 0.5
MakePlan = Callable[..., SupernetPlan]


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
    plain = batch_of(4, 32)
    return dataclasses.replace(
        plain, images=plain.images.double(), keypoints=plain.keypoints.double(), mask=plain.mask.double()
    )


@pytest.fixture
def make_step_plan(make_plan: MakePlan) -> Callable[..., StepPlan]:
    """A step's plan, half-way through; by default of four subnets, so that every share of a loss is a power of two."""

    def make(number: int = 0, **changes: Any) -> StepPlan:
        planned = make_plan(**{"steps": 100, "num_random": 2} | changes)(number)
        return dataclasses.replace(planned, progress=PROGRESS)

    return make


@pytest.fixture
def plan(make_step_plan: Callable[..., StepPlan]) -> StepPlan:
    return make_step_plan()


def run_step(
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


def descend(model: nn.Module, of_parameters: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), of_parameters, strict=True):
            parameter -= RATE * gradient


def mean(groups: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(same).mean(dim=0) for same in zip(*groups, strict=True)]


def moves(model: nn.Module, before: list[Tensor]) -> Tensor:
    return torch.cat([(a.detach() - b).flatten() for a, b in zip(model.parameters(), before, strict=True)])


def weights_of(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def assert_same_weights(ours: nn.Module, theirs: nn.Module, *, rtol: float = 1e-10) -> None:
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


TEACHERS: list[TeacherKind] = ["none", "largest", "external"]


def of_first(kind: TeacherKind, teacher: Teacher, batch: Batch) -> Heads | None:
    """What the first subnet learns from: the teacher, if it is not to teach itself."""
    return teacher(batch) if kind in ("frozen", "external") else None


@pytest.mark.parametrize("kind", TEACHERS)
def test_per_sandwich_is_one_update_by_the_mean_gradient(
    supernet: LitePoseSupernet,
    teacher: Teacher,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    kind: TeacherKind,
) -> None:
    plan = make_step_plan(teacher=kind)
    expected, soft = copy.deepcopy(supernet), of_first(kind, teacher, batch)
    found, losses = [], []
    for arch in plan.subnets.values():
        gradient, heads, loss = gradients(expected, batch, arch, soft)
        soft = heads if kind == "largest" and soft is None else soft
        found.append(gradient)
        losses.append(loss)
    descend(expected, mean(found))
    given = teacher if kind in ("frozen", "external") else None
    result = run_step(supernet, batch, plan, update="per_sandwich", teacher=given)
    assert_same_weights(supernet, expected)
    assert list(result.losses) == list(plan.subnets) == ["largest", "smallest", "random0", "random1"]
    assert list(result.losses.values()) == pytest.approx(losses, rel=1e-10)
    assert result.skipped is None


@pytest.mark.parametrize("kind", TEACHERS)
def test_per_subnet_is_an_update_after_each(
    supernet: LitePoseSupernet,
    teacher: Teacher,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    kind: TeacherKind,
) -> None:
    plan = make_step_plan(teacher=kind)
    expected, soft = copy.deepcopy(supernet), of_first(kind, teacher, batch)
    losses = []
    for arch in plan.subnets.values():
        gradient, heads, loss = gradients(expected, batch, arch, soft)
        soft = heads if kind == "largest" and soft is None else soft
        losses.append(loss)
        descend(expected, gradient)
    given = teacher if kind in ("frozen", "external") else None
    result = run_step(supernet, batch, plan, update="per_subnet", teacher=given)
    assert_same_weights(supernet, expected)
    assert list(result.losses.values()) == pytest.approx(losses, rel=1e-10)


def test_one_network_is_trained_by_its_own_gradient(supernet: LitePoseSupernet, teacher: Teacher, batch: Batch) -> None:
    arch = supernet.space.smallest().with_image_size(32)
    network = extract_subnet(supernet, arch)
    phase = Phase("finetune", 2, WarmupCosine(0.1), rule="largest", teacher="external")
    plan = dataclasses.replace(SubnetPlan(arch, phase)(0), progress=PROGRESS)
    expected = copy.deepcopy(network)
    gradient, _, loss = gradients(expected, batch, arch, teacher(batch))
    descend(expected, gradient)
    result = run_step(network, batch, plan, teacher=teacher)
    assert_same_weights(network, expected)
    assert result.losses == {"subnet": pytest.approx(loss, rel=1e-10)}


@pytest.mark.parametrize("kind", [*TEACHERS, "frozen"])
def test_the_first_subnet_s_parts_tell_whether_it_has_a_teacher(
    supernet: LitePoseSupernet,
    teacher: Teacher,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    kind: TeacherKind,
) -> None:
    given = teacher if kind in ("frozen", "external") else None
    result = run_step(supernet, batch, make_step_plan(teacher=kind, num_random=0), teacher=given)
    distilled = {"distillation"} if given else set()
    assert result.parts.keys() == {"heatmap", "push", "pull", "guide"} | distilled
    assert all(math.isfinite(value) for value in (*result.losses.values(), *result.parts.values()))


def test_a_step_leaves_no_gradient_and_its_teacher_as_it_was(
    supernet: LitePoseSupernet, teacher: Teacher, batch: Batch, make_step_plan: Callable[..., StepPlan]
) -> None:
    before = copy.deepcopy(teacher.model.state_dict())
    run_step(supernet, batch, make_step_plan(teacher="external"), teacher=teacher)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert all(parameter.grad is None for parameter in teacher.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())


def test_students_do_not_train_their_teacher(
    supernet: LitePoseSupernet, batch: Batch, make_step_plan: Callable[..., StepPlan]
) -> None:
    """Blocks that the student drops move by the teacher's own gradient, halved because there are two subnets."""
    alone = copy.deepcopy(supernet)
    before = copy.deepcopy(supernet.state_dict())
    run_step(alone, batch, make_step_plan(rule="largest", teacher="none"), update="per_sandwich")
    run_step(supernet, batch, make_step_plan(num_random=0), update="per_sandwich")
    dropped = [
        name for name, _ in supernet.named_parameters() if name.startswith("stage.") and name.split(".")[2] == "1"
    ]
    moved = 0
    for name in dropped:
        ours = supernet.get_parameter(name) - before[name]
        theirs = alone.get_parameter(name) - before[name]
        torch.testing.assert_close(2 * ours, theirs, rtol=1e-9, atol=1e-13)
        moved += int(theirs.count_nonzero())
    assert moved > 0


@pytest.mark.parametrize("kind", ["largest", "external"])
def test_accumulation_is_the_mean_over_parts_each_with_its_own_statistics(
    supernet: LitePoseSupernet,
    teacher: Teacher,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    kind: TeacherKind,
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


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_with_fixed_statistics_accumulation_changes_nothing(
    supernet: LitePoseSupernet, randomise: Callable[..., Any], batch: Batch, plan: StepPlan, update: Update
) -> None:
    whole = randomise(supernet, 3).eval()
    parts = copy.deepcopy(whole)
    before = weights_of(whole)
    in_one = run_step(whole, batch, plan, update=update)
    in_four = run_step(parts, batch, plan, update=update, accumulation=4)
    assert in_four.losses == pytest.approx(in_one.losses, rel=1e-6)
    assert in_four.parts == pytest.approx(in_one.parts, rel=1e-6)
    ours, theirs = moves(parts, before), moves(whole, before)
    assert (ours - theirs).norm() < 1e-6 * theirs.norm()


def snapshot(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Every weight, statistic and moment, copied."""
    moments = {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    return {name: torch.as_tensor(value).clone() for name, value in (model.state_dict() | moments).items()}


def assert_same_bits(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value.view(-1).view(torch.uint8), theirs[name].view(-1).view(torch.uint8)), name


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_bad_image_changes_no_weight_no_moment_and_no_statistic(
    supernet: LitePoseSupernet,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    update: Update,
    value: float,
    accumulation: int,
) -> None:
    plan = make_step_plan(num_random=0)
    optimizer = make_optimizer("adamw", supernet, weight_decay=0.01)
    for group in optimizer.param_groups:
        group["lr"] = 0.001
    run_step(supernet, batch, plan, optimizer=optimizer, clip_norm=5.0, update=update)
    before = snapshot(supernet, optimizer)
    assert len(before) > 2 * len(supernet.state_dict()), "weights and moments"
    images = batch.images.clone()
    images[2, 1, 7, 9] = value
    spoiled = dataclasses.replace(batch, images=images)
    changes: dict[str, Any] = {"clip_norm": 5.0, "update": update, "accumulation": accumulation}
    result = run_step(supernet, spoiled, plan, optimizer=optimizer, **changes)
    assert result.skipped in plan.subnets
    assert not math.isfinite(result.losses["largest"])
    assert_same_bits(snapshot(supernet, optimizer), before)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert run_step(supernet, batch, plan, optimizer=optimizer, **changes).skipped is None


def spoil_small_kernels(supernet: LitePoseSupernet) -> None:
    """Make every subnet but the largest fail: it alone never crops a kernel."""
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if name.endswith("matrix_7to5"):
                parameter.fill_(math.nan)


def test_earlier_updates_of_a_skipped_step_remain_and_statistics_go_back(
    supernet: LitePoseSupernet, batch: Batch, make_step_plan: Callable[..., StepPlan], plan: StepPlan
) -> None:
    spoil_small_kernels(supernet)
    expected = copy.deepcopy(supernet)
    before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    run_step(expected, batch, make_step_plan(rule="largest", teacher="none"))
    result = run_step(supernet, batch, plan, update="per_subnet")
    assert result.skipped == "smallest"
    assert list(result.losses) == ["largest", "smallest"]
    assert_same_bits(dict(supernet.named_parameters()), dict(expected.named_parameters()))
    assert_same_bits(dict(supernet.named_buffers()), before)
    assert not torch.equal(expected.state_dict()["first.3.running_mean"], before["first.3.running_mean"])


def test_a_sandwich_with_one_bad_subnet_is_skipped_as_a_whole(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan
) -> None:
    spoil_small_kernels(supernet)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    result = run_step(supernet, batch, plan, update="per_sandwich")
    assert result.skipped is not None
    assert math.isfinite(result.losses["largest"])
    assert not math.isfinite(result.losses["smallest"])
    assert_same_bits(supernet.state_dict(), before)


def test_an_update_is_clipped(supernet: LitePoseSupernet, batch: Batch, plan: StepPlan) -> None:
    before = weights_of(supernet)
    run_step(supernet, batch, plan, update="per_sandwich", clip_norm=1e-3)
    torch.testing.assert_close(moves(supernet, before).norm().item(), RATE * 1e-3, rtol=1e-3, atol=0)


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_every_parameter_is_trained(
    supernet: LitePoseSupernet, batch: Batch, make_step_plan: Callable[..., StepPlan], update: Update
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
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, accumulation: int, update: Update
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


def in_float32(supernet: LitePoseSupernet, batch: Batch) -> tuple[LitePoseSupernet, Batch]:
    plain = dataclasses.replace(
        batch, images=batch.images.float(), keypoints=batch.keypoints.float(), mask=batch.mask.float()
    )
    return supernet.float(), plain


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_bfloat16_products_give_float32_gradients_close_to_float32_s(
    supernet: LitePoseSupernet, batch: Batch, make_step_plan: Callable[..., StepPlan]
) -> None:
    supernet, batch = in_float32(supernet, batch)
    exact, before = copy.deepcopy(supernet), weights_of(supernet)
    types = set()
    for parameter in supernet.parameters():
        parameter.register_post_accumulate_grad_hook(lambda tensor: types.add(tensor.grad.dtype))
    seen: list[torch.dtype] = []
    supernet.register_forward_hook(lambda module, arguments, heads: seen.append(heads[0].dtype))
    plan = make_step_plan(rule="largest", teacher="none")
    result = run_step(supernet, batch, plan, precision="bfloat16")
    reference = run_step(exact, batch, plan)
    assert seen == [torch.bfloat16]
    assert types == {torch.float32}
    assert result.losses["largest"] == pytest.approx(reference.losses["largest"], rel=0.02)
    ours, theirs = moves(supernet, before), moves(exact, before)
    assert cosine(ours, theirs) > 0.99
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.05)


@pytest.fixture
def needs_float16() -> None:
    try:
        with torch.autocast("cpu", dtype=torch.float16):
            layer = nn.Conv2d(8, 8, 3, groups=8)
            layer(torch.ones(1, 8, 4, 4)).sum().backward()
    except RuntimeError as error:
        pytest.skip(f"this CPU has no float16 convolution ({error})")


@pytest.mark.usefixtures("needs_float16")
def test_float16_gradients_are_scaled_and_unscaled(
    supernet: LitePoseSupernet, batch: Batch, make_step_plan: Callable[..., StepPlan]
) -> None:
    supernet, batch = in_float32(supernet, batch)
    exact, before = copy.deepcopy(supernet), weights_of(supernet)
    plan = make_step_plan(num_random=0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    run_step(supernet, batch, plan, update="per_sandwich", precision="float16", scaler=scaler, clip_norm=1.0)
    run_step(exact, batch, plan, update="per_sandwich", clip_norm=1.0)
    ours, theirs = moves(supernet, before), moves(exact, before)
    assert cosine(ours, theirs) > 0.99
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.02)
    assert scaler.get_scale() == 2.0**10


@pytest.mark.usefixtures("needs_float16")
def test_a_float16_overflow_is_skipped_and_lowers_the_scale(
    supernet: LitePoseSupernet, batch: Batch, make_step_plan: Callable[..., StepPlan]
) -> None:
    supernet, batch = in_float32(supernet, batch)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    result = run_step(supernet, batch, make_step_plan(num_random=0), precision="float16", scaler=scaler)
    assert result.skipped == "largest"
    assert math.isfinite(result.losses["largest"])
    assert_same_bits(supernet.state_dict(), before)
    assert scaler.get_scale() == 2.0**59
