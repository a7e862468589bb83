"""Architectures as integer vectors of fixed length, which the search varies, compares and stores.

Variation knows the network's parts: crossover of whole stages, mutation of single choices.

Legend: n genomes, G genes; a gene is the index of a choice in the space's ascending list, so 0 is the smallest.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

Genomes = NDArray[np.int8]
"""Genomes, shape (n, G), or one genome, shape (G,)."""

MOST_CHOICES = int(np.iinfo(np.int8).max)


@dataclass(frozen=True, slots=True)
class StageGenes:
    """The columns of one stage's genes: its width, its depth, and the kernel and expansion of each block."""

    width: int
    depth: int
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]

    @property
    def blocks(self) -> slice:
        """The columns of all blocks' genes."""
        return slice(self.kernels[0], self.expansions[-1] + 1)


class GenomeCodec:
    """Translate between the architectures of a space and genomes.

    Genes in order: image size; stem; per stage width, depth, then kernel and expansion of each block up to the
    greatest depth; the three deconvs. A genome is canonical if the genes of dropped blocks are zero: two networks are
    equal exactly if their canonical genomes are.

    Args:
        space: The search space.

    Attributes:
        length: G.
        names: What each gene chooses, such as ``stage0.block1.kernel``.
        choices: The values behind each gene's indices.
        cardinalities: Number of choices of each gene, shape (G,).
        stages: The columns of each stage's genes.
        deconvs: The columns of the deconvs' genes.
        parts: The part of the network that each gene belongs to (0 input and stem, 1 to 4 the stages, 5 the
            deconvs), shape (G,).

    Raises:
        InputError: If a choice list of the space is too long for a gene.

    Example:
        >>> codec = GenomeCodec(SearchSpace.preset("tiny"))
        >>> codec.decode(codec.encode(codec.space.largest())) == codec.space.largest()
        True
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.names = tuple(space.choices)
        self.choices = tuple(space.choices.values())
        part = {"image_size": 0, "stem": 0} | {f"stage{s}": s + 1 for s in range(len(space.stages))}
        self.parts = np.array([part.get(name.partition(".")[0], len(space.stages) + 1) for name in self.names])
        self.length = len(self.names)
        self.cardinalities = np.array([len(choices) for choices in self.choices])
        if self.cardinalities.max() > MOST_CHOICES:
            raise InputError(f"space {space.name!r} has a list of more than {MOST_CHOICES} choices")
        column = {name: index for index, name in enumerate(self.names)}
        self.stages = tuple(
            StageGenes(
                column[f"stage{s}.width"],
                column[f"stage{s}.depth"],
                tuple(column[f"stage{s}.block{b}.kernel"] for b in range(stage.depths[-1])),
                tuple(column[f"stage{s}.block{b}.expansion"] for b in range(stage.depths[-1])),
            )
            for s, stage in enumerate(space.stages)
        )
        self.deconvs = tuple(column[f"deconv{i}"] for i in range(len(space.deconv_channels)))
        self._column = column
        kept_blocks = [np.arange(stage.depths[-1]) < np.array(stage.depths)[:, None] for stage in space.stages]
        self._kept = tuple(np.repeat(kept, 2, axis=1) for kept in kept_blocks)

    def encode(self, arch: Arch) -> Genomes:
        """Return the canonical genome of an architecture, shape (G,); refuse a choice that the space lacks."""
        genome = np.zeros(self.length, np.int8)
        for name, value in arch.chosen.items():
            offered = self.space.choices[name]  # a block too many comes after its stage's depth, which is refused
            if value not in offered:
                allowed = ", ".join(map(str, offered))
                raise InputError(f"{name} is {value}; space {self.space.name!r} allows {allowed}")
            genome[self._column[name]] = offered.index(value)
        return genome

    def decode(self, genome: ArrayLike) -> Arch:
        """Return the architecture of a genome, shape (G,); genes of dropped blocks do not matter."""
        indices = dict(zip(self.names, np.asarray(genome).tolist(), strict=True))
        return self.space.assemble(lambda name, values: values[indices[name]])

    def encode_many(self, archs: Iterable[Arch]) -> Genomes:
        """Return the canonical genomes of architectures, shape (n, G)."""
        return np.array([self.encode(arch) for arch in archs], np.int8).reshape(-1, self.length)

    def decode_many(self, genomes: Genomes) -> list[Arch]:
        """Return the architectures of genomes, shape (n, G)."""
        return [self.decode(genome) for genome in genomes]

    def sample(self, n: int, rng: np.random.Generator) -> Genomes:
        """Draw canonical genomes, every choice uniform and independent, shape (n, G)."""
        return self.canonicalise(self.random_genes(n, rng))

    def random_genes(self, n: int, rng: np.random.Generator) -> Genomes:
        """Draw genes, those of dropped blocks too, shape (n, G)."""
        return rng.integers(0, self.cardinalities, size=(n, self.length), dtype=np.int8)

    def present(self, genomes: Genomes) -> NDArray[np.bool_]:
        """Say which genes, shape (n, G), the networks have: those of dropped blocks they have not."""
        present = np.ones(genomes.shape, np.bool_)
        for genes, kept in zip(self.stages, self._kept, strict=True):
            present[:, genes.blocks] = kept[genomes[:, genes.depth]]
        return present

    def canonicalise(self, genomes: Genomes) -> Genomes:
        """Return the genomes, shape (n, G), with zeros at the genes of dropped blocks."""
        return genomes * self.present(genomes)

    def is_valid(self, genomes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Say which rows, shape (n, G), are canonical genomes of this space."""
        inside = ((genomes >= 0) & (genomes < self.cardinalities)).all(axis=1)
        valid = np.zeros(len(genomes), np.bool_)
        rows = genomes[inside].astype(np.int8)
        valid[inside] = (rows == self.canonicalise(rows)).all(axis=1)
        return valid


def genome_keys(genomes: Genomes) -> NDArray[np.bytes_]:
    """Return one comparable, sortable key per genome, shape (n,): equal keys are equal genomes."""
    rows = np.ascontiguousarray(genomes, np.int8)
    return rows.view(f"S{rows.shape[1]}").ravel()  # padding zeros do not count, and the width is the same for all


def distinct(genomes: Genomes, *, seen: Genomes | None = None) -> Genomes:
    """Return the genomes, shape (n, G), once each, in order of first appearance, without those in ``seen``."""
    keys = genome_keys(genomes)
    _, first = np.unique(keys, return_index=True)
    rows = np.sort(first)
    if seen is not None:
        rows = rows[~np.isin(keys[rows], genome_keys(seen))]
    return genomes[rows]


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
    """Give about ``mutations`` genes of each genome, shape (n, G), another choice: half of the time a neighbouring one.

    Blocks that a mutated depth adds have random genes.
    """
    shape = genomes.shape
    drawn = codec.random_genes(len(genomes), rng)
    filled = np.where(codec.present(genomes), genomes, drawn)
    steps = np.where(rng.random(shape) < 0.5, -1, 1).astype(np.int8)
    near = np.clip(filled + steps, 0, codec.cardinalities - 1).astype(np.int8)
    values = np.where(rng.random(shape) < 0.5, near, codec.random_genes(len(genomes), rng))
    rate = mutations / max(int(np.count_nonzero(codec.cardinalities > 1)), 1)
    return codec.canonicalise(np.where(rng.random(shape) < rate, values, filled))
