"""An architecture as the operators it runs: the unit that complexity, latency tables and the search all add up.

Legend: an operator is square, ``resolution`` is the side of its input in pixels, channels are counts. The three channel
fields mean, by kind:

================= ============================ ========================= ====================
kind              in_channels                  mid_channels              out_channels
================= ============================ ========================= ====================
``stem``          image, 3                     32, both 3x3 convs        C0
``bottleneck``    block input                  expansion x in_channels   block output
``fusion_deconv`` refined input                raw input                 D_i
``head``          refined input                raw input                 maps, 2K or K
================= ============================ ========================= ====================

Source: litepose network definition (arXiv:2205.01271 and mit-han-lab/litepose).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from litepose_ofa.supernet.archs.arch import Arch

STEM_HIDDEN = 32
HEAD_KERNEL = 5
DECONV_KERNEL = 4

OperatorKind = Literal["stem", "bottleneck", "fusion_deconv", "head"]


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution inside an operator, with the batch norm and activation that follow it.

    ``in_size`` and ``out_size`` are map sides. ``norm`` and ``relu`` count the output elements that pass a batch norm
    and an activation after it (a sum of two convolutions passes them once).
    """

    kind: Literal["conv", "depthwise", "transposed"]
    in_channels: int
    out_channels: int
    kernel: int
    in_size: int
    out_size: int
    norm: bool = False
    relu: bool = False

    @property
    def weights(self) -> int:
        """Number of weights (no convolution of LitePose has a bias)."""
        inputs = 1 if self.kind == "depthwise" else self.in_channels
        return inputs * self.out_channels * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates. A transposed convolution multiplies every *input* pixel by the whole kernel."""
        positions = self.in_size**2 if self.kind == "transposed" else self.out_size**2
        return self.weights * positions


@dataclass(frozen=True)
class Operator:
    """What one latency-table row measures; hashable, so that it is the key of the row.

    A bottleneck adds its input to its output if its stride is 1 and the widths agree (``residual``).
    """

    kind: OperatorKind
    resolution: int
    in_channels: int
    mid_channels: int
    out_channels: int
    kernel: int
    stride: int
    expansion: int = 0

    @property
    def residual(self) -> bool:
        """Whether a bottleneck adds its input to its output."""
        return self.kind == "bottleneck" and self.stride == 1 and self.in_channels == self.out_channels

    @property
    def out_resolution(self) -> int:
        """Side of the output in pixels (a fusion deconv doubles it)."""
        if self.kind == "fusion_deconv":
            return self.resolution * self.stride
        return self.resolution // self.stride

    @cached_property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The operator's convolutions in the order they run."""
        size, out = self.resolution, self.out_resolution
        c_in, c_mid, c_out, k = self.in_channels, self.mid_channels, self.out_channels, self.kernel
        if self.kind == "stem":
            return (
                Convolution("conv", c_in, c_mid, k, size, out, norm=True, relu=True),
                Convolution("depthwise", c_mid, c_mid, k, out, out, norm=True, relu=True),
                Convolution("conv", c_mid, c_out, 1, out, out, norm=True),
            )
        if self.kind == "bottleneck":
            return (
                Convolution("conv", c_in, c_mid, 1, size, size, norm=True, relu=True),
                Convolution("depthwise", c_mid, c_mid, k, size, out, norm=True, relu=True),
                Convolution("conv", c_mid, c_out, 1, out, out, norm=True),
            )
        if self.kind == "fusion_deconv":
            return (
                Convolution("transposed", c_in, c_out, k, size, out, norm=True, relu=True),
                Convolution("transposed", c_mid, c_out, k, size, out),
            )
        return tuple(
            convolution
            for width in (c_in, c_mid)
            for convolution in (
                Convolution("depthwise", width, width, k, size, out, norm=True, relu=True),
                Convolution("conv", width, c_out, 1, out, out),
            )
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run at batch 1."""
        return sum(convolution.macs for convolution in self.convolutions)

    @property
    def params(self) -> int:
        """Weights plus the scale and shift of every batch norm."""
        return sum(c.weights + (2 * c.out_channels if c.norm else 0) for c in self.convolutions)


def operators_of(arch: Arch, num_keypoints: int = 14) -> list[Operator]:
    """List the operators of a network in the order they run; equal operators appear as often as they run.

    Args:
        arch: The architecture; its input is square, ``arch.image_size`` pixels a side.
        num_keypoints: K; head 0 makes 2K maps, head 1 makes K.
    """
    size, channels = arch.image_size, arch.stem_channels
    operators = [Operator("stem", size, 3, STEM_HIDDEN, channels, kernel=3, stride=2)]
    size //= 2
    raw = [channels]
    for stage in arch.stages:
        for b, block in enumerate(stage.blocks):
            stride = stage.stride if b == 0 else 1
            hidden = block.expansion * channels
            operators.append(
                Operator("bottleneck", size, channels, hidden, stage.channels, block.kernel, stride, block.expansion)
            )
            size, channels = size // stride, stage.channels
        raw.append(channels)
    for i, width in enumerate(arch.deconv_channels):
        operators.append(Operator("fusion_deconv", size, channels, raw[3 - i], width, DECONV_KERNEL, stride=2))
        size, channels = size * 2, width
        if i > 0:
            maps = 2 * num_keypoints if i == 1 else num_keypoints
            operators.append(Operator("head", size, channels, raw[2 - i], maps, HEAD_KERNEL, stride=1))
    return operators
