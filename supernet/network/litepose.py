"""LitePose in torch, with the published checkpoint names, and the static network: one architecture in plain layers.

Source: Wang et al., Lite Pose (arXiv:2205.01271), and mit-han-lab/litepose, whose state-dict keys these modules keep.

Legend: B batch, K keypoints, H/W input height and width in pixels (multiples of 16).
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import get_args

from torch import Tensor, nn

from litepose_ofa.supernet.archs.arch import SIZE_MULTIPLE, Arch
from litepose_ofa.supernet.archs.complexity import require_buildable
from litepose_ofa.supernet.archs.operators import Convolution, Operator, OperatorKind, Place, operators_of, places_of
from litepose_ofa.supernet.network.activated_norm import ActivatedNorm
from litepose_ofa.supernet.network.dense import DenseConv2d
from litepose_ofa.supernet.network.depthwise import DepthwiseConv2d

Heads = tuple[Tensor, Tensor]
HEAD_INIT_STD = 0.001
RELU, RELU6 = math.inf, 6.0


class Layers:
    """Makes the layers of a network; those of a supernet are elastic."""

    def convolution(self, c: Convolution) -> nn.Module:
        """Return a convolution of any kind, without bias."""
        if c.kind == "depthwise":
            return DepthwiseConv2d(c.in_channels, c.kernel, stride=c.stride)
        if c.kind == "transposed":
            return nn.ConvTranspose2d(c.in_channels, c.out_channels, c.kernel, c.stride, c.padding, bias=False)
        return DenseConv2d(c.in_channels, c.out_channels, c.kernel, c.stride, c.padding)

    def norm(self, channels: int, ceiling: float | None = None) -> nn.Module:
        """Return a batch norm with its activation, as ``ActivatedNorm`` describes it."""
        return ActivatedNorm(channels, ceiling)

    def block(self, operator: Operator, stage: int) -> "InvertedBottleneck":
        """Return a block of a stage."""
        return InvertedBottleneck(operator, self)

    def chain(self, c: Convolution, ceiling: float | None = None) -> nn.Sequential:
        """Return a convolution and its batch norm with the activation."""
        return nn.Sequential(self.convolution(c), self.norm(c.out_channels, ceiling))


class InvertedBottleneck(nn.Module):
    """1x1 expand, depthwise, 1x1 project; the input is added if the shape stays."""

    def __init__(self, operator: Operator, layers: Layers) -> None:
        super().__init__()
        expand, depthwise, project = operator.convolutions
        self.inv = layers.chain(expand, RELU6)
        self.depth_conv = layers.chain(depthwise, RELU6)
        self.point_conv = layers.chain(project)
        self.residual = operator.residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        y: Tensor = self.point_conv(self.depth_conv(self.inv(x)))
        return x + y if self.residual else y


class FinalBranch(nn.Module):
    """One of the two branches that a head adds up: depthwise 5x5 and a 1x1 to the output maps."""

    def __init__(self, convolutions: Sequence[Convolution], layers: Layers) -> None:
        super().__init__()
        depthwise, project = convolutions
        self.conv = nn.Sequential(*layers.chain(depthwise, RELU), nn.Identity(), layers.convolution(project))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, maps, H, W)."""
        y: Tensor = self.conv(x)
        return y


class PoseNetwork(nn.Module):
    """The modules of a network under their published names, and the order they run in."""

    def __init__(self, arch: Arch, num_keypoints: int, layers: Layers) -> None:
        require_buildable(arch, num_keypoints)
        super().__init__()
        self.num_keypoints = num_keypoints
        operators = operators_of(arch, num_keypoints)
        (stem,), blocks, deconvs, heads = ([o for o in operators if o.kind == kind] for kind in get_args(OperatorKind))
        dense, depthwise, project = stem.convolutions
        self.first = nn.Sequential(
            layers.chain(dense, RELU6),
            layers.chain(depthwise, RELU6),
            *layers.chain(project),
        )
        remaining = iter(blocks)
        self.stage = nn.ModuleList(
            nn.Sequential(*(layers.block(next(remaining), stage) for _ in range(depth)))
            for stage, depth in enumerate(arch.depths)
        )
        refined, raw = zip(*(deconv.convolutions for deconv in deconvs), strict=True)
        self.deconv_refined = nn.ModuleList(map(layers.convolution, refined))
        self.deconv_raw = nn.ModuleList(map(layers.convolution, raw))
        self.deconv_bnrelu = nn.ModuleList(nn.Sequential(layers.norm(deconv.out_channels, RELU)) for deconv in deconvs)
        self.final_refined = nn.ModuleList(FinalBranch(head.convolutions[:2], layers) for head in heads)
        self.final_raw = nn.ModuleList(FinalBranch(head.convolutions[2:], layers) for head in heads)
        initialise_weights(self)

    def run_operator(self, place: Place, operator: Operator, x: Tensor, raw: Tensor | None = None) -> Tensor:
        """Return the output of one operator; fusion deconvs and heads have a raw input too."""
        i = place.index
        if place.kind == "stem":
            y = self.first(x)
        elif place.kind == "bottleneck":
            y = self.get_submodule(place.name)(x)
        elif place.kind == "fusion_deconv":
            y = self.deconv_bnrelu[i](self.deconv_refined[i](x) + self.deconv_raw[i](raw))
        else:
            y = self.final_refined[i](x) + self.final_raw[i](raw)
        output: Tensor = y
        return output

    def _run(self, images: Tensor, plan: Iterable[tuple[Place, Operator]]) -> Heads:
        """Run operators one after the other; a map is let go when its last reader has it."""
        height, width = images.shape[-2:]
        if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
            raise ValueError(f"images are {height} x {width} pixels; both sides must be multiples of {SIZE_MULTIPLE}")
        maps: dict[int, Tensor] = {}
        for number, (place, operator) in enumerate(plan):
            pairs = zip(place.inputs, place.kept, strict=True)
            inputs = [maps[i] if again else maps.pop(i) for i, again in pairs] or [images]
            maps[number] = self.run_operator(place, operator, *inputs)
        head0, head1 = maps.values()
        return head0, head1


class LitePose(PoseNetwork):
    """The pose network of one architecture, for inputs whose sides are multiples of 16, ``arch.image_size`` or not.

    Example:
        >>> import torch
        >>> from litepose_ofa.supernet.archs.space import SearchSpace
        >>> head0, head1 = LitePose(SearchSpace.preset("tiny").smallest())(torch.zeros(1, 3, 96, 96))
        >>> tuple(head0.shape), tuple(head1.shape)
        ((1, 28, 24, 24), (1, 14, 48, 48))
    """

    def __init__(self, arch: Arch, num_keypoints: int = 14) -> None:
        super().__init__(arch, num_keypoints, Layers())
        self.arch = arch
        self._plan = plan_of(arch, num_keypoints)

    def forward(self, images: Tensor) -> Heads:
        """Run the network on images (B, 3, H, W), RGB, normalised by the ImageNet mean and standard deviation.

        Head 0 is (B, 2K, H/4, W/4), K heatmaps, then K associative-embedding tags; head 1 (B, K, H/2, W/2), heatmaps.
        """
        return self._run(images, self._plan)


@lru_cache(maxsize=64)
def plan_of(arch: Arch, num_keypoints: int) -> tuple[tuple[Place, Operator], ...]:
    """Return the operators of a network with their places."""
    return tuple(zip(places_of(arch.depths), operators_of(arch, num_keypoints), strict=True))


def initialise_weights(model: nn.Module) -> None:
    """Draw weights from torch's global generator: He-normal convolutions, near-zero last layers of the heads."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if name.startswith("final_") and name.endswith(".conv.3"):
                nn.init.normal_(module.weight, std=HEAD_INIT_STD)
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
