"""The operators that a space's networks run, each as a function of a few genes.

Every cost of a network is a sum over its operators, and an operator depends on few choices: a stage's first block on
the resolution, the widths on either side, its kernel and its expansion; and so on. So a cost compiles into one small
array a slot, indexed by those genes. A genome's sum is a handful of lookups, one for several neighbouring operators.

Legend: n genomes, G genes.
"""

import itertools
import math
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
"""Genomes added up at a time: working arrays stay in the processor's cache, and memory is bounded for any n."""

MOST_ENTRIES = 16384
"""Most combinations of the genes that one lookup reads: its table stays in the second-level cache."""

ROW_WIDTH = 4
"""Most quantities that one lookup finds: NumPy gathers rows of 8, 16 and 32 bytes several times faster than others."""

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
    """Return a view of a table whose axes are the given ones of ``ndim``."""
    shape = [1] * ndim
    for axis, length in zip(axes, table.shape, strict=True):
        shape[axis] = length
    return table.transpose(np.argsort(axes).tolist()).reshape(shape)


class OperatorSums:
    """Quantities of networks, each the sum of its operators' values.

    Args:
        codec: The codec of the space.
        slots: The slots of the space.
        quantities: The values of every slot's operators, by name; integers below 2 ** 53 are added exactly.
    """

    def __init__(self, codec: GenomeCodec, slots: NetworkSlots, quantities: Mapping[str, SlotTables]) -> None:
        self._quantities = quantities
        self._groups = list(_grouped(_blocks(codec, slots), codec.cardinalities))
        self._strides = np.zeros((codec.length, len(self._groups)), np.float32)  # exact up to 2 ** 24 entries a table
        for number, group in enumerate(self._groups):
            self._strides[list(group.genes), number] = [
                math.prod(group.shape[axis + 1 :]) for axis in range(len(group.shape))
            ]
        self._packed: dict[tuple[str, ...], list[NDArray[np.float64]]] = {}

    def add_up(self, genomes: Genomes, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the named quantities of genomes, shape (n, G), as an array of shape (names, n).

        The genes of dropped blocks do not matter. The result does not depend on how many genomes or names there are.
        """
        totals = np.empty((len(names), len(genomes)))
        bundles = [slice(first, first + ROW_WIDTH) for first in range(0, len(names), ROW_WIDTH)]
        for start in range(0, len(genomes), CHUNK):
            chunk = slice(start, start + CHUNK)
            entries = np.ascontiguousarray((genomes[chunk].astype(np.float32) @ self._strides).T, np.intp)
            for bundle in bundles:
                tables = self._pack(tuple(names[bundle]))
                sums = np.take(tables[0], entries[0], axis=0)
                rows = np.empty_like(sums)
                for table, entry in zip(tables[1:], entries[1:], strict=True):
                    np.take(table, entry, axis=0, out=rows, mode="clip")  # other modes gather through a second buffer
                    sums += rows
                totals[bundle, chunk] = sums.T[: len(names[bundle])]
        return totals

    def _pack(self, names: tuple[str, ...]) -> list[NDArray[np.float64]]:
        """Return each group's table of the names' values, shape (entries, 1, 2 or 4), filled up with zeros."""
        if names not in self._packed:
            quantities = [self._quantities[name] for name in names]
            self._packed[names] = [group.tabulate(quantities) for group in self._groups]
        return self._packed[names]


@dataclass(frozen=True, slots=True)
class _Block:
    """One operator of the networks: its slot, and the columns of the slot's genes here.

    If not all depths run it, the column of the depth comes last, and ``runs`` says which do.
    """

    slot: Slot
    genes: tuple[int, ...]
    runs: NDArray[np.bool_] | None = None

    def tabulate(self, tables: SlotTables) -> NDArray[np.float64]:
        """Return the value of every combination of the genes, an axis a gene."""
        values = tables[self.slot]
        return values if self.runs is None else values[..., None] * self.runs


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring operators that are looked up at once, and those of their genes that have a choice, ascending."""

    blocks: tuple[_Block, ...]
    genes: tuple[int, ...]
    shape: tuple[int, ...]

    def tabulate(self, quantities: Sequence[SlotTables]) -> NDArray[np.float64]:
        """Return the sums over the operators, shape (entries, 1, 2 or 4)."""
        table = np.zeros((*self.shape, 1 << (len(quantities) - 1).bit_length()))
        for block in self.blocks:
            axes = [self.genes.index(gene) for gene in block.genes if gene in self.genes]
            for column, tables in enumerate(quantities):
                values = block.tabulate(tables).reshape([self.shape[axis] for axis in axes])
                table[..., column] += aligned(values, axes, len(self.genes))
        return table.reshape(-1, table.shape[-1])


def _grouped(blocks: Iterable[_Block], cardinalities: NDArray[np.int_]) -> Iterator[_Group]:
    """Join neighbours as long as a table has at most ``MOST_ENTRIES``."""

    def joined(*members: _Block) -> _Group:
        genes = tuple(sorted({gene for block in members for gene in block.genes if cardinalities[gene] > 1}))
        return _Group(members, genes, tuple(cardinalities[list(genes)].tolist()))

    group = joined()
    for block in blocks:
        larger = joined(*group.blocks, block)
        if group.blocks and math.prod(larger.shape) > MOST_ENTRIES:
            yield group
            larger = joined(block)
        group = larger
    yield group


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
