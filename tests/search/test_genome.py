"""Genomes: one to one with networks, canonical, uniform when drawn."""

import hashlib
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.search.genome import GenomeCodec, cross, distinct, mutate, vary
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

CODECS = {name: GenomeCodec(SearchSpace.preset(name)) for name in ("tiny", "small", "litepose", "litepose_released")}
TINY = CODECS["tiny"]
codecs = st.sampled_from(list(CODECS.values()))


@given(codecs, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_decode_inverts_encode(codec: GenomeCodec, seed: int) -> None:
    arch = codec.space.sample(random.Random(seed))
    genome = codec.encode(arch)
    assert genome.shape == (codec.length,)
    assert codec.decode(genome) == arch
    assert codec.is_valid(genome[None]).all()


@given(codecs, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_encode_of_decode_is_canonical(codec: GenomeCodec, seed: int) -> None:
    genes = codec.random_genes(3, np.random.default_rng(seed))
    canonical = codec.canonicalise(genes)
    np.testing.assert_array_equal(codec.encode_many(codec.decode_many(genes)), canonical)
    np.testing.assert_array_equal(codec.canonicalise(canonical), canonical)
    assert all(codec.space.contains(arch) for arch in codec.decode_many(genes))


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_networks_are_equal_exactly_if_canonical_genomes_are(seed: int) -> None:
    codec, rng = TINY, np.random.default_rng(seed)
    genes = codec.random_genes(1, rng).repeat(2, axis=0)
    column = rng.integers(codec.length)
    genes[1, column] = rng.integers(codec.cardinalities[column])
    first, second = codec.canonicalise(genes)
    assert (codec.decode(genes[0]) == codec.decode(genes[1])) == bool((first == second).all())


def test_every_network_of_a_small_space_has_its_own_genome(small_space: SearchSpace, every_genome: Any) -> None:
    codec = GenomeCodec(small_space)
    canonical = every_genome(codec)
    assert len(canonical) == small_space.size
    assert len(set(codec.decode_many(canonical))) == small_space.size


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("tiny", "618b470177db"),
        ("small", "8f5dc7c79bec"),
        ("litepose", "7f9256eb40f0"),
        ("litepose_released", "f70be98a4b42"),
    ],
)
def test_an_architecture_has_the_genome_that_it_always_had(name: str, digest: str) -> None:
    """Studies and samples are stored as genomes."""
    codec, rng = CODECS[name], random.Random(0)
    genomes = codec.encode_many(codec.space.sample(rng) for _ in range(200))
    text = " ".join("-".join(map(str, genes)) for genes in genomes.tolist())
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == digest


@pytest.mark.parametrize("name", CODECS)
def test_extremes(name: str) -> None:
    codec = CODECS[name]
    assert (codec.encode(codec.space.smallest()) == 0).all()
    assert (codec.encode(codec.space.largest()) == codec.cardinalities - 1).all()


def test_samples_are_uniform_over_choices_and_reproducible() -> None:
    codec = TINY
    genomes = codec.sample(6000, np.random.default_rng(1))
    np.testing.assert_array_equal(genomes, codec.sample(6000, np.random.default_rng(1)))
    assert codec.is_valid(genomes).all()
    always = [0, codec.stages[2].width, codec.stages[2].depth, codec.stages[2].kernels[0]]
    for column in always:
        shares = np.bincount(genomes[:, column], minlength=codec.cardinalities[column]) / len(genomes)
        np.testing.assert_allclose(shares, 1 / codec.cardinalities[column], atol=0.03)


def test_invalid_genomes_are_found() -> None:
    codec = TINY
    rows = np.zeros((4, codec.length), np.int64)
    rows[1, 0] = codec.cardinalities[0]
    rows[2, 3] = -1
    rows[3, codec.stages[0].kernels[1]] = 1  # the second block of a stage of depth 1
    assert codec.is_valid(rows).tolist() == [True, False, False, False]


def test_arch_of_another_space_is_refused_with_the_choice_named() -> None:
    arch = CODECS["litepose"].space.smallest()
    with pytest.raises(InputError, match="image_size is 256; space 'tiny' allows 96, 128"):
        TINY.encode(arch)


def test_distinct_keeps_the_first_and_leaves_out_the_seen() -> None:
    rows = np.array([[1, 0], [0, 1], [1, 0], [2, 2], [0, 0]], np.int8)
    assert distinct(rows).tolist() == [[1, 0], [0, 1], [2, 2], [0, 0]]
    assert distinct(rows, seen=rows[[1, 4]]).tolist() == [[1, 0], [2, 2]]
    assert distinct(rows[:0], seen=rows).shape == (0, 2)


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_offspring_are_genomes_of_the_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    offspring = vary(TINY, TINY.sample(20, rng), rng, mutations=4)
    assert offspring.dtype == np.int8
    assert TINY.is_valid(offspring).all()


def test_crossover_takes_every_gene_from_a_parent() -> None:
    rng = np.random.default_rng(0)
    first, second = TINY.sample(300, rng), TINY.sample(300, rng)
    offspring = cross(TINY, first, second, rng)
    present = TINY.present(offspring)
    assert ((offspring == first) | (offspring == second))[present].all()
    np.testing.assert_array_equal(cross(TINY, first, first, rng), first)


def test_crossover_often_keeps_a_whole_part() -> None:
    """Of two extreme parents a stage is often one parent's; independent genes would seldom do that."""
    rng = np.random.default_rng(0)
    ends = TINY.encode_many([TINY.space.smallest(), TINY.space.largest()])
    offspring = cross(TINY, ends[:1].repeat(500, axis=0), ends[1:].repeat(500, axis=0), rng)
    for part in range(1, 5):
        genes = offspring[:, part == TINY.parts]
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
    offspring = mutate(TINY, genomes, 3.0, rng)
    deeper = offspring[offspring[:, stage.depth] == 1]
    assert len(np.unique(deeper[:, stage.kernels[1]])) == 3


def test_a_space_without_a_choice_has_no_variation() -> None:
    codec = GenomeCodec(SearchSpace.preset("tiny").restricted([]))
    genomes = codec.sample(4, np.random.default_rng(0))
    np.testing.assert_array_equal(vary(codec, genomes, np.random.default_rng(0)), genomes)
