"""Batch norm in training mode over the joint batch of all processes.

Not ``nn.SyncBatchNorm``: that refuses tensors on a CPU, and its converter drops the slicing of the elastic layers.

Legend: B batch of this process, C channels, H/W map.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def synchronised_batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalise by the mean and variance of all processes' batches, and update the running statistics in place.

    A collective: every process of the default group must come here in the same order, forward and backward; the
    batches may differ in size. It costs one all-gather forward and one all-reduce backward. Without a process group it
    is plain batch norm. The gradient of ``x`` is that of the processes' losses summed; the gradients of weight and bias
    are this process's part of that sum.

    ``x`` is (B, C, H, W) with B at least 1; its memory format and dtype are the result's. The others are (C,), and
    may be more precise: the statistics have the dtype of ``running_mean``. ``running_var`` is unbiased.
    """
    with torch.no_grad():
        mean, variance, count = _joint_statistics(x, running_mean.dtype)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * (count / (count - 1)), momentum)
    y: Tensor = _Normalise.apply(x, weight, bias, mean, variance, count, eps)  # type: ignore[no-untyped-call]
    return y


class _Normalise(torch.autograd.Function):
    """Batch norm whose statistics, given, are those of the joint batch."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        inverse = (variance + ctx.eps).rsqrt()
        # With the statistics held constant, weight and bias get the two sums that the input's gradient needs.
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, mean, inverse, False, ctx.eps, [False, True, True]
        )
        of_input = None
        if ctx.needs_input_grad[0]:
            sums = torch.cat((of_weight, of_bias))
            if dist.is_initialized():
                dist.all_reduce(sums)
            by_weight, by_bias = (sums / count).chunk(2)
            scale = weight * inverse
            slope = -scale * inverse * by_weight
            of_input = torch.addcmul(_per_channel(-scale * by_bias - slope * mean), x, _per_channel(slope))
            of_input = of_input.addcmul_(gradient, _per_channel(scale)).to(x.dtype)
        return of_input, of_weight, of_bias, None, None, None, None


def _joint_statistics(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), biased variance (C,) and number of values a channel () of the joint batch.

    Source: Chan et al., Updating Formulae and a Pairwise Algorithm for Computing Sample Variances (1979).
    """
    channels = x.shape[1]
    unused = torch.zeros(2, channels, dtype=dtype, device=x.device)  # running statistics; they set the result's dtype
    mean, variance = torch.batch_norm_update_stats(x, unused[0], unused[1], 0.0)
    own = torch.cat((mean, variance, mean.new_full((1,), x.numel() // channels)))
    rows = [own]
    if dist.is_initialized():
        rows = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(rows, own)
    means, variances, counts = torch.stack(rows).split_with_sizes((channels, channels, 1), dim=1)
    count = counts.sum()
    shares = counts / count
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean) ** 2)).sum(0), count


def _per_channel(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)
