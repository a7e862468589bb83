"""Dense convolution that takes the fastest of torch's ways on CPUs.

For a 1x1 convolution of fewer than 16 images in one thread torch takes matrix products instead of oneDNN, which take up
to 2.4 times as long at the shapes of search-XS. A dilation takes it to oneDNN, and of a kernel of one tap it changes
nothing. On small maps products are the faster, by up to 2.5 times at the shapes of ``tiny``, and are trained with.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MOST_PIXELS = 1024
"""Of a batch of small maps."""


def dense_conv2d(x: Tensor, weight: Tensor, *, stride: int, padding: int) -> Tensor:
    """Convolve (B, C_in, H, W) by a weight (C_out, C_in, k, k)."""
    if weight.shape[-1] > 1 or stride > 1 or x.device.type != "cpu":
        return F.conv2d(x, weight, None, stride, padding)
    if _is_product(x, weight):
        y: Tensor = _Product.apply(x, weight)  # type: ignore[no-untyped-call]
        return y
    return F.conv2d(x, weight, None, stride, padding, dilation=2)


def _is_product(x: Tensor, weight: Tensor) -> bool:
    return (
        x.numel() <= MOST_PIXELS * x.shape[1]
        and torch.is_grad_enabled()
        and weight.requires_grad
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class DenseConv2d(nn.Conv2d):
    """A dense ``nn.Conv2d`` without bias that goes through ``dense_conv2d``."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        return dense_conv2d(x, self.weight, stride=self.stride[0], padding=int(self.padding[0]))


class _Product(torch.autograd.Function):
    """A 1x1 convolution in channels-last memory as a product of pixels (N, C_in) and weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1).contiguous()
        ctx.save_for_backward(x, matrix)
        return (x.permute(0, 2, 3, 1) @ matrix.t()).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, matrix = ctx.saved_tensors
        gradient = gradient.permute(0, 2, 3, 1)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ matrix).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            of_weight = (gradient.flatten(0, 2).t() @ x.permute(0, 2, 3, 1).flatten(0, 2))[..., None, None]
        return of_x, of_weight
