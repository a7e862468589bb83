"""The weight-sharing supernet: every architecture of a space, run with one set of weights.

Its modules have the names of the static network's, so that a subnet is a slice of the state dict.

Source: elastic dimensions after Cai et al., Once for All (arXiv:1908.09791); network: Lite Pose (arXiv:2205.01271).
"""

from torch import Tensor, nn

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Convolution, Operator, Place
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.elastic_layers import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticConvTranspose2d,
    ElasticDepthwiseConv2d,
)
from litepose_ofa.supernet.network.litepose import Heads, InvertedBottleneck, Layers, PoseNetwork, plan_of


class ElasticLayers(Layers):
    """Layers of the largest sizes of a space."""

    def __init__(self, space: SearchSpace, kernels: tuple[int, ...] = ()) -> None:
        self.space = space
        self.kernels = kernels

    def convolution(self, c: Convolution) -> nn.Module:
        """Return an elastic convolution of any kind."""
        if c.kind == "depthwise":
            return ElasticDepthwiseConv2d(c.in_channels, self.kernels or (c.kernel,), stride=c.stride)
        if c.kind == "transposed":
            return ElasticConvTranspose2d(c.in_channels, c.out_channels, c.kernel, c.stride, c.padding, bias=False)
        return ElasticConv2d(c.in_channels, c.out_channels, c.kernel, c.stride, c.padding)

    def norm(self, channels: int, ceiling: float | None = None) -> nn.Module:
        """Return an elastic batch norm with its activation."""
        return ElasticBatchNorm2d(channels, ceiling)

    def block(self, operator: Operator, stage: int) -> InvertedBottleneck:
        """Return a block with the stage's kernels."""
        return ElasticInvertedBottleneck(operator, ElasticLayers(self.space, self.space.stages[stage].kernels))


class ElasticInvertedBottleneck(InvertedBottleneck):
    """Inverted bottleneck with elastic width, expansion and kernel size."""

    def forward(self, x: Tensor, operator: Operator | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C_out, H / stride, W / stride) with the sizes of the operator that is to run."""
        assert operator is not None
        expand, expand_norm = self.inv
        depthwise, depthwise_norm = self.depth_conv
        project, project_norm = self.point_conv
        y: Tensor = expand_norm(expand(x, operator.mid_channels))
        y = depthwise_norm(depthwise(y, operator.kernel))
        y = project_norm(project(y, operator.out_channels))
        return x + y if operator.residual else y


class LitePoseSupernet(PoseNetwork):
    """All subnets of a search space over shared weights.

    Example:
        >>> import torch
        >>> space = SearchSpace.preset("tiny")
        >>> supernet = LitePoseSupernet(space)
        >>> head0, head1 = supernet(torch.zeros(1, 3, 96, 96), space.smallest())
        >>> tuple(head0.shape), tuple(head1.shape)
        ((1, 28, 24, 24), (1, 14, 48, 48))
    """

    def __init__(self, space: SearchSpace, num_keypoints: int = 14) -> None:
        super().__init__(space.largest(), num_keypoints, ElasticLayers(space))
        self.space = space

    def forward(self, images: Tensor, arch: Arch) -> Heads:
        """Run one subnet, whose ``image_size`` is not imposed on the images; they and the heads are ``LitePose``'s.

        Raises:
            ValueError: If the architecture is outside the space, or H or W is not a multiple of 16.
        """
        if not self.space.contains(arch):
            raise ValueError(f"architecture {arch.digest} is not in the space {self.space.name!r}")
        return self._run(images, plan_of(arch, self.num_keypoints))

    def run_operator(self, place: Place, operator: Operator, x: Tensor, raw: Tensor | None = None) -> Tensor:
        """Return the output of one operator at its own sizes; the blocks after a stage's depth are not run."""
        i, width = place.index, operator.out_channels
        if place.kind == "stem":
            stem, depthwise, project, norm = self.first
            y = norm(project(depthwise(stem(x)), width))
        elif place.kind == "bottleneck":
            y = self.get_submodule(place.name)(x, operator)
        elif place.kind == "fusion_deconv":
            y = self.deconv_bnrelu[i](self.deconv_refined[i](x, width) + self.deconv_raw[i](raw, width))
        else:
            return super().run_operator(place, operator, x, raw)
        output: Tensor = y
        return output
