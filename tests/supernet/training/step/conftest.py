"""A small supernet in float64, a batch, a step's plan half-way through a training, and steps of plain descent."""

import dataclasses
import math
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
from litepose_ofa.supernet.network.litepose import Heads, PoseNetwork
from litepose_ofa.supernet.training.distributed import SINGLE
from litepose_ofa.supernet.training.objective import LossSettings, make_targets, pose_loss
from litepose_ofa.supernet.training.recipe import StepPlan, SupernetPlan, TrainingSettings
from litepose_ofa.supernet.training.step import StepResult, WeightUpdate, train_on_batch
from litepose_ofa.supernet.training.teacher import Teacher

LOSS = LossSettings(foreground_weight=5.0, guide_weight=0.02, distillation_weight=0.3)
RATE = 0.05
PROGRESS = 0.5


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


class Steps:
    """Plans steps, runs them, and works out by hand what they should do."""

    rate = RATE

    def __init__(self, make_plan: Callable[..., SupernetPlan]) -> None:
        self._make_plan = make_plan

    def plan(self, number: int = 0, **changes: Any) -> StepPlan:
        """A step half-way through; by default of four subnets, so that every share of a loss is a power of two."""
        planned = self._make_plan(**{"steps": 100, "num_random": 2} | changes)(number)
        return dataclasses.replace(planned, progress=PROGRESS)

    @staticmethod
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

    @staticmethod
    def gradients(
        model: PoseNetwork, batch: Batch, arch: Arch, teacher: Heads | None
    ) -> tuple[list[Tensor], Heads, float]:
        """Gradient of one subnet's loss for every parameter, zeros where it has none; its outputs; its loss."""
        head0, head1 = model(batch.images, arch) if isinstance(model, LitePoseSupernet) else model(batch.images)
        heads = head0.float(), head1.float()
        loss, _ = pose_loss(heads, make_targets(batch, LOSS), LOSS, progress=PROGRESS, teacher=teacher)
        found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
        return list(found), (heads[0].detach(), heads[1].detach()), loss.item()

    @staticmethod
    def descend(model: nn.Module, of_parameters: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), of_parameters, strict=True):
                parameter -= RATE * gradient

    @staticmethod
    def weights_of(model: nn.Module) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in model.parameters()]

    @staticmethod
    def moves(model: nn.Module, before: list[Tensor]) -> Tensor:
        return torch.cat([(a.detach() - b).flatten() for a, b in zip(model.parameters(), before, strict=True)])

    @staticmethod
    def assert_same_bits(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert torch.equal(value.view(-1).view(torch.uint8), theirs[name].view(-1).view(torch.uint8)), name


@pytest.fixture
def steps(make_plan: Callable[..., SupernetPlan]) -> Steps:
    return Steps(make_plan)


@pytest.fixture
def plan(steps: Steps) -> StepPlan:
    return steps.plan()
