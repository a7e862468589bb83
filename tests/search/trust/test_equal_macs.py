"""Subnets of equal MACs: within the window, distinct, and of shapes as different as can be."""

from itertools import combinations

import numpy as np
import pytest

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.trust.equal_macs import equal_macs_genomes, shape_coordinates
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError


@pytest.fixture(scope="module", params=["tiny", "litepose"])
def cost(request: pytest.FixtureRequest) -> CostModel:
    return CostModel(SearchSpace.preset(request.param))


def least_distance(codec: GenomeCodec, genomes: Genomes) -> float:
    places = shape_coordinates(codec, genomes)
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(places, 2))


def test_macs_lie_in_the_window(cost: CostModel) -> None:
    genomes = equal_macs_genomes(cost, 12, np.random.default_rng(0), tolerance=0.04)
    assert cost.codec.is_valid(genomes).all()
    assert len(np.unique(genomes, axis=0)) == 12
    macs = [measure_complexity(arch).macs for arch in cost.codec.decode_many(genomes)]
    extremes = [measure_complexity(arch).macs for arch in (cost.space.smallest(), cost.space.largest())]
    target = np.sqrt(np.prod(extremes, dtype=np.float64))
    assert (np.abs(np.array(macs) / target - 1) <= 0.02).all()
    target = 1.5 * target
    moved = equal_macs_genomes(cost, 5, np.random.default_rng(0), target=target)
    assert (np.abs(cost.evaluate(moved)["macs"] / target - 1) <= 0.025).all()


def test_every_kind_of_choice_varies(cost: CostModel) -> None:
    """Eight subnets have the smallest and the largest resolution, and span half the range of each other kind."""
    genomes = equal_macs_genomes(cost, 8, np.random.default_rng(0))
    assert {0, cost.codec.cardinalities[0] - 1} <= set(genomes[:, 0].tolist())
    archs = cost.codec.decode_many(genomes)
    smallest, largest = cost.space.smallest(), cost.space.largest()
    for kind in (
        lambda arch: sum(len(stage.blocks) for stage in arch.stages),
        lambda arch: sum(stage.channels for stage in arch.stages),
        lambda arch: np.mean([block.kernel for stage in arch.stages for block in stage.blocks]),
        lambda arch: np.mean([block.expansion for stage in arch.stages for block in stage.blocks]),
    ):
        values = [kind(arch) for arch in archs]
        assert max(values) - min(values) > 0.5 * (kind(largest) - kind(smallest))


def test_shapes_differ_more_than_by_chance(cost: CostModel) -> None:
    rng = np.random.default_rng(0)
    chosen = least_distance(cost.codec, equal_macs_genomes(cost, 10, rng))
    by_chance = [least_distance(cost.codec, cost.codec.sample(10, rng)) for _ in range(20)]
    assert chosen > max(by_chance)


def test_more_begin_with_the_fewer() -> None:
    cost = CostModel(SearchSpace.preset("tiny"))
    few, many = (equal_macs_genomes(cost, n, np.random.default_rng(4)) for n in (5, 15))
    np.testing.assert_array_equal(many[:5], few)
    assert not np.array_equal(equal_macs_genomes(cost, 5, np.random.default_rng(5)), few)


def test_coordinates_weigh_each_kind_alike() -> None:
    """From the smallest to the largest network is one unit of squared distance for each of the five kinds."""
    codec = GenomeCodec(SearchSpace.preset("litepose"))
    places = shape_coordinates(codec, codec.encode_many([codec.space.smallest(), codec.space.largest()]))
    assert np.square(places[1] - places[0]).sum() == pytest.approx(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1e6}, r"found 0 networks within 2.5 % of 1 MMACs, not 4; it has .* to .* MMACs"),
        ({"n": 4000}, r"space 'small': found \d+ networks .* not 4000"),
    ],
)
def test_refusals(small_cost: CostModel, options: dict[str, float], message: str) -> None:
    settings = {"n": 4, **options}
    with pytest.raises(InputError, match=message):
        equal_macs_genomes(small_cost, rng=np.random.default_rng(0), **settings)  # type: ignore[arg-type]
