"""One step of the sandwich rule with in-place distillation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer

from supernet.arch import Arch
from supernet.data.loading import Batch
from supernet.elastic_litepose import LitePoseSupernet
from supernet.training.objective import LossSettings, make_targets, pose_loss

Update = Literal["per_subnet", "per_sandwich"]


class NonFiniteGradientError(ArithmeticError):
    """A gradient is infinite or not a number; no weight was changed by it."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """Losses of one step: for each subnet, in the order given, its total; for the first the parts as well."""

    losses: list[float]
    parts: dict[str, float]


def sandwich_step(
    supernet: LitePoseSupernet,
    batch: Batch,
    archs: Sequence[Arch],
    optimizer: Optimizer,
    *,
    settings: LossSettings,
    progress: float,
    update: Update = "per_subnet",
    clip_norm: float = 5.0,
) -> StepResult:
    """Train several subnets on one batch; the first, the largest, learns from labels and teaches the others.

    Source: Yu and Huang, Universally Slimmable Networks (arXiv:1903.05134); Yu et al., BigNAS (arXiv:2003.11142).

    Args:
        supernet: In training mode.
        batch: Images and keypoints at the step's resolution, on the supernet's device.
        archs: The teacher first.
        optimizer: Over the supernet's parameters.
        settings: Loss weights.
        progress: Fraction of the training that is done.
        update: One optimiser step after each subnet, or one over the mean of their gradients.
        clip_norm: Largest gradient norm of an optimiser step.

    Raises:
        NonFiniteGradientError: If a gradient is not finite; earlier subnets of the step may have been applied.
    """
    targets = make_targets(batch, settings)
    teacher = None
    losses, parts = [], {}
    optimizer.zero_grad(set_to_none=True)
    for arch in archs:
        heads = supernet(batch.images, arch)
        loss, terms = pose_loss(heads, targets, settings, progress=progress, teacher=teacher)
        scale = 1.0 if update == "per_subnet" else 1 / len(archs)
        torch.autograd.backward(scale * loss)
        if teacher is None:
            teacher = (heads[0].detach(), heads[1].detach())
            parts = {name: value.item() for name, value in terms.items()}
        losses.append(loss.item())
        if update == "per_subnet":
            _apply(supernet, optimizer, clip_norm)
    if update == "per_sandwich":
        _apply(supernet, optimizer, clip_norm)
    return StepResult(losses, parts)


def _apply(supernet: nn.Module, optimizer: Optimizer, clip_norm: float) -> None:
    norm = nn.utils.clip_grad_norm_(supernet.parameters(), clip_norm)
    if not torch.isfinite(norm):
        raise NonFiniteGradientError("the gradient is not finite")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split parameters so that vectors (batch norms) and kernel matrices, whose rest is the identity, do not decay."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (free if parameter.ndim < 4 or ".matrix_" in name else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
