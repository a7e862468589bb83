"""Which subnets are measured: distinct, spread over MACs, a longer list begins like a shorter one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.search.accuracy.sampling import (
    UNIFORM_SHARES,
    AccuracySamples,
    first_genomes,
    stratified_genomes,
    uniform_genomes,
)
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

TINY = GenomeCodec(SearchSpace.preset("tiny"))


@pytest.mark.parametrize("name", ["tiny", "litepose"])
def test_samples_are_distinct_and_spread(name: str) -> None:
    cost = CostModel(SearchSpace.preset(name))
    genomes = stratified_genomes(cost, 80, np.random.default_rng(0))
    assert cost.codec.is_valid(genomes).all()
    assert len(np.unique(genomes, axis=0)) == 80
    assert cost.codec.decode_many(genomes[:2]) == [cost.space.smallest(), cost.space.largest()]
    macs = np.log(cost.evaluate(genomes)["macs"])
    assert (np.histogram(macs, bins=5)[0] >= 5).all()
    by_params = stratified_genomes(cost, 80, np.random.default_rng(0), spread_over="params")
    assert (np.histogram(np.log(cost.evaluate(by_params)["params"]), bins=5)[0] > 10).all()
    for column in np.flatnonzero(cost.codec.cardinalities > 1):
        assert len(np.unique(genomes[:, column])) == cost.codec.cardinalities[column]


def test_uniform_networks_come_first(tiny_cost: CostModel) -> None:
    uniform = uniform_genomes(tiny_cost.codec, UNIFORM_SHARES)
    genomes = stratified_genomes(tiny_cost, 20, np.random.default_rng(0))
    np.testing.assert_array_equal(genomes[: len(uniform)], uniform)
    for arch in tiny_cost.codec.decode_many(uniform):
        assert len({block.kernel for stage in arch.stages for block in stage.blocks}) == 1


def test_more_samples_begin_with_the_fewer(tiny_cost: CostModel) -> None:
    few = stratified_genomes(tiny_cost, 20, np.random.default_rng(1))
    many = stratified_genomes(tiny_cost, 100, np.random.default_rng(1))
    np.testing.assert_array_equal(many[:20], few)
    assert not np.array_equal(stratified_genomes(tiny_cost, 20, np.random.default_rng(2)), few)


def test_a_small_space_is_sampled_whole(small_cost: CostModel) -> None:
    genomes = stratified_genomes(small_cost, 10**6, np.random.default_rng(0))
    assert 0.5 * small_cost.space.size < len(genomes) <= small_cost.space.size


def test_file_round_trip(tiny_cost: CostModel, identity: dict[str, Any], tmp_path: Path) -> None:
    genomes = stratified_genomes(tiny_cost, 12, np.random.default_rng(0))
    path = tmp_path / "samples.json"
    AccuracySamples(tiny_cost.space, 17, identity, genomes, np.linspace(0.1, 0.7, 12)).save(path)
    loaded = AccuracySamples.load(path)
    assert (loaded.space, loaded.num_keypoints) == (tiny_cost.space, 17)
    assert json.dumps(loaded.identity) == json.dumps(identity)
    np.testing.assert_array_equal(loaded.genomes, genomes)
    np.testing.assert_array_equal(loaded.ap, np.linspace(0.1, 0.7, 12))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        AccuracySamples.load(tmp_path / "samples.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": None}, "is not a file of measured subnets: samples is null"),
        ({"num_keypoints": -3}, "num_keypoints is -3; it must be an integer from 1 to 1000"),
        (
            {"samples": [{"genome": [0], "ap": float("nan")}]},
            r"samples\[0\]\.ap is nan; it must be a number from 0 to 1",
        ),
        ({"samples": [{"genome": [0], "ap": 0.5}]}, "a genome is not of the space 'tiny'"),
        ({"samples": [{"genome": [9] * TINY.length, "ap": 0.5}]}, "a genome is not of the space 'tiny'"),
        ({"num_proposed": 4}, "num_proposed is 4; it must be at most 3"),
    ],
)
def test_what_a_file_says_is_checked(
    tiny_cost: CostModel, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "samples.json"
    genomes = tiny_cost.codec.sample(3, np.random.default_rng(0))
    AccuracySamples(tiny_cost.space, 14, {}, genomes, np.full(3, 0.5)).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=rf"samples\.json: .*{message}"):
        AccuracySamples.load(path)


def test_the_ends_of_the_space_come_first_and_all_differ() -> None:
    archs = TINY.decode_many(first_genomes(TINY, 12, np.random.default_rng(0)))
    assert archs[:2] == [TINY.space.smallest(), TINY.space.largest()]
    assert len(set(archs)) == 12


def test_published_architectures_are_in_where_the_space_has_them() -> None:
    codec = GenomeCodec(SearchSpace.preset("litepose"))
    archs = codec.decode_many(first_genomes(codec, 20, np.random.default_rng(0)))
    inside = [arch for arch in published_archs().values() if codec.space.contains(arch)]
    assert len(inside) >= 4
    assert set(inside) <= set(archs)
    assert not set(published_archs().values()) & set(
        TINY.decode_many(first_genomes(TINY, 20, np.random.default_rng(0)))
    )


def test_warm_architectures_come_before_the_random_ones_and_foreign_ones_are_left_out() -> None:
    rng = np.random.default_rng(5)
    warm = [TINY.space.sample(rng) for _ in range(3)]
    archs = TINY.decode_many(first_genomes(TINY, 8, rng, warm=[*warm, published_archs()["search-XS"]]))
    assert archs[2:5] == warm


def test_a_small_space_gives_what_it_has(small_space: SearchSpace) -> None:
    codec = GenomeCodec(small_space.restricted(["resolution"]))
    assert len(first_genomes(codec, 10, np.random.default_rng(0))) == codec.space.size == 2
