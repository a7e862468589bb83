"""The exact least of a cost that is a sum over operators: no search, every width tuple is looked at.

Fusion deconvs and heads read widths of earlier stages, so the widths hang together; given the widths and the image
size, kernels, expansions and depths are independent, and the best of each is a minimum over one small array.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.costs.slots import NetworkSlots, SlotTables, aligned
from litepose_ofa.search.genome import GenomeCodec, Genomes


@dataclass(frozen=True, slots=True)
class _StageBest:
    """The best blocks of one stage: their cost and their genes.

    ``cost`` and ``first`` have the axes (image size, width before, width), ``repeat`` and ``depth`` (image size,
    width); ``first`` and ``repeat`` are flat indices into (kernel, expansion), ``depth`` is the depth's gene.
    """

    cost: NDArray[np.float64]
    first: NDArray[np.intp]
    repeat: NDArray[np.intp]
    depth: NDArray[np.intp]


def least_genome(codec: GenomeCodec, slots: NetworkSlots, costs: SlotTables) -> Genomes:
    """Return the canonical genome with the least cost, shape (G,); of equals the first.

    Args:
        codec: The codec of the space.
        slots: The slots of the space.
        costs: Cost of every operator of every slot; negated costs find the greatest.
    """
    stages = [
        _best_stage(costs[first], None if repeat is None else costs[repeat], np.array(space.depths))
        for first, repeat, space in zip(slots.first_blocks, slots.repeats, codec.space.stages, strict=True)
    ]
    terms = [(slot.genes, costs[slot]) for slot in (slots.stem, *slots.tail)]
    terms += [(slot.genes[:3], stage.cost) for slot, stage in zip(slots.first_blocks, stages, strict=True)]
    axes = sorted({gene for genes, _ in terms for gene in genes})
    shape = tuple(len(codec.choices[column]) for column in axes)
    total = np.zeros(shape)
    for genes, cost in terms:
        total += aligned(cost, [axes.index(gene) for gene in genes], len(axes))
    widths = np.unravel_index(int(total.argmin()), shape)
    genome = np.zeros(codec.length, np.int8)
    genome[axes] = widths
    for stage, slot, best in zip(codec.stages, slots.first_blocks, stages, strict=True):
        size, before, width = (int(genome[column]) for column in slot.genes[:3])
        num_expansions = slot.shape[4]
        genome[stage.depth] = best.depth[size, width]
        repeat, first = (
            divmod(best.repeat[size, width], num_expansions),
            divmod(best.first[size, before, width], num_expansions),
        )
        genome[list(stage.kernels)], genome[list(stage.expansions)] = repeat
        genome[stage.kernels[0]], genome[stage.expansions[0]] = first
    canonical: Genomes = codec.canonicalise(genome[None])[0]
    return canonical


def _best_stage(first: NDArray[np.float64], repeat: NDArray[np.float64] | None, depths: NDArray[np.int_]) -> _StageBest:
    """Choose the blocks of a stage for every image size and pair of widths."""
    first_flat = first.reshape(*first.shape[:3], -1)
    repeat_flat = np.zeros((first.shape[0], first.shape[2], 1)) if repeat is None else repeat
    repeat_flat = repeat_flat.reshape(*repeat_flat.shape[:2], -1)
    rest = repeat_flat.min(axis=-1)[..., None] * (depths - 1)
    return _StageBest(
        cost=first_flat.min(axis=-1) + rest.min(axis=-1)[:, None, :],
        first=first_flat.argmin(axis=-1),
        repeat=repeat_flat.argmin(axis=-1),
        depth=rest.argmin(axis=-1),
    )
