"""Genomes: one to one with networks, canonical, uniform when drawn."""

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.search.genome import GenomeCodec, distinct
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

CODECS = {name: GenomeCodec(SearchSpace.preset(name)) for name in ("tiny", "litepose", "litepose_released")}
codecs = st.sampled_from(list(CODECS.values()))


def draw_arch(codec: GenomeCodec, seed: int) -> Arch:
    return codec.space.sample(random.Random(seed))


@given(codecs, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_decode_inverts_encode(codec: GenomeCodec, seed: int) -> None:
    arch = draw_arch(codec, seed)
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
    codec, rng = CODECS["tiny"], np.random.default_rng(seed)
    genes = codec.random_genes(1, rng).repeat(2, axis=0)
    column = rng.integers(codec.length)
    genes[1, column] = rng.integers(codec.cardinalities[column])
    first, second = codec.canonicalise(genes)
    assert (codec.decode(genes[0]) == codec.decode(genes[1])) == bool((first == second).all())


def test_every_network_of_a_small_space_has_its_own_genome(small_space: SearchSpace) -> None:
    codec = GenomeCodec(small_space)
    grid = np.stack(np.meshgrid(*map(np.arange, codec.cardinalities), indexing="ij"), axis=-1)
    canonical = distinct(codec.canonicalise(grid.reshape(-1, codec.length).astype(np.int8)))
    assert len(canonical) == small_space.size
    assert len(set(codec.decode_many(canonical))) == small_space.size


GENOMES_OF_SEED_0 = {
    "tiny": "618b470177db",
    "litepose": "7f9256eb40f0",
    "litepose_released": "f70be98a4b42",
}


@pytest.mark.parametrize("name", CODECS)
def test_an_architecture_has_the_genome_that_it_always_had(name: str) -> None:
    """Studies and samples are stored as genomes."""
    codec, rng = CODECS[name], random.Random(0)
    genomes = codec.encode_many(codec.space.sample(rng) for _ in range(200))
    text = " ".join("-".join(map(str, genes)) for genes in genomes.tolist())
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == GENOMES_OF_SEED_0[name]


def test_the_genes_of_the_first_stage_and_the_last_ones() -> None:
    codec = CODECS["tiny"]
    assert codec.names[:8] == (
        "image_size",
        "stem",
        "stage0.width",
        "stage0.depth",
        "stage0.block0.kernel",
        "stage0.block0.expansion",
        "stage0.block1.kernel",
        "stage0.block1.expansion",
    )
    assert codec.names[-3:] == ("deconv0", "deconv1", "deconv2")
    assert codec.parts.tolist() == [0] * 2 + [1] * 6 + [2] * 6 + [3] * 6 + [4] * 6 + [5] * 3


@pytest.mark.parametrize("name", CODECS)
def test_extremes_and_layout(name: str) -> None:
    codec = CODECS[name]
    assert (codec.encode(codec.space.smallest()) == 0).all()
    assert (codec.encode(codec.space.largest()) == codec.cardinalities - 1).all()
    assert len(codec.names) == len(set(codec.names)) == len(codec.choices) == codec.length
    assert codec.encode(codec.space.largest()).dtype == np.int8
    assert [codec.names[column] for column in (0, 1)] == ["image_size", "stem"]
    assert (np.diff(codec.parts) >= 0).all()


def test_samples_are_uniform_over_choices_and_reproducible() -> None:
    codec = CODECS["tiny"]
    genomes = codec.sample(6000, np.random.default_rng(1))
    np.testing.assert_array_equal(genomes, codec.sample(6000, np.random.default_rng(1)))
    assert codec.is_valid(genomes).all()
    always = [0, codec.stages[2].width, codec.stages[2].depth, codec.stages[2].kernels[0]]
    for column in always:
        shares = np.bincount(genomes[:, column], minlength=codec.cardinalities[column]) / len(genomes)
        np.testing.assert_allclose(shares, 1 / codec.cardinalities[column], atol=0.03)


def test_invalid_genomes_are_found() -> None:
    codec = CODECS["tiny"]
    rows = np.zeros((4, codec.length), np.int64)
    rows[1, 0] = codec.cardinalities[0]
    rows[2, 3] = -1
    rows[3, codec.stages[0].kernels[1]] = 1  # the second block of a stage of depth 1
    assert codec.is_valid(rows).tolist() == [True, False, False, False]


def test_arch_of_another_space_is_refused_with_the_choice_named() -> None:
    arch = CODECS["litepose"].space.smallest()
    with pytest.raises(InputError, match="image_size is 256; space 'tiny' allows 96, 128"):
        CODECS["tiny"].encode(arch)


def test_distinct_keeps_the_first_and_leaves_out_the_seen() -> None:
    rows = np.array([[1, 0], [0, 1], [1, 0], [2, 2], [0, 0]], np.int8)
    assert distinct(rows).tolist() == [[1, 0], [0, 1], [2, 2], [0, 0]]
    assert distinct(rows, seen=rows[[1, 4]]).tolist() == [[1, 0], [2, 2]]
    assert distinct(rows[:0], seen=rows).shape == (0, 2)
