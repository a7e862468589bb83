"""The operators that a space's networks run, each as a function of a few genes.

Every cost of a network is a sum over its operators, and an operator depends on few choices: a stage's first block on
the resolution, the widths on either side, its kernel and its expansion; and so on. So a cost compiles into one small
array a slot, indexed by those genes.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.genome import GenomeCodec
from supernet.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from supernet.operators import Operator, operators_of

PROBE_DEPTH = 2
"""Blocks a stage of the networks that are looked at: the first, and one that stands for all that repeat it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in the network.

    Attributes:
        genes: Columns of the genes that determine the operator here, the image size first.
        shape: Cardinalities of those genes.
        operators: The operator for every combination of the genes, the last gene fastest.
    """

    genes: tuple[int, ...]
    shape: tuple[int, ...]
    operators: tuple[Operator, ...]

    def tabulate(self, quantity: Callable[[Operator], float], dtype: type[np.number[Any]]) -> NDArray[Any]:
        """Return a cost of every combination, shape ``shape``."""
        return np.array([quantity(operator) for operator in self.operators], dtype).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class NetworkSlots:
    """The slots of a space.

    Attributes:
        stem: Of (image size, stem width).
        first_blocks: Each stage's first block, of (image size, width before, width, kernel, expansion).
        repeats: Each stage's second block, of (image size, width, kernel, expansion); the later ones run the same. None
            where no depth has a second block.
        tail: Fusion deconvs and heads in the order they run, of the image size and the widths they read and write.
    """

    stem: Slot
    first_blocks: tuple[Slot, ...]
    repeats: tuple[Slot | None, ...]
    tail: tuple[Slot, ...]


def network_slots(codec: GenomeCodec, num_keypoints: int) -> NetworkSlots:
    """Find the slots of a space; what runs there is read off ``operators_of`` of small networks.

    Args:
        codec: The codec of the space.
        num_keypoints: K of the heads.
    """
    size, stem = 0, 1
    widths = (stem, *(stage.width for stage in codec.stages))

    def slot(position: int, *genes: int) -> Slot:
        combinations = itertools.product(*(codec.choices[gene] for gene in genes))
        operators = tuple(
            operators_of(_probe(codec, dict(zip(genes, values, strict=True))), num_keypoints)[position]
            for values in combinations
        )
        return Slot(genes, tuple(len(codec.choices[gene]) for gene in genes), operators)

    first_blocks: list[Slot] = []
    repeats: list[Slot | None] = []
    for s, stage in enumerate(codec.stages):
        first, repeat = 1 + PROBE_DEPTH * s, 2 + PROBE_DEPTH * s
        kernel, expansion = stage.kernels[0], stage.expansions[0]
        first_blocks.append(slot(first, size, widths[s], stage.width, kernel, expansion))
        repeats.append(slot(repeat, size, stage.width, kernel, expansion) if len(stage.kernels) > 1 else None)
    tail_start = 1 + PROBE_DEPTH * len(codec.stages)
    d0, d1, d2 = codec.deconvs
    tail = (
        slot(tail_start, size, widths[4], widths[3], d0),
        slot(tail_start + 1, size, d0, widths[2], d1),
        slot(tail_start + 2, size, d1, widths[1]),
        slot(tail_start + 3, size, d1, widths[1], d2),
        slot(tail_start + 4, size, d2, widths[0]),
    )
    return NetworkSlots(slot(0, size, stem), tuple(first_blocks), tuple(repeats), tail)


def _probe(codec: GenomeCodec, chosen: dict[int, int]) -> Arch:
    """Return a network with the chosen values, by column, and the smallest elsewhere; all blocks of a stage alike."""

    def value(column: int) -> int:
        return chosen.get(column, codec.choices[column][0])

    stages = tuple(
        StageArch(
            value(genes.width), stride, (BlockArch(value(genes.expansions[0]), value(genes.kernels[0])),) * PROBE_DEPTH
        )
        for genes, stride in zip(codec.stages, STAGE_STRIDES, strict=True)
    )
    return Arch(value(0), value(1), stages, tuple(value(column) for column in codec.deconvs))
