"""Torch layers whose active size is chosen per call; the leading channels are the active ones.

A layer works out nothing by itself: the caller passes the sizes, the weights are sliced, the plain torch function runs.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from litepose_ofa.supernet.network.activated_norm import ActivatedNorm
from litepose_ofa.supernet.network.dense import DenseConv2d, dense_conv2d
from litepose_ofa.supernet.network.depthwise import depthwise_conv2d
from litepose_ofa.supernet.network.synchronised_norm import synchronised_batch_norm


class _Leading(torch.autograd.Function):
    """The leading part of a weight, ``weight[:sizes[0], :sizes[1], ...]``, as one node forward and backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, *sizes: int) -> Tensor:
        ctx.whole = weight.shape
        return weight.as_strided((*sizes, *weight.shape[len(sizes) :]), weight.stride())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        missing = [whole - size for whole, size in zip(ctx.whole, gradient.shape, strict=True)]
        whole = F.pad(gradient, [side for size in reversed(missing) for side in (0, size)])
        return whole, *[None] * (len(ctx.needs_input_grad) - 1)


def _leading(weight: Tensor, *sizes: int) -> Tensor:
    if weight.shape[: len(sizes)] == sizes:
        return weight
    part: Tensor = _Leading.apply(weight, *sizes)  # type: ignore[no-untyped-call]
    return part


class _SmallerKernels(torch.autograd.Function):
    """Kernels (channels, 1, k, k): the leading ones' centres times a matrix, the centres of that times the next."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, channels: int, *matrices: Tensor) -> Tensor:
        ctx.whole = weight.shape
        centres = []
        for matrix in matrices:
            side = math.isqrt(len(matrix))
            rows, _, down, right = weight.stride()
            offset = weight.storage_offset() + (weight.shape[-1] - side) // 2 * (down + right)
            centre = weight.as_strided((channels, side, side), (rows, down, right), offset)
            centres.append(centre.reshape(channels, side**2))
            product = (centres[-1] @ matrix).to(matrix.dtype)  # autocast makes it with fewer bits
            weight = product.view(channels, 1, side, side)
        ctx.save_for_backward(*centres, *matrices)
        return weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        number = len(ctx.saved_tensors) // 2
        centres, matrices = ctx.saved_tensors[:number], ctx.saved_tensors[number:]
        larger = [ctx.whole[-1], *(math.isqrt(len(matrix)) for matrix in matrices)]
        of_matrices: list[Tensor] = []
        for i in reversed(range(number)):
            centre, matrix = centres[i], matrices[i]
            kernels = gradient.reshape(centre.shape)
            of_matrices.insert(0, centre.t() @ kernels)
            edge = (larger[i] - larger[i + 1]) // 2
            missing = 0 if i else ctx.whole[0] - len(kernels)
            of_centre = (kernels @ matrix.t()).view(-1, 1, larger[i + 1], larger[i + 1])
            gradient = F.pad(of_centre, (edge, edge, edge, edge, 0, 0, 0, missing))
        return gradient, None, *of_matrices


class ElasticConv2d(DenseConv2d):
    """Dense convolution without bias; the input's width selects input channels, the call selects output channels."""

    def forward(self, x: Tensor, out_channels: int | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, ...)."""
        weight = _leading(self.weight, out_channels or self.out_channels, x.shape[1])
        return dense_conv2d(x, weight, stride=self.stride[0], padding=int(self.padding[0]))


class ElasticDepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution with elastic width and kernel size.

    A smaller kernel is the centre of the next larger one, multiplied by a learned matrix that starts as the identity.
    ``kernels`` are odd and ascend.

    Source: Cai et al., Once for All (arXiv:1908.09791), "elastic kernel size".
    """

    def __init__(self, channels: int, kernels: Sequence[int], *, stride: int = 1) -> None:
        largest = kernels[-1]
        super().__init__(channels, channels, largest, stride, largest // 2, groups=channels, bias=False)
        self.kernels = tuple(kernels)
        for large, small in itertools.pairwise(reversed(self.kernels)):
            self.register_parameter(f"matrix_{large}to{small}", nn.Parameter(torch.eye(small**2)))

    def active_weight(self, channels: int, kernel: int) -> Tensor:
        """Return the weight (channels, 1, kernel, kernel) of a subnet, kernel matrices folded in."""
        pairs = itertools.pairwise(reversed(self.kernels))
        matrices = [self.get_parameter(f"matrix_{large}to{small}") for large, small in pairs if large > kernel]
        if not matrices:
            return _leading(self.weight, channels, 1)
        weight: Tensor = _SmallerKernels.apply(self.weight, channels, *matrices)  # type: ignore[no-untyped-call]
        return weight

    def forward(self, x: Tensor, kernel: int | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C, H / stride, W / stride)."""
        kernel = self.kernels[-1] if kernel is None else kernel
        return depthwise_conv2d(x, self.active_weight(x.shape[1], kernel), stride=self.stride[0])


class ElasticConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution without bias; input and output channels elastic."""

    def forward(self, x: Tensor, out_channels: int) -> Tensor:  # type: ignore[override]
        """Map (B, C, H, W) to (B, out_channels, stride x H, stride x W)."""
        assert not isinstance(self.padding, str)
        weight = _leading(self.weight, x.shape[1], out_channels)
        return F.conv_transpose2d(x, weight, None, self.stride, self.padding)


class ElasticBatchNorm2d(ActivatedNorm):
    """Batch norm over the leading channels, and the activation; all subnets share one set of running statistics.

    Those belong to no subnet in particular: recalibrate a subnet's own before it is measured.
    """

    synchronised: bool = False
    """Whether training statistics are of the joint batch of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and activate (B, C, H, W)."""
        if self.momentum is None:
            raise ValueError("elastic batch norms keep no cumulative statistics; recalibrate an extracted subnet")
        if not (self.training and self.synchronised):
            return self.normalised(x, self.momentum)
        mean, var = self.leading(x.shape[1])[2:]
        weight, bias = (_leading(vector, x.shape[1]) for vector in (self.weight, self.bias))
        y = synchronised_batch_norm(x, mean, var, weight, bias, momentum=self.momentum, eps=self.eps)
        return self.activated(y)
