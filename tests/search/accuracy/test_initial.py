"""What a search starts from."""

import numpy as np

from litepose_ofa.search.accuracy.initial import first_genomes
from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace

TINY = GenomeCodec(SearchSpace.preset("tiny"))


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
