"""The operators that a space's networks run, each as a function of a few genes.

Every cost of a network is a sum over its operators, and an operator depends on few choices: a stage's first block on
the resolution, the widths on either side, its kernel and its expansion; and so on. So a cost compiles into one small
array a slot, indexed by those genes.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.archs.space import SearchSpace

PROBE_DEPTH = 2
"""Blocks a stage of the networks that are looked at: the first, and one that stands for all that repeat it."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One place in the network, compared and hashed by identity.

    Attributes:
        genes: Columns of the genes that determine the operator here, the image size first.
        shape: Cardinalities of those genes.
        operators: The operator for every combination of the genes, the last gene fastest.
    """

    genes: tuple[int, ...]
    shape: tuple[int, ...]
    operators: tuple[Operator, ...]

    def arrange(self, values: Iterable[float]) -> NDArray[np.float64]:
        """Return values in the order of the operators as an array of shape ``shape``."""
        return np.array(list(values), np.float64).reshape(self.shape)


SlotTables = Mapping[Slot, NDArray[np.float64]]
"""A quantity of the operators of every slot, each of the slot's shape."""


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

    def __iter__(self) -> Iterator[Slot]:
        yield self.stem
        yield from self.first_blocks
        yield from (repeat for repeat in self.repeats if repeat is not None)
        yield from self.tail

    def tabulate(self, quantity: Callable[[Operator], float]) -> SlotTables:
        """Return a quantity of every operator of the space."""
        return {slot: slot.arrange(map(quantity, slot.operators)) for slot in self}


@lru_cache(maxsize=8)
def network_slots(space: SearchSpace, num_keypoints: int) -> NetworkSlots:
    """Find the slots of a space; what runs there is read off ``operators_of`` of small networks.

    Args:
        space: The search space.
        num_keypoints: K of the heads.
    """
    codec = GenomeCodec(space)
    size, stem = 0, 1
    widths = (stem, *(stage.width for stage in codec.stages))
    d0, d1, d2 = codec.deconvs
    backbone: list[tuple[int, ...]] = [(size, stem)]
    for s, stage in enumerate(codec.stages):
        block = (stage.kernels[0], stage.expansions[0])
        backbone += [(size, widths[s], stage.width, *block), (size, stage.width, *block)]
    tail: list[tuple[int, ...]] = [
        (size, widths[4], widths[3], d0),
        (size, d0, widths[2], d1),
        (size, d1, widths[1]),
        (size, d1, widths[1], d2),
        (size, d2, widths[0]),
    ]
    probes = _Probes(codec, num_keypoints)
    stem_slot, *blocks = probes.slots(backbone, slice(len(backbone)))
    firsts, repeats = blocks[::PROBE_DEPTH], blocks[1::PROBE_DEPTH]
    return NetworkSlots(
        stem=stem_slot,
        first_blocks=tuple(firsts),
        repeats=tuple(
            slot if len(stage.kernels) > 1 else None for slot, stage in zip(repeats, codec.stages, strict=True)
        ),
        tail=tuple(probes.slots(tail, slice(len(backbone), None))),
    )


def aligned(table: NDArray[Any], axes: Sequence[int], ndim: int) -> NDArray[Any]:
    """Return a view of a table whose leading axes are the given ones of ``ndim``; its other axes stay last."""
    order, rest = np.argsort(axes).tolist(), table.shape[len(axes) :]
    shape = [1] * ndim
    for axis, length in zip(axes, table.shape, strict=False):
        shape[axis] = length
    return table.transpose(*order, *range(len(axes), table.ndim)).reshape(*shape, *rest)


class _Probes:
    """Small networks of a space, to read off what runs where.

    All blocks of a stage are alike, by the genes of the first; genes that are not given are 0.
    """

    def __init__(self, codec: GenomeCodec, num_keypoints: int) -> None:
        stages = tuple(replace(stage, depths=(PROBE_DEPTH,)) for stage in codec.space.stages)
        self._cardinalities = codec.cardinalities.tolist()
        self._small = GenomeCodec(replace(codec.space, stages=stages))
        self._columns = [codec.names.index(re.sub(r"block\d", "block0", name)) for name in self._small.names]
        self._num_keypoints = num_keypoints

    def slots(self, genes: Sequence[tuple[int, ...]], place: slice) -> list[Slot]:
        """Return the slots of neighbouring operators.

        Args:
            genes: Of each, the columns of the genes that determine it.
            place: Where they stand among the operators of a probe.
        """
        found: list[dict[tuple[int, ...], Operator]] = [{} for _ in genes]
        readers = [itemgetter(*columns) for columns in genes]
        for indices in self._combinations(genes):
            probe = self._small.decode([indices.get(column, 0) for column in self._columns])
            operators = operators_of(probe, self._num_keypoints)[place]
            for seen, read, operator in zip(found, readers, operators, strict=True):
                seen[read(indices)] = operator
        shapes = [tuple(self._cardinalities[column] for column in columns) for columns in genes]
        return [
            Slot(columns, shape, tuple(seen[key] for key in itertools.product(*map(range, shape))))
            for columns, shape, seen in zip(genes, shapes, found, strict=True)
        ]

    def _combinations(self, genes: Sequence[tuple[int, ...]]) -> Iterator[dict[int, int]]:
        """Yield genes by column such that every operator sees all combinations of its own.

        Genes that one operator reads together have different colours, and one index a colour runs over all choices.
        """
        colours = _colours(genes)
        counts = [0] * (max(colours.values()) + 1)
        for column, colour in colours.items():
            counts[colour] = max(counts[colour], self._cardinalities[column])
        for indices in itertools.product(*map(range, counts)):
            yield {column: indices[colour] % self._cardinalities[column] for column, colour in colours.items()}


def _colours(groups: Sequence[tuple[int, ...]]) -> dict[int, int]:
    """Colour columns so that those of a group differ: each takes the first colour that is free where it stands."""
    colours: dict[int, int] = {}
    for column in dict.fromkeys(itertools.chain(*groups)):
        taken = {colours.get(other) for group in groups if column in group for other in group}
        colours[column] = next(colour for colour in itertools.count() if colour not in taken)
    return colours
