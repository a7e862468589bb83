"""The operators that a space's networks run, each as a function of a few genes.

Every cost of a network is a sum over its operators, and an operator depends on few choices: a stage's first block on
the resolution, the widths on either side, its kernel and its expansion; and so on. So a cost compiles into one small
array a slot, indexed by those genes, and a genome's sum is one lookup a block.

Legend: n genomes, G genes.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.supernet.archs.operators import Operator, Place, places_of
from litepose_ofa.supernet.archs.space import SearchSpace

CHUNK = 8192
"""Genomes added up at a time: memory is bounded for any n."""

DISTINCT_BLOCKS = 2
"""Blocks of a stage that differ: the first, and one that stands for all that repeat it."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One place in the network, compared and hashed by identity.

    Attributes:
        place: The place.
        genes: Columns of the genes that determine the operator here, the image size first.
        shape: Cardinalities of those genes.
        operators: The operator for every combination of the genes, the last gene fastest.
    """

    place: Place
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
    """The slots of a space, in the order they run; a stage's second block stands for the later ones too."""

    slots: tuple[Slot, ...]

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.slots)

    @property
    def stem(self) -> Slot:
        """The stem's, of (image size, stem width)."""
        return self.slots[0]

    @property
    def first_blocks(self) -> tuple[Slot, ...]:
        """Each stage's first block, of (image size, width before, width, kernel, expansion)."""
        return tuple(slot for slot in self.slots if slot.place.kind == "bottleneck" and not slot.place.repeats)

    @property
    def repeats(self) -> tuple[Slot | None, ...]:
        """Each stage's second block, of (image size, width, kernel, expansion); None where no depth has one."""
        found = {slot.place.index: slot for slot in self.slots if slot.place.repeats}
        return tuple(found.get(slot.place.index) for slot in self.first_blocks)

    @property
    def tail(self) -> tuple[Slot, ...]:
        """Fusion deconvs and heads, of the image size and the widths they read and write."""
        return tuple(slot for slot in self.slots if slot.place.kind in ("fusion_deconv", "head"))

    def tabulate(self, quantity: Callable[[Operator], float]) -> SlotTables:
        """Return a quantity of every operator of the space."""
        return {slot: slot.arrange(map(quantity, slot.operators)) for slot in self}


@lru_cache(maxsize=8)
def network_slots(space: SearchSpace, num_keypoints: int) -> NetworkSlots:
    """Find the slots of a space."""
    codec = GenomeCodec(space)
    depths = tuple(min(stage.depths[-1], DISTINCT_BLOCKS) for stage in space.stages)
    return NetworkSlots(tuple(_slot(codec, place, num_keypoints) for place in places_of(depths)))


def _slot(codec: GenomeCodec, place: Place, num_keypoints: int) -> Slot:
    genes = tuple(codec.names.index(name) for name in place.choices)
    choices = [codec.choices[column] for column in genes]
    operators = tuple(
        place.operator(dict(zip(place.choices, values, strict=True)), num_keypoints)
        for values in itertools.product(*choices)
    )
    return Slot(place, genes, tuple(map(len, choices)), operators)


def aligned(table: NDArray[Any], axes: Sequence[int], ndim: int) -> NDArray[Any]:
    """Return a view of a table whose leading axes are the given ones of ``ndim``; its other axes stay last."""
    order, rest = np.argsort(axes).tolist(), table.shape[len(axes) :]
    shape = [1] * ndim
    for axis, length in zip(axes, table.shape, strict=False):
        shape[axis] = length
    return table.transpose(*order, *range(len(axes), table.ndim)).reshape(*shape, *rest)


class OperatorSums:
    """Quantities of networks, each the sum of its operators' values.

    Args:
        codec: The codec of the space.
        slots: The slots of the space.
        quantities: The values of every slot's operators, by name; integers below 2 ** 53 are added exactly.
    """

    def __init__(self, codec: GenomeCodec, slots: NetworkSlots, quantities: Mapping[str, SlotTables]) -> None:
        blocks = list(_blocks(codec, slots))
        self._strides = np.zeros((codec.length, len(blocks)), np.float32)  # exact up to 2 ** 24 entries a table
        for number, block in enumerate(blocks):
            shape = codec.cardinalities[list(block.genes)]
            self._strides[list(block.genes), number] = [shape[axis + 1 :].prod() for axis in range(len(shape))]
        self._tables = {name: [block.tabulate(tables) for block in blocks] for name, tables in quantities.items()}

    def add_up(self, genomes: Genomes, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the named quantities of genomes, shape (n, G), as an array of shape (names, n).

        The genes of dropped blocks do not matter. The result does not depend on how many genomes or names there are.
        """
        totals = np.zeros((len(names), len(genomes)))
        for start in range(0, len(genomes), CHUNK):
            chunk = slice(start, start + CHUNK)
            entries = np.ascontiguousarray((genomes[chunk].astype(np.float32) @ self._strides).T, np.intp)
            for total, name in zip(totals[:, chunk], names, strict=True):
                for table, entry in zip(self._tables[name], entries, strict=True):
                    total += table[entry]
        return totals


@dataclass(frozen=True, slots=True)
class _Block:
    """One operator of the networks.

    Attributes:
        slot: What runs here.
        genes: The columns of the slot's genes here, after them that of the depth if not all depths run it.
        runs: Whether each depth runs it; None if all do.
    """

    slot: Slot
    genes: tuple[int, ...]
    runs: NDArray[np.bool_] | None = None

    def tabulate(self, tables: SlotTables) -> NDArray[np.float64]:
        """Return the value of every combination of the genes, the last gene fastest."""
        values = tables[self.slot]
        return (values if self.runs is None else values[..., None] * self.runs).ravel()


def _blocks(codec: GenomeCodec, slots: NetworkSlots) -> Iterator[_Block]:
    """Yield the operators in the order they run."""
    yield _Block(slots.stem, slots.stem.genes)
    for genes, first, repeat, space in zip(
        codec.stages, slots.first_blocks, slots.repeats, codec.space.stages, strict=True
    ):
        yield _Block(first, first.genes)
        for number in range(1, len(genes.kernels)):
            assert repeat is not None
            columns = (*repeat.genes[:2], genes.kernels[number], genes.expansions[number])
            runs = np.array(space.depths) > number
            yield _Block(repeat, columns) if runs.all() else _Block(repeat, (*columns, genes.depth), runs)
    for slot in slots.tail:
        yield _Block(slot, slot.genes)
