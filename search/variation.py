"""Variation of genomes that knows the network's parts: crossover of whole stages, mutation of single choices.

Legend: n genomes, G genes.
"""

import numpy as np

from litepose_ofa.search.genome import GenomeCodec, Genomes


def vary(
    codec: GenomeCodec, ranked: Genomes, rng: np.random.Generator, *, crossover: float = 0.9, mutations: float = 2.0
) -> Genomes:
    """Return as many offspring as parents, shape (n, G), canonical.

    Args:
        codec: The codec of the space.
        ranked: The parents from the best to the worst; each is the better of two drawn (binary tournament).
        rng: Source of randomness.
        crossover: Probability that an offspring has two parents.
        mutations: Expected number of mutated genes of an offspring.
    """
    n = len(ranked)
    first, second = rng.integers(0, n, size=(2, 2, n)).min(axis=1)
    second = np.where(rng.random(n) < crossover, second, first)
    offspring = cross(codec, ranked[first], ranked[second], rng)
    return mutate(codec, offspring, mutations, rng)


def cross(codec: GenomeCodec, first: Genomes, second: Genomes, rng: np.random.Generator) -> Genomes:
    """Cross pairs of genomes, shape (n, G): a part of the network comes whole from one parent, or gene by gene."""
    n, num_parts = len(first), int(codec.parts.max()) + 1
    from_second = (rng.random((n, num_parts)) < 0.5)[:, codec.parts]
    mixed = (rng.random((n, num_parts)) < 0.5)[:, codec.parts]
    from_second = np.where(mixed, rng.random((n, codec.length)) < 0.5, from_second)
    return codec.canonicalise(np.where(from_second, second, first))


def mutate(codec: GenomeCodec, genomes: Genomes, mutations: float, rng: np.random.Generator) -> Genomes:
    """Give some genes of genomes, shape (n, G), another choice: a neighbouring one half of the time, else any.

    Args:
        codec: The codec of the space.
        genomes: Canonical genomes; blocks that a mutated depth adds have random genes.
        mutations: Expected number of mutated genes a genome.
        rng: Source of randomness.
    """
    shape = genomes.shape
    drawn = codec.random_genes(len(genomes), rng)
    filled = np.where(codec.present(genomes), genomes, drawn)
    steps = np.where(rng.random(shape) < 0.5, -1, 1).astype(np.int8)
    near = np.clip(filled + steps, 0, codec.cardinalities - 1).astype(np.int8)
    values = np.where(rng.random(shape) < 0.5, near, codec.random_genes(len(genomes), rng))
    rate = mutations / max(int(np.count_nonzero(codec.cardinalities > 1)), 1)
    return codec.canonicalise(np.where(rng.random(shape) < rate, values, filled))
