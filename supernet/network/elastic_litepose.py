"""The weight-sharing supernet: every architecture of a space, run with one set of weights.

Its modules have the names of the static network's, so that a subnet is a slice of the state dict.

Source: elastic dimensions after Cai et al., Once for All (arXiv:1908.09791); network: Lite Pose (arXiv:2205.01271).
"""

from torch import Tensor, nn

from litepose_ofa.supernet.archs.arch import STAGE_STRIDES, Arch, BlockArch
from litepose_ofa.supernet.archs.complexity import require_buildable
from litepose_ofa.supernet.archs.operators import DECONV_KERNEL, HEAD_KERNEL, STEM_HIDDEN
from litepose_ofa.supernet.archs.space import SearchSpace, StageSpace
from litepose_ofa.supernet.network.elastic_layers import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticConvTranspose2d,
    ElasticDepthwiseConv2d,
)
from litepose_ofa.supernet.network.litepose import Heads, check_input_size, initialise_weights


class ElasticInvertedBottleneck(nn.Module):
    """Inverted bottleneck with elastic width, expansion and kernel size."""

    def __init__(self, in_channels: int, space: StageSpace, *, stride: int) -> None:
        super().__init__()
        hidden, out_channels = space.expansions[-1] * in_channels, space.channels[-1]
        self.inv = nn.Sequential(_pointwise(in_channels, hidden), ElasticBatchNorm2d(hidden), nn.ReLU6(inplace=True))
        self.depth_conv = nn.Sequential(
            ElasticDepthwiseConv2d(hidden, space.kernels, stride=stride),
            ElasticBatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
        )
        self.point_conv = nn.Sequential(_pointwise(hidden, out_channels), ElasticBatchNorm2d(out_channels))
        self.stride = stride

    def forward(self, x: Tensor, block: BlockArch, out_channels: int) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride) with the kernel and expansion of ``block``."""
        expand, expand_norm, activation = self.inv
        depthwise, depthwise_norm, _ = self.depth_conv
        project, project_norm = self.point_conv
        y: Tensor = activation(expand_norm(expand(x, block.expansion * x.shape[1])))
        y = activation(depthwise_norm(depthwise(y, block.kernel)))
        y = project_norm(project(y, out_channels))
        residual = self.stride == 1 and x.shape[1] == out_channels
        return x + y if residual else y


class ElasticFinalBranch(nn.Module):
    """One of the two branches that a head adds up; its input width is elastic, its maps are not."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            ElasticDepthwiseConv2d(in_channels, (HEAD_KERNEL,)),
            ElasticBatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            _pointwise(in_channels, out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, maps, H, W)."""
        y: Tensor = self.conv(x)
        return y


class LitePoseSupernet(nn.Module):
    """All subnets of a search space over shared weights.

    Args:
        space: The search space.
        num_keypoints: K.

    Raises:
        InputError: If its largest subnet would be beyond all measure.

    Example:
        >>> import torch
        >>> space = SearchSpace.preset("tiny")
        >>> supernet = LitePoseSupernet(space)
        >>> head0, head1 = supernet(torch.zeros(1, 3, 96, 96), space.smallest())
        >>> tuple(head0.shape), tuple(head1.shape)
        ((1, 28, 24, 24), (1, 14, 48, 48))
    """

    def __init__(self, space: SearchSpace, num_keypoints: int = 14) -> None:
        require_buildable(space.largest(), num_keypoints)
        super().__init__()
        self.space = space
        self.num_keypoints = num_keypoints
        channels = space.stem_channels[-1]
        self.first = nn.Sequential(
            nn.Sequential(
                nn.Conv2d(3, STEM_HIDDEN, 3, stride=2, padding=1, bias=False),
                ElasticBatchNorm2d(STEM_HIDDEN),
                nn.ReLU6(inplace=True),
            ),
            nn.Sequential(
                nn.Conv2d(STEM_HIDDEN, STEM_HIDDEN, 3, padding=1, groups=STEM_HIDDEN, bias=False),
                ElasticBatchNorm2d(STEM_HIDDEN),
                nn.ReLU6(inplace=True),
            ),
            _pointwise(STEM_HIDDEN, channels),
            ElasticBatchNorm2d(channels),
        )
        raw_channels = [channels]
        stages: list[nn.Module] = []
        for stage, stage_stride in zip(space.stages, STAGE_STRIDES, strict=True):
            blocks: list[nn.Module] = []
            for b in range(stage.depths[-1]):
                blocks.append(ElasticInvertedBottleneck(channels, stage, stride=stage_stride if b == 0 else 1))
                channels = stage.channels[-1]
            stages.append(nn.ModuleList(blocks))
            raw_channels.append(channels)
        self.stage = nn.ModuleList(stages)

        deconv_channels = [choices[-1] for choices in space.deconv_channels]
        refined_channels = (channels, *deconv_channels)
        self.deconv_refined = nn.ModuleList(_deconv(refined_channels[i], refined_channels[i + 1]) for i in range(3))
        self.deconv_raw = nn.ModuleList(_deconv(raw_channels[3 - i], refined_channels[i + 1]) for i in range(3))
        self.deconv_bnrelu = nn.ModuleList(
            nn.Sequential(ElasticBatchNorm2d(width), nn.ReLU(inplace=True)) for width in deconv_channels
        )
        maps = (2 * num_keypoints, num_keypoints)
        self.final_refined = nn.ModuleList(ElasticFinalBranch(refined_channels[j + 2], maps[j]) for j in range(2))
        self.final_raw = nn.ModuleList(ElasticFinalBranch(raw_channels[1 - j], maps[j]) for j in range(2))
        initialise_weights(self)

    def forward(self, images: Tensor, arch: Arch) -> Heads:
        """Run one subnet.

        Args:
            images: (B, 3, H, W), RGB, normalised by the ImageNet mean and standard deviation; sides multiples of 16.
            arch: The subnet. Its ``image_size`` is not imposed on the images.

        Returns:
            Head 0, (B, 2K, H/4, W/4): K heatmaps, then K tags. Head 1, (B, K, H/2, W/2): heatmaps.

        Raises:
            ValueError: If the architecture is outside the space, or a side of the images is no multiple of 16.
        """
        if not self.space.contains(arch):
            raise ValueError(f"architecture {arch.digest} is not in the space {self.space.name!r}")
        check_input_size(images)
        stem, stem_depthwise, stem_project, stem_norm = self.first
        x = stem_norm(stem_project(stem_depthwise(stem(images)), arch.stem_channels))
        raw = [x]
        for blocks, stage in zip(self.stage, arch.stages, strict=True):
            assert isinstance(blocks, nn.ModuleList)
            for module, block in zip(blocks, stage.blocks, strict=False):  # elastic depth: the last blocks are dropped
                x = module(x, block, stage.channels)
            raw.append(x)
        heads = []
        for i, width in enumerate(arch.deconv_channels):
            x = self.deconv_bnrelu[i](self.deconv_refined[i](x, width) + self.deconv_raw[i](raw[3 - i], width))
            if i > 0:
                heads.append(self.final_refined[i - 1](x) + self.final_raw[i - 1](raw[2 - i]))
        return heads[0], heads[1]


def _pointwise(in_channels: int, out_channels: int) -> ElasticConv2d:
    return ElasticConv2d(in_channels, out_channels, 1, bias=False)


def _deconv(in_channels: int, out_channels: int) -> ElasticConvTranspose2d:
    return ElasticConvTranspose2d(in_channels, out_channels, DECONV_KERNEL, stride=2, padding=1, bias=False)
