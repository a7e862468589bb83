"""One training step: subnets on one batch, the updates of the shared weights, and their moving average."""

import ctypes
import math
import platform
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import Heads, PoseNetwork
from litepose_ofa.supernet.training.distributed import Process, average_gradients
from litepose_ofa.supernet.training.objective import Targets, make_targets, pose_loss
from litepose_ofa.supernet.training.recipe import OptimizerName, Precision, StepPlan, TrainingSettings
from litepose_ofa.supernet.training.teacher import Teacher

TensorGroup = tuple[Tensor, ...] | list[Tensor]

SGD_MOMENTUM = 0.9
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_BLOCK = 32 * 2**20
"""The most that glibc allows: blocks up to this come from memory that is kept."""
KEPT = 2**31 - 1
"""Free bytes that are kept at most: the largest number that glibc takes."""
LARGE_PAGE, MADV_HUGEPAGE = 2 * 2**20, 14


def keep_freed_memory() -> None:
    """Make glibc keep what is freed, so that a step does not fault in again the pages of the one before.

    The heap is grown without being used, for Linux to be asked for large pages of what will be: a step goes over more
    memory than the processor has translations for. ``benchmarks/results`` has what that gives. The process holds on to
    its peak memory from then on. Another C library stays as it is.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, ctypes.c_int(KEPT))
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
    libc.malloc.restype = ctypes.c_void_p
    blocks = [libc.malloc(ctypes.c_size_t(LARGEST_BLOCK - LARGE_PAGE)) for _ in range(KEPT // LARGEST_BLOCK - 1)]
    addresses = sorted(filter(None, blocks))
    for address in addresses:
        libc.free(ctypes.c_void_p(address))
    if addresses:
        start = -(-addresses[0] // LARGE_PAGE) * LARGE_PAGE
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(addresses[-1] - start), MADV_HUGEPAGE)


def make_optimizer(name: OptimizerName, model: nn.Module, *, weight_decay: float) -> Optimizer:
    """Return an optimiser over a model's parameters; its learning rate is set before each step.

    Vectors (batch norms) and kernel matrices, which start as the identity, do not decay.
    """
    decayed = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    free = [parameter for parameter in model.parameters() if parameter.ndim < 4]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    if name == "sgd":  # torch's fused kernel breaks on a momentum that some parameters have and others not yet
        return SGD(groups, lr=0.0, momentum=SGD_MOMENTUM)
    return (Adam if name == "adam" else AdamW)(groups, lr=0.0, fused=True)


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of a model's weights, to be updated after each step.

    The decay rises to its value as (1 + n) / (10 + n) over the first n updates, so that the first, bad weights are soon
    forgotten. Batch-norm statistics are the model's latest.
    """

    @torch.no_grad()
    def average(averaged: TensorGroup, current: TensorGroup, count: Tensor | int) -> None:
        n = float(count)
        step = get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))  # type: ignore[no-untyped-call]
        step(averaged, current, count)

    return AveragedModel(model, multi_avg_fn=average)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The outcome of a step, as one rank saw it."""

    losses: dict[str, float]  # total loss of each subnet that was run
    parts: dict[str, float]  # of the first subnet's loss
    skipped: str | None  # the subnet at which an update was left out because loss or gradient was not finite


def share_result(result: StepResult, process: Process) -> StepResult:
    """Return the mean result of all ranks; a collective."""
    if process.world == 1:
        return result
    values = torch.tensor([*result.losses.values(), *result.parts.values()], dtype=torch.float64)
    values = values.to(process.device)
    dist.all_reduce(values)
    means = (values / process.world).tolist()
    losses = dict(zip(result.losses, means, strict=False))
    return StepResult(losses, dict(zip(result.parts, means[len(losses) :], strict=True)), result.skipped)


@dataclass(frozen=True)
class WeightUpdate:
    """One optimiser step from the gradients that backward passes have left: averaged over ranks, clipped, checked."""

    model: nn.Module
    optimizer: Optimizer
    clip_norm: float
    scaler: torch.amp.GradScaler
    process: Process

    @property
    def asks_device(self) -> bool:
        """Whether the host waits to hear if gradients are finite; a fused optimiser finds that out on the device."""
        return self.scaler.is_enabled() or not self.optimizer.defaults.get("fused")

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """The model's parameters; to look for them takes longer than to clip them."""
        return list(self.model.parameters())

    @cached_property
    def kept_statistics(self) -> tuple[list[Tensor], list[Tensor]]:
        """A copy of each of the model's buffers, to be filled before a step, and the buffers."""
        buffers = list(self.model.buffers())
        return [torch.empty_like(buffer) for buffer in buffers], buffers

    def __call__(self, failed: Tensor) -> Tensor:
        """Step and drop the gradients; nothing changes if they are not finite, or ``failed`` is above 0 already.

        Returns:
            ``failed``, a scalar, or 1 if the gradients were not finite; the same on every rank.
        """
        average_gradients(self.parameters, self.process)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        failed = torch.maximum(failed, (~torch.isfinite(norm)).to(failed.dtype))
        if not self.asks_device:
            self.optimizer.found_inf = failed  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not failed:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return failed


@dataclass(slots=True)
class _Part:
    """One part of a batch: images, targets, and the heatmaps to learn from beside them."""

    images: Tensor
    targets: Targets
    soft: Heads | None


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
    (in-place distillation); with ``frozen`` and ``external`` all of them learn from ``teacher``. If a gradient is not
    finite, no update of the step that comes after is made, and batch-norm statistics go back to where the step found
    them; with ``per_subnet`` the updates of earlier subnets remain. The host waits for the device once, at the end.

    Source: Yu and Huang, Universally Slimmable Networks (arXiv:1903.05134); Yu et al., BigNAS (arXiv:2003.11142).
    """
    parts = []
    for split in batch.split(settings.accumulation):
        with _autocast(split.images.device, settings.precision):
            soft = None if teacher is None else teacher(split)
        parts.append(_Part(split.images, make_targets(split, settings.loss), soft))
    updates = len(plan.subnets) if settings.update == "per_subnet" else 1
    share = updates / (len(plan.subnets) * len(parts))
    torch._foreach_copy_(*update.kept_statistics)
    losses: dict[str, Tensor] = {}
    terms: dict[str, Tensor] = {}
    failed = [torch.zeros((), device=batch.images.device)]  # after each update
    for name, arch in plan.subnets.items():
        heads, losses[name], own_terms = _run(model, arch, parts, plan.progress, settings, update.scaler, share)
        terms = terms or own_terms
        if plan.phase.teacher == "largest" and len(losses) == 1:
            for part, made in zip(parts, heads, strict=True):
                part.soft = made
        if settings.update == "per_subnet" or len(losses) == len(plan.subnets):
            failed.append(update(failed[-1]))
            if update.asks_device and failed[-1]:
                break
    values = iter(_read([*losses.values(), *terms.values(), *failed[1:]]))
    loss_values, term_values = dict(zip(losses, values, strict=False)), dict(zip(terms, values, strict=False))
    skipped = None
    failures = list(values)
    if failures[-1]:
        torch._foreach_copy_(*update.kept_statistics[::-1])
        run = list(losses)[: failures.index(1) + 1] if settings.update == "per_subnet" else list(losses)
        skipped = next((name for name in run if not math.isfinite(loss_values[name])), run[-1])
    return StepResult(loss_values, term_values, skipped)


def _read(values: Sequence[Tensor]) -> list[float]:
    """Bring scalars to the host: the one place of a step that waits for the device."""
    read: list[float] = torch.stack(list(values)).tolist()
    return read


def _run(
    model: PoseNetwork,
    arch: Arch,
    parts: Sequence[_Part],
    progress: float,
    settings: TrainingSettings,
    scaler: torch.amp.GradScaler,
    share: float,
) -> tuple[list[Heads], Tensor, dict[str, Tensor]]:
    """Run one subnet forward and backward; return its outputs for each part, its mean loss, and the mean of each term.

    ``share`` scales each part's loss for the gradient.
    """
    made: list[Heads] = []
    losses: list[Tensor] = []
    terms: list[dict[str, Tensor]] = []
    for part in parts:
        with _autocast(part.images.device, settings.precision):
            head0, head1 = model(part.images, arch) if isinstance(model, LitePoseSupernet) else model(part.images)
        heads = head0.float(), head1.float()
        loss, values = pose_loss(heads, part.targets, settings.loss, progress=progress, teacher=part.soft)
        torch.autograd.backward(scaler.scale(share * loss))
        made.append((heads[0].detach(), heads[1].detach()))
        losses.append(loss.detach())
        terms.append(values)
    means = {name: torch.stack([values[name] for values in terms]).mean() for name in terms[0]}
    return made, torch.stack(losses).mean(), means


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    return nullcontext() if precision == "float32" else torch.autocast(device.type, dtype=getattr(torch, precision))
