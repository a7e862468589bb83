"""Dense convolution that goes to oneDNN on CPUs, however few its threads.

For a 1x1 convolution of fewer than 16 images in one thread torch takes matrix products instead, which take up to 2.4
times as long at the shapes of search-XS. A dilation takes it to oneDNN, and of a kernel of one tap it changes nothing.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def dense_conv2d(x: Tensor, weight: Tensor, *, stride: int, padding: int) -> Tensor:
    """Convolve (B, C_in, H, W) by a weight (C_out, C_in, k, k)."""
    dilation = 2 if weight.shape[-1] == 1 and x.device.type == "cpu" else 1
    return F.conv2d(x, weight, None, stride, padding, dilation)


class DenseConv2d(nn.Conv2d):
    """A dense ``nn.Conv2d`` without bias that goes through ``dense_conv2d``."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        return dense_conv2d(x, self.weight, stride=self.stride[0], padding=int(self.padding[0]))
