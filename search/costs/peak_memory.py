"""Peak activation memory of many genomes at once, exact.

A network's peak, by ``supernet.archs.complexity``'s rule, is the greatest over its places: the outputs that live beside
an operator, and the operator's own peak; each is a function of few genes. Of the blocks that repeat in a stage only the
one with the greatest expansion counts.

Legend: n genomes, G genes; maps are counted in elements (whole numbers, exact in float64).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.costs.slots import NetworkSlots, Slot, SlotTables
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.supernet.archs.complexity import FLOAT_BYTES, peak_elements

CHUNK = 8192
"""Genomes looked at together: memory is bounded for any n."""

Elements = NDArray[np.float64]


class PeakMemory:
    """Peak activation memory of the networks of a space."""

    def __init__(self, codec: GenomeCodec, slots: NetworkSlots) -> None:
        self._codec = codec
        self._slots = slots.slots
        self._own = {
            slot: slot.arrange(peak_elements(o, slot.place.kept or (False,)) for o in slot.operators) for slot in slots
        }
        self._output = slots.tabulate(lambda operator: operator.convolutions[-1].out_elements)

    def bytes(self, genomes: Genomes) -> NDArray[np.int64]:
        """Return the peak activation memory of genomes, shape (n, G), in bytes at batch 1 and float32, shape (n,).

        The genes of dropped blocks do not matter.
        """
        peaks = np.zeros(len(genomes))
        for start in range(0, len(genomes), CHUNK):
            chunk = peaks[start : start + CHUNK]
            for term in self._terms(genomes[start : start + CHUNK].T.astype(np.intp)):
                np.maximum(chunk, term, out=chunk)
        return peaks.astype(np.int64) * FLOAT_BYTES

    def _terms(self, genes: NDArray[np.intp]) -> Iterator[Elements]:
        """Yield the peaks at single places, each of shape (n,); the genes have shape (G, n)."""

        def look_up(tables: SlotTables, slot: Slot) -> Elements:
            found: Elements = tables[slot][tuple(genes[list(slot.genes)])]
            return found

        live = {i for slot in self._slots for i in slot.place.beside}
        outputs = {i: look_up(self._output, self._slots[i]) for i in live}
        alive: dict[tuple[int, ...], Elements] = {(): np.zeros(genes.shape[1])}
        for slot in self._slots:
            beside = slot.place.beside
            if beside not in alive:
                alive[beside] = sum((outputs[i] for i in beside), start=alive[()])
            if slot.place.repeats:
                yield alive[beside] + self._repeats(slot, genes)
            else:
                yield alive[beside] + look_up(self._own, slot)

    def _repeats(self, slot: Slot, genes: NDArray[np.intp]) -> Elements:
        """Return the greatest own peak of the blocks after a stage's first, 0 where there is none; shape (n,)."""
        stage = slot.place.index
        columns, depths = self._codec.stages[stage], np.array(self._codec.space.stages[stage].depths)
        runs = np.arange(1, depths[-1])[:, None] < depths[genes[columns.depth]]
        expansion = (genes[list(columns.expansions[1:])] * runs).max(axis=0)
        own: Elements = self._own[slot][genes[0], genes[columns.width], 0, expansion] * runs[0]
        return own
