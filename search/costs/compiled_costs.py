"""Sums over a network's operators, for many genomes at once: one lookup for several neighbouring operators.

The operators of a space lie in slots, each a function of a few genes. Neighbouring ones are grouped as long as all
combinations of their genes stay few; a group is one flat table. So a genome's sum is a handful of lookups: all their
indices are one product of the genes with the groups' strides, and a row of a table holds several quantities.

Legend: n genomes, G genes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.costs.slots import (
    NetworkSlots,
    Slot,
    SlotTables,
    aligned,
)
from litepose_ofa.search.genome import GenomeCodec, Genomes

CHUNK = 8192
"""Genomes added up at a time: working arrays stay in the processor's cache, and memory is bounded for any n."""

MOST_ENTRIES = 16384
"""Most combinations of a group's genes: its table stays in the second-level cache."""

ROW_WIDTH = 4
"""Most quantities in a row of a table: NumPy gathers rows of 8, 16 and 32 bytes several times faster than others."""


class CompiledCosts:
    """Quantities of networks, each the sum of its operators' values.

    Args:
        codec: The codec of the space.
        slots: The slots of the space.
        quantities: The values of every slot's operators, by name; integers below 2 ** 53 are added exactly.
    """

    def __init__(self, codec: GenomeCodec, slots: NetworkSlots, quantities: Mapping[str, SlotTables]) -> None:
        self._quantities = dict(quantities)
        self._groups = list(_group(_places(codec, slots), codec.cardinalities))
        self._strides = np.zeros((codec.length, len(self._groups)), np.float32)  # exact up to 2 ** 24 entries a table
        for column, group in enumerate(self._groups):
            self._strides[list(group.genes), column] = group.strides
        self._packed: dict[tuple[str, ...], list[NDArray[np.float64]]] = {}

    def add_up(self, genomes: Genomes, names: Sequence[str]) -> list[NDArray[np.float64]]:
        """Return the named quantities of genomes, shape (n, G), each of shape (n,).

        The genes of dropped blocks do not matter. The result does not depend on how many genomes or names there are.
        """
        n, size = len(genomes), min(CHUNK, len(genomes))
        bundles = [tuple(names[start : start + ROW_WIDTH]) for start in range(0, len(names), ROW_WIDTH)]
        packed = [self._pack(bundle) for bundle in bundles]
        totals = np.empty((len(names), n))
        genes = np.empty((size, self._strides.shape[0]), np.float32)
        products = np.empty((size, len(self._groups)), np.float32)
        indices = np.empty((len(self._groups), size), np.intp)
        for start in range(0, n, CHUNK):
            rows = min(CHUNK, n - start)
            genes[:rows] = genomes[start : start + rows]
            np.matmul(genes[:rows], self._strides, out=products[:rows])
            indices[:, :rows] = products[:rows].T
            for bundle, tables in enumerate(packed):
                first = bundle * ROW_WIDTH
                sums = _gather_sum(tables, indices[:, :rows])
                totals[first : first + ROW_WIDTH, start : start + rows] = sums.T[: len(bundles[bundle])]
        return list(totals)

    def _pack(self, names: tuple[str, ...]) -> list[NDArray[np.float64]]:
        """Return the table of every group, shape (entries, 1, 2 or 4): the names' values, then zeros."""
        if names not in self._packed:
            quantities = [self._quantities[name] for name in names]
            self._packed[names] = [group.tabulate(quantities) for group in self._groups]
        return self._packed[names]


@dataclass(frozen=True, slots=True)
class _Place:
    """One operator of the networks.

    Attributes:
        slot: What runs here.
        genes: The columns of the slot's genes here, after them that of the depth if not all depths run it.
        runs: Whether each depth runs it; None if all do.
    """

    slot: Slot
    genes: tuple[int, ...]
    runs: NDArray[np.bool_] | None = None

    def tabulate(self, quantities: Sequence[SlotTables]) -> NDArray[np.float64]:
        """Return the values of every combination of the genes, the quantities on the last axis."""
        values = np.stack([tables[self.slot] for tables in quantities], axis=-1)
        return values if self.runs is None else values[..., None, :] * self.runs[:, None]


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring places that are looked up at once.

    Attributes:
        places: The places.
        genes: The columns, ascending, of those of their genes that have more than one choice.
        shape: Cardinalities of these genes.
    """

    places: tuple[_Place, ...]
    genes: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def strides(self) -> list[int]:
        """What one step of each gene adds to the index of an entry."""
        return [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]

    def tabulate(self, quantities: Sequence[SlotTables]) -> NDArray[np.float64]:
        """Return the sums over the places, shape (entries, 1, 2 or 4)."""
        width = 1 << (len(quantities) - 1).bit_length()
        table = np.zeros((*self.shape, width))
        for place in self.places:
            axes = [self.genes.index(gene) for gene in place.genes if gene in self.genes]
            values = place.tabulate(quantities)
            values = values.reshape(*(self.shape[axis] for axis in axes), len(quantities))
            table[..., : len(quantities)] += aligned(values, axes, len(self.genes))
        return table.reshape(-1, width)


def _places(codec: GenomeCodec, slots: NetworkSlots) -> Iterator[_Place]:
    """Yield the places in the order they run."""
    yield _Place(slots.stem, slots.stem.genes)
    for genes, first, repeat, space in zip(
        codec.stages, slots.first_blocks, slots.repeats, codec.space.stages, strict=True
    ):
        yield _Place(first, first.genes)
        for block in range(1, len(genes.kernels)):
            assert repeat is not None
            columns = (*repeat.genes[:2], genes.kernels[block], genes.expansions[block])
            runs = np.array(space.depths) > block
            yield _Place(repeat, columns) if runs.all() else _Place(repeat, (*columns, genes.depth), runs)
    for slot in slots.tail:
        yield _Place(slot, slot.genes)


def _group(places: Iterator[_Place], cardinalities: NDArray[np.int_]) -> Iterator[_Group]:
    """Join neighbours as long as a table has at most ``MOST_ENTRIES``."""

    def joined(members: list[_Place]) -> _Group:
        genes = tuple(sorted({gene for place in members for gene in place.genes if cardinalities[gene] > 1}))
        return _Group(tuple(members), genes, tuple(cardinalities[list(genes)].tolist()))

    members = [next(places)]
    for place in places:
        if math.prod(joined([*members, place]).shape) > MOST_ENTRIES:
            yield joined(members)
            members = []
        members.append(place)
    yield joined(members)


def _gather_sum(tables: Sequence[NDArray[np.float64]], indices: NDArray[np.intp]) -> NDArray[np.float64]:
    """Add up one row of every table, shape (n, width); the indices have shape (tables, n)."""
    total: NDArray[np.float64] = np.take(tables[0], indices[0], axis=0)
    rows = np.empty_like(total)
    for table, index in zip(tables[1:], indices[1:], strict=True):
        np.take(table, index, axis=0, out=rows, mode="clip")  # the other modes gather through a second buffer
        total += rows
    return total
