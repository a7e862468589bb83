"""Torch layers whose active size is chosen per call; the leading channels are the active ones.

A layer works out nothing by itself: the caller passes the sizes, the weights are sliced, the plain torch function runs.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litepose_ofa.supernet.network.depthwise import depthwise_conv2d
from litepose_ofa.supernet.network.synchronised_norm import synchronised_batch_norm


def _leading(weight: Tensor, rows: int, columns: int) -> Tensor:
    """Return ``weight[:rows, :columns]`` in one step, which backward is one too."""
    return weight.as_strided((rows, columns, *weight.shape[2:]), weight.stride())


class ElasticConv2d(nn.Conv2d):
    """Convolution without bias; the input's width selects input channels, the call selects output channels."""

    def forward(self, x: Tensor, out_channels: int | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, ...)."""
        weight = _leading(self.weight, out_channels or self.out_channels, x.shape[1])
        return F.conv2d(x, weight, None, self.stride, self.padding)


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
        weight = self.weight[:channels]
        for large, small in itertools.pairwise(reversed(self.kernels)):
            if large == kernel:
                break
            edge = (large - small) // 2
            centre = weight[:, :, edge : edge + small, edge : edge + small].reshape(channels, small**2)
            weight = (centre @ self.get_parameter(f"matrix_{large}to{small}")).view(channels, 1, small, small)
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


class ElasticBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the leading channels; all subnets share one set of running statistics.

    Those belong to no subnet in particular: recalibrate a subnet's own before it is measured.
    """

    synchronised: bool = False
    """Whether training statistics are of the joint batch of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        mean, var = self.running_mean, self.running_var
        assert mean is not None
        assert var is not None
        if self.momentum is None:
            raise ValueError("elastic batch norms keep no cumulative statistics; recalibrate an extracted subnet")
        mean, var, weight, bias = (all_.narrow(0, 0, x.shape[1]) for all_ in (mean, var, self.weight, self.bias))
        if self.training and self.synchronised:
            return synchronised_batch_norm(x, mean, var, weight, bias, momentum=self.momentum, eps=self.eps)
        return F.batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)
