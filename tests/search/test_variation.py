"""Variation: children stay in the space, take genes from their parents, and change about as much as asked."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.search.variation import cross, mutate, vary
from litepose_ofa.supernet.archs.space import SearchSpace

TINY = GenomeCodec(SearchSpace.preset("tiny"))


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_children_are_genomes_of_the_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    children = vary(TINY, TINY.sample(20, rng), rng, mutations=4)
    assert children.dtype == np.int8
    assert TINY.is_valid(children).all()


def test_crossover_takes_every_gene_from_a_parent() -> None:
    rng = np.random.default_rng(0)
    mothers, fathers = TINY.sample(300, rng), TINY.sample(300, rng)
    children = cross(TINY, mothers, fathers, rng)
    present = TINY.present(children)
    assert ((children == mothers) | (children == fathers))[present].all()
    np.testing.assert_array_equal(cross(TINY, mothers, mothers, rng), mothers)


def test_crossover_often_keeps_a_whole_part() -> None:
    """Of two extreme parents a stage is often one parent's; independent genes would seldom do that."""
    rng = np.random.default_rng(0)
    ends = TINY.encode_many([TINY.space.smallest(), TINY.space.largest()])
    children = cross(TINY, ends[:1].repeat(500, axis=0), ends[1:].repeat(500, axis=0), rng)
    for part in range(1, 5):
        genes = children[:, part == TINY.parts]
        whole = (genes == ends[1][part == TINY.parts]).all(axis=1).mean()
        assert 0.15 < whole < 0.35


def test_mutation_changes_about_as_many_genes_as_asked() -> None:
    rng = np.random.default_rng(0)
    genomes = TINY.encode_many([TINY.space.largest()]).repeat(2000, axis=0)
    changed = (mutate(TINY, genomes, 3.0, rng) != genomes) & TINY.present(mutate(TINY, genomes, 0.0, rng))
    # Half of the values drawn equal the old one for a gene of two choices, and a step beyond the end is none.
    assert 0.8 < changed.sum(axis=1).mean() < 3.5
    np.testing.assert_array_equal(mutate(TINY, genomes, 0.0, rng), genomes)


def test_blocks_that_a_depth_adds_are_not_all_the_smallest() -> None:
    rng = np.random.default_rng(0)
    genomes = TINY.encode_many([TINY.space.smallest()]).repeat(2000, axis=0)
    stage = TINY.stages[1]
    children = mutate(TINY, genomes, 3.0, rng)
    deeper = children[children[:, stage.depth] == 1]
    assert len(np.unique(deeper[:, stage.kernels[1]])) == 3


def test_a_space_without_a_choice_has_no_variation() -> None:
    codec = GenomeCodec(SearchSpace.preset("tiny").restricted([]))
    genomes = codec.sample(4, np.random.default_rng(0))
    np.testing.assert_array_equal(vary(codec, genomes, np.random.default_rng(0)), genomes)
