"""The operators of a space: every architecture's are among them, and none is there in vain."""

import random
from itertools import product

import pytest

from latency_tables.coverage import space_operators
from supernet.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from supernet.operators import operators_of
from supernet.space import PRESETS, SearchSpace

TINY = SearchSpace.preset("tiny")


@pytest.mark.parametrize("space", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("num_keypoints", [14, 17])
def test_every_architecture_is_covered(space: SearchSpace, num_keypoints: int) -> None:
    covered, rng = space_operators(space, num_keypoints), random.Random(7)
    archs = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(300))]
    assert {operator for arch in archs for operator in operators_of(arch, num_keypoints)} <= covered


def test_every_operator_of_tiny_is_used() -> None:
    """Networks of one kind of block everywhere, over all widths, run every operator of the space."""
    widths = product(*(stage.channels for stage in TINY.stages), *TINY.deconv_channels)
    used = set()
    for image_size, stem, chosen, kernel, expansion in product(
        TINY.image_sizes, TINY.stem_channels, list(widths), TINY.stages[0].kernels, TINY.stages[0].expansions
    ):
        blocks = (BlockArch(expansion, kernel),) * TINY.stages[0].depths[-1]
        stages = tuple(StageArch(c, s, blocks) for c, s in zip(chosen[:4], STAGE_STRIDES, strict=True))
        arch = Arch(image_size, stem, stages, chosen[4:])
        assert TINY.contains(arch)
        used.update(operators_of(arch))
    assert space_operators(TINY) == used
