"""All operators that the architectures of a search space can run: what a latency table of the space must hold."""

from collections.abc import Iterator
from itertools import product

from supernet.arch import STAGE_STRIDES
from supernet.operators import DECONV_KERNEL, HEAD_KERNEL, STEM_HIDDEN, Operator
from supernet.space import SearchSpace


def space_operators(space: SearchSpace, num_keypoints: int = 14) -> set[Operator]:
    """Enumerate the distinct operators of a space without enumerating its architectures.

    Args:
        space: The search space.
        num_keypoints: K, 14 for CrowdPose and 17 for COCO.
    """
    return {
        operator
        for image_size in space.image_sizes
        for part in (
            _stem(space, image_size),
            _bottlenecks(space, image_size // 2),
            _fusion(space, image_size, num_keypoints),
        )
        for operator in part
    }


def _stem(space: SearchSpace, size: int) -> Iterator[Operator]:
    for width in space.stem_channels:
        yield Operator("stem", size, 3, STEM_HIDDEN, width, kernel=3, stride=2)


def _bottlenecks(space: SearchSpace, size: int) -> Iterator[Operator]:
    """Yield every stage's first block, which changes width and size, and its later blocks, which change neither."""
    before = space.stem_channels
    for stage, stride in zip(space.stages, STAGE_STRIDES, strict=True):
        for c_in, c_out, k, e in product(before, stage.channels, stage.kernels, stage.expansions):
            yield Operator("bottleneck", size, c_in, e * c_in, c_out, k, stride, e)
        size //= stride
        if stage.depths[-1] > 1:
            for c, k, e in product(stage.channels, stage.kernels, stage.expansions):
                yield Operator("bottleneck", size, c, e * c, c, k, 1, e)
        before = stage.channels


def _fusion(space: SearchSpace, image_size: int, num_keypoints: int) -> Iterator[Operator]:
    """Yield the fusion deconvs and the heads; ``raw`` are the widths that each of them may find in the backbone."""
    raw = (space.stem_channels, *(stage.channels for stage in space.stages))
    refined, size = raw[-1], image_size // 16
    for i, widths in enumerate(space.deconv_channels):
        for c_in, c_raw, c_out in product(refined, raw[3 - i], widths):
            yield Operator("fusion_deconv", size, c_in, c_raw, c_out, DECONV_KERNEL, stride=2)
        refined, size = widths, size * 2
        if i > 0:
            maps = 2 * num_keypoints if i == 1 else num_keypoints
            for c_in, c_raw in product(refined, raw[2 - i]):
                yield Operator("head", size, c_in, c_raw, maps, HEAD_KERNEL, stride=1)
