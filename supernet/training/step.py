"""One training step: subnets on one batch, the updates of the shared weights, and their moving average."""

import ctypes
import math
import platform
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import Heads, PoseNetwork
from litepose_ofa.supernet.training.distributed import Process, average, average_gradients
from litepose_ofa.supernet.training.objective import Targets, make_targets, pose_loss
from litepose_ofa.supernet.training.recipe import OptimizerName, Precision, StepPlan, TrainingSettings
from litepose_ofa.supernet.training.teacher import Teacher

Tensors = tuple[Tensor, ...] | list[Tensor]
SGD_MOMENTUM = 0.9
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_BLOCK = 32 * 2**20
"""The most that glibc allows: blocks up to this come from memory that is kept."""


def keep_freed_memory() -> bool:
    """Make glibc keep what is freed, so that a step does not fault in again the pages of the one before.

    ``benchmarks/training_step.py`` shows what that gives. The process holds on to its peak memory from then on. Returns
    whether it was done: only with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = mallopt(M_TRIM_THRESHOLD, ctypes.c_int(2**31 - 1)) and mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
    return bool(kept)


def make_optimizer(name: OptimizerName, model: nn.Module, *, weight_decay: float) -> Optimizer:
    """Return an optimiser over a model's parameters; its learning rate is set before each step."""
    groups = parameter_groups(model, weight_decay)
    if name == "sgd":  # torch's fused kernel breaks on a momentum that some parameters have and others not yet
        return SGD(groups, lr=0.0, momentum=SGD_MOMENTUM)
    return (Adam if name == "adam" else AdamW)(groups, lr=0.0, fused=True)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split parameters so that vectors (batch norms) and kernel matrices, which start as the identity, do not decay."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in model.parameters():
        (free if parameter.ndim < 4 else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of a model's weights, to be updated after each step.

    The decay rises to its value as (1 + n) / (10 + n) over the first n updates, so that the first, bad weights are soon
    forgotten. Batch-norm statistics are the model's latest.
    """

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        n = float(count)
        step = get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))  # type: ignore[no-untyped-call]
        step(averaged, current, count)

    return AveragedModel(model, multi_avg_fn=average)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The outcome of a step, as one rank saw it.

    Attributes:
        losses: Total loss of each subnet that was run, by name.
        parts: The parts of the first subnet's loss, by name.
        skipped: The subnet at which an update was left out because loss or gradient was not finite, or None.
    """

    losses: dict[str, float]
    parts: dict[str, float]
    skipped: str | None


def share_result(result: StepResult, stop: bool, process: Process) -> tuple[StepResult, bool]:
    """Return the mean result of all ranks, and whether any of them is to stop; a collective."""
    values = torch.tensor([*result.losses.values(), *result.parts.values(), float(stop)], dtype=torch.float64)
    *means, stopping = average(values, process).tolist()
    losses = dict(zip(result.losses, means, strict=False))
    parts = dict(zip(result.parts, means[len(losses) :], strict=True))
    return StepResult(losses, parts, result.skipped), stopping > 0


@dataclass(frozen=True)
class WeightUpdate:
    """One optimiser step from the gradients that backward passes have left: averaged over ranks, clipped, checked."""

    model: nn.Module
    optimizer: Optimizer
    clip_norm: float
    scaler: torch.amp.GradScaler
    process: Process

    def __call__(self) -> bool:
        """Step and drop the gradients; return False, on every rank, if they were not finite and nothing was changed."""
        average_gradients(self.model.parameters(), self.process)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        finite = bool(torch.isfinite(norm))
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return finite


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a batch: images, targets, and the heatmaps to learn from beside them."""

    batch: Batch
    targets: Targets
    soft: Heads | None


@dataclass(frozen=True, slots=True)
class _Pass:
    """One subnet's way through all parts: its detached heads, its mean loss, the mean parts of that."""

    heads: list[Heads]
    loss: Tensor
    terms: dict[str, Tensor]


def train_on_batch(
    model: PoseNetwork,
    batch: Batch,
    plan: StepPlan,
    update: WeightUpdate,
    settings: TrainingSettings,
    *,
    teacher: Teacher | None = None,
) -> StepResult:
    """Train the plan's subnets on one batch.

    With the teacher kind ``largest`` the first subnet learns from labels and the others from its heatmaps as well
    (in-place distillation); with ``frozen`` and ``external`` all of them learn from ``teacher``.

    Source: Yu and Huang, Universally Slimmable Networks (arXiv:1903.05134); Yu et al., BigNAS (arXiv:2003.11142).

    Returns:
        The losses. If a gradient is not finite the rest of the step is left out, and batch-norm statistics go back to
        where the step found them; with ``per_subnet`` the updates of earlier subnets remain.
    """
    parts = [_prepare(part, settings, teacher) for part in batch.split(settings.accumulation)]
    updates = len(plan.subnets) if settings.update == "per_subnet" else 1
    share = updates / (len(plan.subnets) * len(parts))
    statistics = [(buffer, buffer.clone()) for buffer in model.buffers()]
    passes: dict[str, _Pass] = {}
    skipped = None
    for name, arch in plan.subnets.items():
        passes[name] = _run(model, arch, parts, plan.progress, settings, update.scaler, share)
        if plan.phase.teacher == "largest" and len(passes) == 1:
            parts = [_Part(p.batch, p.targets, heads) for p, heads in zip(parts, passes[name].heads, strict=True)]
        due = settings.update == "per_subnet" or len(passes) == len(plan.subnets)
        if due and not update():
            skipped = name
            for buffer, before in statistics:
                buffer.copy_(before)
            break
    terms = next(iter(passes.values())).terms
    values = torch.stack([*(one.loss for one in passes.values()), *terms.values()]).tolist()
    losses = dict(zip(passes, values, strict=False))
    if skipped is not None:  # with one update a sandwich, the culprit may be an earlier subnet
        skipped = next((name for name, loss in losses.items() if not math.isfinite(loss)), skipped)
    return StepResult(losses, dict(zip(terms, values[len(passes) :], strict=True)), skipped)


def _prepare(batch: Batch, settings: TrainingSettings, teacher: Teacher | None) -> _Part:
    soft = None
    if teacher is not None:
        with _autocast(batch.images.device, settings.precision):
            soft = teacher(batch)
    return _Part(batch, make_targets(batch, settings.loss), soft)


def _run(
    model: PoseNetwork,
    arch: Arch,
    parts: Sequence[_Part],
    progress: float,
    settings: TrainingSettings,
    scaler: torch.amp.GradScaler,
    share: float,
) -> _Pass:
    """Run one subnet forward and backward; ``share`` scales each part's loss for the gradient."""
    made: list[Heads] = []
    losses: list[Tensor] = []
    terms: list[dict[str, Tensor]] = []
    for part in parts:
        images = part.batch.images
        with _autocast(images.device, settings.precision):
            head0, head1 = model(images, arch) if isinstance(model, LitePoseSupernet) else model(images)
        heads = head0.float(), head1.float()
        loss, values = pose_loss(heads, part.targets, settings.loss, progress=progress, teacher=part.soft)
        torch.autograd.backward(scaler.scale(share * loss))
        made.append((heads[0].detach(), heads[1].detach()))
        losses.append(loss.detach())
        terms.append(values)
    means = {name: torch.stack([values[name] for values in terms]).mean() for name in terms[0]}
    return _Pass(made, torch.stack(losses).mean(), means)


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))
