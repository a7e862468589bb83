"""A sandwich step against gradients and updates that are worked out one by one."""

import copy
import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from supernet.arch import Arch
from supernet.data.loading import Batch
from supernet.elastic_litepose import LitePoseSupernet
from supernet.litepose import Heads
from supernet.training.objective import LossSettings, make_targets, pose_loss
from supernet.training.sandwich import NonFiniteGradientError, StepResult, Update, parameter_groups, sandwich_step
from supernet.training.schedule import sandwich_archs

SETTINGS = LossSettings(foreground_weight=5.0, guide_weight=0.02, distillation_weight=0.3)
RATE = 0.05


@pytest.fixture
def supernet(make_supernet: Callable[[], LitePoseSupernet]) -> LitePoseSupernet:
    """In float64, so that orders of summation do not matter."""
    return make_supernet().double().train()


@pytest.fixture
def batch(batch_of: Callable[[int, int], Batch]) -> Batch:
    plain = batch_of(3, 32)
    return dataclasses.replace(
        plain, images=plain.images.double(), keypoints=plain.keypoints.double(), mask=plain.mask.double()
    )


@pytest.fixture
def archs(supernet: LitePoseSupernet) -> list[Arch]:
    return sandwich_archs(supernet.space, num_random=1, seed=0, step=0)


def step(
    supernet: LitePoseSupernet, batch: Batch, archs: list[Arch], *, update: Update, clip_norm: float = math.inf
) -> StepResult:
    optimizer = SGD(supernet.parameters(), lr=RATE)
    return sandwich_step(
        supernet, batch, archs, optimizer, settings=SETTINGS, progress=0.5, update=update, clip_norm=clip_norm
    )


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_gradient_that_is_not_finite_changes_no_weight(
    supernet: LitePoseSupernet, batch: Batch, archs: list[Arch], update: Update
) -> None:
    before = copy.deepcopy(dict(supernet.named_parameters()))
    spoiled = dataclasses.replace(batch, images=torch.full_like(batch.images, math.inf))
    with pytest.raises(NonFiniteGradientError):
        step(supernet, spoiled, archs, update=update, clip_norm=5.0)
    assert all(torch.equal(before[name], parameter) for name, parameter in supernet.named_parameters())


def gradients(
    supernet: LitePoseSupernet, batch: Batch, arch: Arch, teacher: Heads | None
) -> tuple[list[Tensor], Heads, float]:
    """Gradient of one subnet's loss for every parameter, zeros where it has none; its outputs; its loss."""
    heads = supernet(batch.images, arch)
    loss, _ = pose_loss(heads, make_targets(batch, SETTINGS), SETTINGS, progress=0.5, teacher=teacher)
    found = torch.autograd.grad(loss, list(supernet.parameters()), allow_unused=True, materialize_grads=True)
    return list(found), (heads[0].detach(), heads[1].detach()), loss.item()


def assert_same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def test_per_sandwich_is_one_update_by_the_mean_gradient(
    supernet: LitePoseSupernet, batch: Batch, archs: list[Arch]
) -> None:
    expected = copy.deepcopy(supernet)
    teacher, losses = None, []
    mean = [torch.zeros_like(parameter) for parameter in expected.parameters()]
    for arch in archs:
        found, heads, loss = gradients(expected, batch, arch, teacher)
        teacher = teacher or heads
        losses.append(loss)
        mean = [total + gradient / len(archs) for total, gradient in zip(mean, found, strict=True)]
    with torch.no_grad():
        for parameter, gradient in zip(expected.parameters(), mean, strict=True):
            parameter -= RATE * gradient
    result = step(supernet, batch, archs, update="per_sandwich")
    assert_same_weights(supernet, expected)
    assert result.losses == pytest.approx(losses, rel=1e-10)


def test_per_subnet_is_an_update_after_each_by_the_first_one_s_teaching(
    supernet: LitePoseSupernet, batch: Batch, archs: list[Arch]
) -> None:
    expected = copy.deepcopy(supernet)
    teacher, losses = None, []
    for arch in archs:
        found, heads, loss = gradients(expected, batch, arch, teacher)
        teacher = teacher or heads
        losses.append(loss)
        with torch.no_grad():
            for parameter, gradient in zip(expected.parameters(), found, strict=True):
                parameter -= RATE * gradient
    result = step(supernet, batch, archs, update="per_subnet")
    assert_same_weights(supernet, expected)
    assert result.losses == pytest.approx(losses, rel=1e-10)


def test_students_do_not_train_their_teacher(supernet: LitePoseSupernet, batch: Batch) -> None:
    """Blocks that the student drops move by the teacher's own gradient, halved because there are two subnets."""
    space = supernet.space
    alone = copy.deepcopy(supernet)
    before = copy.deepcopy(supernet.state_dict())
    step(alone, batch, [space.largest()], update="per_sandwich")
    step(supernet, batch, [space.largest(), space.smallest()], update="per_sandwich")
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


def test_an_update_is_clipped(supernet: LitePoseSupernet, batch: Batch, archs: list[Arch]) -> None:
    before = [parameter.detach().clone() for parameter in supernet.parameters()]
    step(supernet, batch, archs, update="per_sandwich", clip_norm=1e-3)
    moves = [a - b for a, b in zip(supernet.parameters(), before, strict=True)]
    norm = torch.cat([move.flatten() for move in moves]).norm()
    torch.testing.assert_close(norm.item(), RATE * 1e-3, rtol=1e-3, atol=0)


def test_a_step_reports_each_subnet_and_leaves_no_gradient(
    supernet: LitePoseSupernet, batch: Batch, archs: list[Arch]
) -> None:
    result = step(supernet, batch, archs, update="per_subnet")
    assert len(result.losses) == len(archs)
    assert result.parts.keys() == {"heatmap", "push", "pull", "guide"}
    assert all(math.isfinite(value) for value in (*result.losses, *result.parts.values()))
    assert all(parameter.grad is None for parameter in supernet.parameters())


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_every_parameter_is_trained(supernet: LitePoseSupernet, batch: Batch, update: Update) -> None:
    """Regression: the public sampler never reaches the last blocks, and its kernel matrices are never used."""
    trained: set[str] = set()
    for name, parameter in supernet.named_parameters():

        def note(tensor: Tensor, name: str = name) -> None:
            if tensor.grad is not None and tensor.grad.count_nonzero():
                trained.add(name)

        parameter.register_post_accumulate_grad_hook(note)
    for number in range(40):
        archs = sandwich_archs(supernet.space, num_random=1, seed=0, step=number)
        step(supernet, batch, archs, update=update)
        if len(trained) == len(list(supernet.parameters())):
            break
    assert {name for name, _ in supernet.named_parameters()} - trained == set()


def test_every_parameter_is_in_one_group_and_norms_and_kernel_matrices_do_not_decay(
    supernet: LitePoseSupernet,
) -> None:
    groups = parameter_groups(supernet, 0.03)
    names = {id(parameter): name for name, parameter in supernet.named_parameters()}
    decay: dict[str, object] = {}
    for group in groups:
        assert isinstance(group["params"], list)
        for parameter in group["params"]:
            assert names[id(parameter)] not in decay
            decay[names[id(parameter)]] = group["weight_decay"]
    assert decay.keys() == set(names.values())
    norms = {
        f"{owner}.{name}"
        for owner, module in supernet.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for name in ("weight", "bias")
    }
    matrices = {name for name in decay if name.rpartition(".")[2].startswith("matrix_")}
    assert len(matrices) == 16
    assert {name for name, value in decay.items() if value == 0.0} == norms | matrices
    assert {name for name, value in decay.items() if value == 0.03} == decay.keys() - norms - matrices
