"""Depthwise convolution that is trained fast on CPUs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from litepose_ofa.supernet.network import cpu_kernels


def depthwise_conv2d(x: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    """Convolve every channel of (B, C, H, W) with its own kernel, (C, 1, k, k) with odd k; the padding is half of k."""
    trained = torch.is_grad_enabled() and weight.requires_grad
    if trained and weight.shape[-1] in cpu_kernels.KERNELS and weight.dtype == x.dtype and cpu_kernels.suits(x):
        y: Tensor = _Depthwise.apply(x, weight, stride)  # type: ignore[no-untyped-call]
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


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return cpu_kernels.depthwise_conv2d(x, weight) if stride == 1 else _convolve(x, weight, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_input = of_weight = None
        if ctx.needs_input_grad[0] and ctx.stride == 1:
            of_input = cpu_kernels.depthwise_conv2d(gradient, weight, turned=True)
        elif ctx.needs_input_grad[0]:
            of_input = _of_input(gradient, x, weight, ctx.stride)
        if ctx.needs_input_grad[1]:
            of_weight = cpu_kernels.depthwise_gradient(x, gradient, weight.shape[-1], ctx.stride)
        return of_input, of_weight, None


def _of_input(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    padding, wanted = [weight.shape[-1] // 2] * 2, [True, False, False]
    results: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride, stride], padding, [1, 1], False, [0, 0], len(weight), wanted
    )
    return results[0]
