"""Networks of other families as lists of their convolutions: what the estimates are checked on, never fitted to.

Only convolutions are listed: squeeze-and-excitation, additions, upsampling, pooling and classifiers on a single pixel
are left out. Legend: a size is the side of a square map in pixels; the branch i of a high-resolution module works at
1 / 2^(i + 2) of the input.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from litepose_ofa.supernet.archs.operators import Convolution
from litepose_ofa.supernet.files import read_yaml

REFERENCE_NETWORKS_PATH = Path(__file__).parent / "reference_networks.yaml"

Convolutions = list[Convolution]


def reference_network(name: str) -> Convolutions:
    """Return the convolutions of a network of ``reference_networks.yaml`` in the order they run."""
    settings = dict(_descriptions()[name])
    for key in ("source", "published_gmacs"):
        settings.pop(key)
    return list(_FAMILIES[settings.pop("family")](**settings))


def published_gmacs(name: str) -> float:
    """Return 10^9 multiply-accumulates as published: those of a transposed convolution count at its output's size."""
    return float(_descriptions()[name]["published_gmacs"])


def gmacs_as_published(convolutions: Iterable[Convolution]) -> float:
    """Return 10^9 multiply-accumulates, those of a transposed convolution of stride 2 four times."""
    return sum(c.macs * (4 if c.kind == "transposed" else 1) for c in convolutions) / 1e9


def conv(c_in: int, c_out: int, kernel: int, size: int, stride: int = 1) -> Convolution:
    """Return a padded convolution whose input is ``size`` pixels a side."""
    return Convolution("conv", c_in, c_out, kernel, size, math.ceil(size / stride), norm=True, relu=True)


def inverted_bottleneck(
    c_in: int, c_out: int, *, kernel: int, size: int, stride: int, expansion: int
) -> Iterator[Convolution]:
    """Yield a block of MobileNetV2 (arXiv:1801.04381); one of expansion 1 has no first 1x1 convolution."""
    hidden, out_size = expansion * c_in, math.ceil(size / stride)
    if expansion > 1:
        yield conv(c_in, hidden, 1, size)
    yield Convolution("depthwise", hidden, hidden, kernel, size, out_size, norm=True, relu=True)
    yield conv(hidden, c_out, 1, out_size)


def mobile_network(*, image_size: int, stem: int, blocks: Sequence[Sequence[int]], last: int) -> Iterator[Convolution]:
    """Yield a classifier made of inverted bottlenecks.

    Args:
        image_size: R.
        stem: Channels after the first convolution, 3x3 of stride 2.
        blocks: Output channels, kernel, stride and expansion of each block.
        last: Channels of the 1x1 convolution before the classifier.
    """
    yield conv(3, stem, 3, image_size, 2)
    channels, size = stem, image_size // 2
    for c_out, kernel, stride, expansion in blocks:
        yield from inverted_bottleneck(channels, c_out, kernel=kernel, size=size, stride=stride, expansion=expansion)
        channels, size = c_out, math.ceil(size / stride)
    yield conv(channels, last, 1, size)


def basic_blocks(channels: int, size: int, count: int) -> Convolutions:
    """Return residual blocks of two 3x3 convolutions each."""
    return [conv(channels, channels, 3, size)] * (2 * count)


def high_resolution_module(
    widths: Sequence[int], sizes: Sequence[int], *, blocks: int, outputs: int
) -> Iterator[Convolution]:
    """Yield parallel branches of residual blocks and the fusion of each of the first ``outputs`` with all others."""
    for width, size in zip(widths, sizes, strict=True):
        yield from basic_blocks(width, size, blocks)
    for i in range(outputs):
        for j, width in enumerate(widths):
            if j > i:
                yield conv(width, widths[i], 1, sizes[j])
            for step in range(j, i):
                yield conv(width, widths[i] if step == i - 1 else width, 3, sizes[step], 2)


def pose_head(channels: int, *, size: int, blocks: int, num_keypoints: int) -> Iterator[Convolution]:
    """Yield HigherHRNet's head (arXiv:1908.10357): 2K maps, a deconvolution of them and the features, K larger maps."""
    yield conv(channels, 2 * num_keypoints, 1, size)
    yield Convolution("transposed", channels + 2 * num_keypoints, channels, 4, size, 2 * size, norm=True, relu=True)
    yield from basic_blocks(channels, 2 * size, blocks)
    yield conv(channels, num_keypoints, 1, 2 * size)


def higher_hrnet(*, image_size: int, width: int, stem: int, num_keypoints: int) -> Iterator[Convolution]:
    """Yield HigherHRNet (arXiv:1908.10357).

    Args:
        image_size: R.
        width: Channels of the first branch.
        stem: Bottleneck channels of the first stage.
        num_keypoints: K.
    """
    sizes = [image_size // 2 ** (i + 2) for i in range(4)]
    widths = [width * 2**i for i in range(4)]
    yield conv(3, 64, 3, image_size, 2)
    yield conv(64, 64, 3, image_size // 2, 2)
    for b in range(4):
        c_in = 64 if b == 0 else 4 * stem
        if c_in != 4 * stem:
            yield conv(c_in, 4 * stem, 1, sizes[0])
        yield from (conv(c_in, stem, 1, sizes[0]), conv(stem, stem, 3, sizes[0]), conv(stem, 4 * stem, 1, sizes[0]))
    yield conv(4 * stem, widths[0], 3, sizes[0])
    yield conv(4 * stem, widths[1], 3, sizes[0], 2)
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        if stage > 2:
            yield conv(widths[stage - 2], widths[stage - 1], 3, sizes[stage - 2], 2)
        for module in range(modules):
            outputs = 1 if stage == 4 and module == modules - 1 else stage
            yield from high_resolution_module(widths[:stage], sizes[:stage], blocks=4, outputs=outputs)
    yield from pose_head(widths[0], size=sizes[0], blocks=4, num_keypoints=num_keypoints)


def efficient_hrnet(
    *, image_size: int, scale: int, width: float, depth: float, third_stage: int, num_keypoints: int
) -> Iterator[Convolution]:
    """Yield EfficientHRNet (arXiv:2007.08090): a scaled EfficientNet whose maps enter high-resolution stages.

    Args:
        image_size: R.
        scale: Branch widths are those of W32 times 1.2455 to the power of this, rounded up.
        width: Factor on the backbone's channels, rounded to multiples of 8.
        depth: Factor on the backbone's repeats, rounded up.
        third_stage: Modules of the third stage.
        num_keypoints: K.
    """
    channels, size = _multiple_of_8(32 * width), image_size // 2
    yield conv(3, channels, 3, image_size, 2)
    tapped = []
    for expansion, base, repeats, stride, kernel, is_tapped in _EFFICIENTNET_STAGES:
        for b in range(math.ceil(repeats * depth)):
            c_out, step = _multiple_of_8(base * width), stride if b == 0 else 1
            yield from inverted_bottleneck(channels, c_out, kernel=kernel, size=size, stride=step, expansion=expansion)
            channels, size = c_out, math.ceil(size / step)
        if is_tapped:
            tapped.append((channels, size))
    widths = [math.ceil(base * 1.2455**scale) for base in (32, 64, 128, 256)]
    sizes = [size for _, size in tapped]
    for stage, modules in ((2, 1), (3, third_stage), (4, 3)):
        for i in range(stage):
            entering = stage == 2 or i == stage - 1
            yield conv(tapped[i][0] if entering else widths[i], widths[i], 3, sizes[i])
        for module in range(modules):
            outputs = 1 if stage == 4 and module == modules - 1 else stage
            yield from high_resolution_module(widths[:stage], sizes[:stage], blocks=2, outputs=outputs)
    yield from pose_head(widths[0], size=sizes[0], blocks=2, num_keypoints=num_keypoints)


def mobilenet_v2(*, image_size: int, width: float) -> Iterator[Convolution]:
    """Yield MobileNetV2 (arXiv:1801.04381) of a width factor of at most 1, its channels rounded down."""
    blocks = [
        (int(channels * width), 3, stride if b == 0 else 1, expansion)
        for expansion, channels, repeats, stride in _MOBILENET_V2_STAGES
        for b in range(repeats)
    ]
    return mobile_network(image_size=image_size, stem=int(32 * width), blocks=blocks, last=1280)


def _multiple_of_8(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


@cache
def _descriptions() -> Mapping[str, Mapping[str, Any]]:
    descriptions: Mapping[str, Mapping[str, Any]] = read_yaml(REFERENCE_NETWORKS_PATH)
    return descriptions


# Expansion, channels, repeats, stride, kernel, and whether a high-resolution branch starts from the stage.
_EFFICIENTNET_STAGES = (
    (1, 16, 1, 1, 3, False),
    (6, 24, 2, 2, 3, True),
    (6, 40, 2, 2, 5, True),
    (6, 80, 3, 2, 3, False),
    (6, 112, 3, 1, 5, True),
    (6, 192, 4, 2, 5, False),
    (6, 320, 1, 1, 3, True),
)

# Expansion, channels, repeats, stride.
_MOBILENET_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

_FAMILIES: Mapping[str, Callable[..., Iterator[Convolution]]] = {
    "higher_hrnet": higher_hrnet,
    "efficient_hrnet": efficient_hrnet,
    "mobilenet_v2": mobilenet_v2,
    "mobile_network": mobile_network,
}
