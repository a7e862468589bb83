"""The operators of a space: every architecture's are among them, none is there in vain; what a table has of them."""

import random
from dataclasses import replace
from itertools import product

import pytest

from litepose_ofa.latency_tables import LatencyTable, OperatorLatency
from litepose_ofa.latency_tables.coverage import SHOWN, coverage, space_operators
from litepose_ofa.supernet.archs.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace

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


def test_coverage_tells_measured_fitted_interpolated_and_missing_apart() -> None:
    """Of ``tiny`` a table has 64 and 128 pixels, so that 96 lies between; one stem is fitted, and no head is known."""
    shipped = LatencyTable.load("raspberry_pi_4b")
    wanted = space_operators(TINY)
    at_128 = {o for o in wanted if o not in space_operators(replace(TINY, image_sizes=(96,)))}
    at_64 = space_operators(replace(TINY, image_sizes=(64,)))
    rows = {o: OperatorLatency(1.0, 0.1, 0 if o.kind == "stem" else 50) for o in at_128 | at_64 if o.kind != "head"}
    found = coverage(LatencyTable(shipped.metadata, rows), TINY)
    heads = [o for o in wanted if o.kind == "head"]
    assert set(found.missing) == set(heads)
    assert found.counts["stem"] == {"measured": 0, "fitted": 1, "interpolated": 1, "missing": 0}
    assert found.counts["head"] == {"measured": 0, "fitted": 0, "interpolated": 0, "missing": len(heads)}
    assert found.total("measured") == sum(o in rows and o.kind != "stem" for o in wanted)
    assert sum(found.total(standing) for standing in found.counts["stem"]) == len(wanted)
    lines = str(found).splitlines()
    assert lines[6].startswith("missing: head (resolution 24, channels 8/8/28, kernel 5")
    assert lines[-1] == f"and {len(heads) - SHOWN} more"
