"""Depthwise convolution whose weight gradient is fast on CPUs.

oneDNN's kernel for the weight gradient of a depthwise convolution in channels-last memory is fast up to a kernel width
of 3 and 5 to 10 times slower a tap beyond. A wide kernel's gradient is that of its column strips, so it is computed in
strips of at most 3 columns; ``benchmarks/training/training_step.py`` shows what that gives.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIP = 3
"""Widest strip with a fast gradient."""

LEAST_SIDE = 16
"""Side of the output below which the strips' overhead outweighs their gain."""


def depthwise_conv2d(x: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    """Convolve every channel of (B, C, H, W) with its own kernel, (C, 1, k, k) with odd k; the padding is half of k."""
    if _in_strips(x, weight, stride):
        y: Tensor = _StripwiseDepthwise.apply(x, weight, stride)  # type: ignore[no-untyped-call]
        return y
    return _convolve(x, weight, stride)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise ``nn.Conv2d`` without bias that goes through ``depthwise_conv2d``."""

    def __init__(self, channels: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H / stride, W / stride)."""
        return depthwise_conv2d(x, self.weight, stride=self.stride[0])


def _convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))


def _in_strips(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Say whether the stripwise gradient will be needed and is the faster one."""
    return (
        weight.shape[-1] > STRIP
        and min(x.shape[-2:]) >= stride * LEAST_SIDE
        and torch.is_grad_enabled()
        and weight.requires_grad
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and x.is_contiguous(memory_format=torch.channels_last)
    )


class _StripwiseDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return _convolve(x, weight, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        half = weight.shape[-1] // 2
        of_input = _backward(gradient, x, weight, ctx.stride, (half, half), 0) if ctx.needs_input_grad[0] else None
        of_weight = _strips(gradient, x, weight, ctx.stride) if ctx.needs_input_grad[1] else None
        return of_input, of_weight, None


def _strips(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient of the weight, from strips of its columns."""
    kernel = weight.shape[-1]
    half = kernel // 2
    rows, reach = ((side - 1) * stride for side in gradient.shape[-2:])
    over = half if stride > 1 else 0  # with a stride and padded rows the fast kernel is not taken
    below = rows + kernel - x.shape[-2] - over if over else 0
    strips: list[Tensor] = []
    for columns in _columns(weight, stride):
        left = sum(strip.shape[3] for strip in strips) - half
        if stride == 1 and left == -1:  # the middle strip sees the input as it is
            strips.append(_backward(gradient, x, columns, stride, (half, 1), 1))
            continue
        right = left + reach + columns.shape[3] - x.shape[-1]
        seen = _padded(x, -left, right, over, below)
        strips.append(_backward(gradient, seen, columns, stride, (half - over, 0), 1))
    return torch.cat(strips, dim=3)


def _columns(weight: Tensor, stride: int) -> list[Tensor]:
    """Cut a kernel into strips: around a middle one if that leaves no strip of a single column, which is slow."""
    beside = (weight.shape[3] - STRIP) // 2
    sides = [beside, STRIP, beside] if stride == 1 and beside > 1 else [weight.shape[3]]
    parts = torch.split(weight, sides, dim=3)
    return [strip for part in parts for strip in part.tensor_split(math.ceil(part.shape[3] / STRIP), dim=3)]


def _padded(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Pad with zeros as ``F.pad`` does, negative sizes crop; what is copied over is not filled first."""
    cropped = x[..., max(-top, 0) : x.shape[-2] - max(-bottom, 0), max(-left, 0) : x.shape[-1] - max(-right, 0)]
    left, right, top, bottom = (max(side, 0) for side in (left, right, top, bottom))
    height, width = cropped.shape[-2:]
    size = (*x.shape[:2], top + height + bottom, left + width + right)
    padded = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    padded[..., :top, :] = padded[..., top + height :, :] = 0
    padded[..., :left] = padded[..., left + width :] = 0
    padded[..., top : top + height, left : left + width] = cropped
    return padded


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int], which: int) -> Tensor:
    """Return the gradient of the input (``which`` 0) or the weight (1)."""
    wanted = [which == 0, which == 1, False]
    results: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride, stride], list(padding), [1, 1], False, [0, 0], len(weight), wanted
    )
    return results[which]
