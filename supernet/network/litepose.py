"""Static LitePose: one architecture in plain torch layers, with the published checkpoint names.

Source: Wang et al., Lite Pose (arXiv:2205.01271), and mit-han-lab/litepose, whose state-dict keys these modules keep.

Legend: B batch, K keypoints, H/W input height and width in pixels (multiples of 16).
"""

from torch import Tensor, nn

from litepose_ofa.supernet.archs.arch import SIZE_MULTIPLE, Arch
from litepose_ofa.supernet.archs.complexity import require_buildable
from litepose_ofa.supernet.archs.operators import DECONV_KERNEL, HEAD_KERNEL, STEM_HIDDEN
from litepose_ofa.supernet.network.depthwise import DepthwiseConv2d

Heads = tuple[Tensor, Tensor]
HEAD_INIT_STD = 0.001


class InvertedBottleneck(nn.Module):
    """1x1 expand, depthwise, 1x1 project; the input is added if the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.inv = nn.Sequential(_conv(in_channels, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True))
        self.depth_conv = nn.Sequential(
            DepthwiseConv2d(hidden, kernel, stride=stride),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
        )
        self.point_conv = nn.Sequential(_conv(hidden, out_channels, 1), nn.BatchNorm2d(out_channels))
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        y: Tensor = self.point_conv(self.depth_conv(self.inv(x)))
        return x + y if self.residual else y


class FinalBranch(nn.Module):
    """One of the two branches that a head adds up: depthwise 5x5 and a 1x1 to the output maps."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            DepthwiseConv2d(in_channels, HEAD_KERNEL),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            _conv(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, maps, H, W)."""
        y: Tensor = self.conv(x)
        return y


class LitePose(nn.Module):
    """The pose network of one architecture.

    Args:
        arch: The architecture; any input whose sides are multiples of 16 is accepted, ``arch.image_size`` or not.
        num_keypoints: K.

    Raises:
        InputError: If it would be beyond all measure.

    Example:
        >>> import torch
        >>> from litepose_ofa.supernet.archs.space import SearchSpace
        >>> head0, head1 = LitePose(SearchSpace.preset("tiny").smallest())(torch.zeros(1, 3, 96, 96))
        >>> tuple(head0.shape), tuple(head1.shape)
        ((1, 28, 24, 24), (1, 14, 48, 48))
    """

    def __init__(self, arch: Arch, num_keypoints: int = 14) -> None:
        require_buildable(arch, num_keypoints)
        super().__init__()
        self.arch = arch
        self.num_keypoints = num_keypoints
        channels = arch.stem_channels
        self.first = nn.Sequential(
            nn.Sequential(_conv(3, STEM_HIDDEN, 3, stride=2), nn.BatchNorm2d(STEM_HIDDEN), nn.ReLU6(inplace=True)),
            nn.Sequential(
                DepthwiseConv2d(STEM_HIDDEN, 3),
                nn.BatchNorm2d(STEM_HIDDEN),
                nn.ReLU6(inplace=True),
            ),
            _conv(STEM_HIDDEN, channels, 1),
            nn.BatchNorm2d(channels),
        )
        raw_channels = [channels]
        stages: list[nn.Module] = []
        for stage in arch.stages:
            blocks: list[nn.Module] = []
            for b, block in enumerate(stage.blocks):
                stride = stage.stride if b == 0 else 1
                blocks.append(
                    InvertedBottleneck(
                        channels, stage.channels, expansion=block.expansion, kernel=block.kernel, stride=stride
                    )
                )
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
            raw_channels.append(channels)
        self.stage = nn.ModuleList(stages)

        refined_channels = (channels, *arch.deconv_channels)
        self.deconv_refined = nn.ModuleList(_deconv(refined_channels[i], refined_channels[i + 1]) for i in range(3))
        self.deconv_raw = nn.ModuleList(_deconv(raw_channels[3 - i], refined_channels[i + 1]) for i in range(3))
        self.deconv_bnrelu = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True)) for width in arch.deconv_channels
        )
        maps = (2 * num_keypoints, num_keypoints)
        self.final_refined = nn.ModuleList(FinalBranch(refined_channels[j + 2], maps[j]) for j in range(2))
        self.final_raw = nn.ModuleList(FinalBranch(raw_channels[1 - j], maps[j]) for j in range(2))
        initialise_weights(self)

    def forward(self, images: Tensor) -> Heads:
        """Run the network.

        Args:
            images: (B, 3, H, W), RGB, normalised by the ImageNet mean and standard deviation.

        Returns:
            Head 0, (B, 2K, H/4, W/4): K heatmaps, then K associative-embedding tags.
            Head 1, (B, K, H/2, W/2): heatmaps.

        Raises:
            ValueError: If H or W is no multiple of 16.
        """
        check_input_size(images)
        x = self.first(images)
        raw = [x]
        for stage in self.stage:
            x = stage(x)
            raw.append(x)
        heads = []
        for i in range(3):
            x = self.deconv_bnrelu[i](self.deconv_refined[i](x) + self.deconv_raw[i](raw[3 - i]))
            if i > 0:
                heads.append(self.final_refined[i - 1](x) + self.final_raw[i - 1](raw[2 - i]))
        return heads[0], heads[1]


def check_input_size(images: Tensor) -> None:
    """Raise ``ValueError`` if the images (B, 3, H, W) do not fit through the network."""
    height, width = images.shape[-2:]
    if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
        raise ValueError(f"images are {height} x {width} pixels; both sides must be multiples of {SIZE_MULTIPLE}")


def initialise_weights(model: nn.Module) -> None:
    """Draw weights from torch's global generator: He-normal convolutions, near-zero last layers of the heads."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if name.startswith("final_") and name.endswith(".conv.3"):
                nn.init.normal_(module.weight, std=HEAD_INIT_STD)
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _conv(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)


def _deconv(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, DECONV_KERNEL, stride=2, padding=1, bias=False)
