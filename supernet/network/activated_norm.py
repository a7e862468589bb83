"""Batch norm and the activation after it in one function, which copies and keeps less than the two apart.

Legend: B batch, C channels, H/W map.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from litepose_ofa.supernet.network import cpu_kernels

Vectors = tuple[Tensor, Tensor, Tensor, Tensor]
"""Weight, bias, running mean and running variance."""


class ActivatedNorm(nn.BatchNorm2d):
    """Batch norm, then values below 0 and above ``ceiling`` are cut off: infinity for ReLU, 6 for ReLU6, None for none.

    For backward it keeps its input and, where no compiled function does the work, its output; the two layers apart keep
    a copy of what is between them too.
    """

    def __init__(self, channels: int, ceiling: float | None = None) -> None:
        super().__init__(channels)
        self.ceiling = ceiling
        self._slices: dict[int, tuple[Vectors, Vectors]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the slices out of copies, which have vectors of their own."""
        return {**self.__dict__, "_slices": {}}

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._slices.clear()  # the vectors stay the same objects, but get other memory
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and activate (B, C, H, W)."""
        if not self.training:
            return self.activated(super().forward(x))
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        return self.normalised(x, momentum)

    def normalised(self, x: Tensor, momentum: float) -> Tensor:
        """Normalise and activate (B, c, H, W) with at most C channels, by the vectors of the leading c."""
        vectors = self.leading(x.shape[1])
        settings = self.training, momentum, self.eps, self.ceiling
        y: Tensor = _NormAndActivation.apply(x, self.weight, self.bias, vectors, settings)  # type: ignore[no-untyped-call]
        return y

    def activated(self, y: Tensor) -> Tensor:
        """Activate in place what the batch norm gave."""
        return y if self.ceiling is None else F.hardtanh_(y, 0.0, self.ceiling)

    def leading(self, channels: int) -> Vectors:
        """Return the four vectors of the leading c channels, (c,), without gradients; they share the layer's memory."""
        mean, var = self.running_mean, self.running_var
        assert mean is not None
        assert var is not None
        whole = self.weight, self.bias, mean, var
        kept = self._slices.get(channels)
        if kept is None or any(vector is not now for vector, now in zip(kept[0], whole, strict=True)):
            weight, bias, mean, var = (vector.detach()[:channels] for vector in whole)
            kept = self._slices[channels] = whole, (weight, bias, mean, var)
        return kept[1]


class _NormAndActivation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        leading: Vectors,
        settings: tuple[bool, float, float, float | None],
    ) -> Tensor:
        training, momentum, eps, ceiling = settings
        ctx.settings = training, eps, ceiling, len(weight)
        ctx.by_kernels = training and cpu_kernels.suits(x)
        if ctx.by_kernels:
            y, mean, inverse = cpu_kernels.activated_norm(x, leading, momentum, eps, ceiling)
            ctx.save_for_backward(x, *leading[:2], mean, inverse)
            return y
        y, mean, inverse = torch.native_batch_norm(x, *leading, training, momentum, eps)
        if ceiling is not None:
            F.hardtanh_(y, 0.0, ceiling)
        running = (None, None) if training else leading[2:]
        ctx.save_for_backward(x, leading[0], *running, mean, inverse)
        ctx.activated = None if ceiling is None else y.detach()  # saved as a result it would be detached twice
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        training, eps, ceiling, channels = ctx.settings
        x, *others = ctx.saved_tensors
        if ctx.by_kernels:
            of_x, *of_vectors = cpu_kernels.activated_norm_backward(gradient, x, others, eps, ceiling)
        else:
            if ceiling is not None:
                gradient = torch.ops.aten.hardtanh_backward(gradient, ctx.activated, 0.0, ceiling)
            needed = list(ctx.needs_input_grad[:3])
            results = torch.ops.aten.native_batch_norm_backward(gradient, x, *others, training, eps, needed)
            of_x, *of_vectors = results
        of_weight, of_bias = (_widened(vector, channels) for vector in of_vectors)
        return of_x, of_weight, of_bias, None, None


def _widened(vector: Tensor | None, channels: int) -> Tensor | None:
    """Return a vector with zeros behind it."""
    return vector if vector is None or len(vector) == channels else F.pad(vector, (0, channels - len(vector)))
