"""Peak activation memory of many genomes at once, exact.

``supernet.archs.complexity`` walks a network: a feature map lives from the convolution that writes it to the last
that reads it. Besides an operator's own maps those live that the tail has still to read: the outputs of the stem and
of finished stages, and the first head's. So the peak is a maximum over operators, each term a function of few genes;
of the blocks that repeat in a stage only the one with the greatest expansion counts.

Legend: n genomes, G genes; maps are counted in elements (whole numbers, exact in float64).
"""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.costs.slots import NetworkSlots, Slot, SlotTables
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.supernet.archs.complexity import FLOAT_BYTES
from litepose_ofa.supernet.archs.operators import Operator

CHUNK = 8192
"""Genomes looked at together: memory is bounded for any n."""

FIRST_HEAD = 2
"""Place of the first head in the tail."""

BACKBONE_OUTPUTS = (4, 3, 2, 2, 1)
"""How many of the outputs of the stem and the first three stages live while each operator of the tail runs."""

Elements = NDArray[np.float64]


class PeakMemory:
    """Peak activation memory of the networks of a space, by ``litepose_ofa.supernet.archs.complexity``'s rule.

    Args:
        codec: The codec of the space.
        slots: The slots of the space.
    """

    def __init__(self, codec: GenomeCodec, slots: NetworkSlots) -> None:
        lasting = {*slots.first_blocks, *slots.repeats, slots.tail[FIRST_HEAD]}
        self._codec = codec
        self._slots = slots
        self._own = {slot: slot.arrange(_own_peak(o, slot in lasting) for o in slot.operators) for slot in slots}
        self._output = slots.tabulate(lambda operator: _written(operator)[-1])

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
        """Yield the peaks of single operators, each of shape (n,); the genes have shape (G, n)."""

        def look_up(tables: SlotTables, slot: Slot) -> Elements:
            found: Elements = tables[slot][tuple(genes[list(slot.genes)])]
            return found

        stem, firsts, tail = self._slots.stem, self._slots.first_blocks, self._slots.tail
        outputs = (look_up(self._output, slot) for slot in (stem, *firsts[:-1]))
        alive = list(itertools.accumulate(outputs, initial=np.zeros(genes.shape[1])))
        yield look_up(self._own, stem)
        for before, first in zip(alive, firsts, strict=False):
            yield before + look_up(self._own, first)
        for count, repeat in self._repeats(genes):
            yield alive[count] + repeat
        head = look_up(self._output, tail[FIRST_HEAD])
        for place, (count, slot) in enumerate(zip(BACKBONE_OUTPUTS, tail, strict=True)):
            yield alive[count] + look_up(self._own, slot) + head * (place > FIRST_HEAD)

    def _repeats(self, genes: NDArray[np.intp]) -> Iterator[tuple[int, Elements]]:
        """Yield, for every stage, how many backbone outputs live and the own peak of its blocks after the first."""
        stages = zip(self._codec.stages, self._codec.space.stages, self._slots.repeats, strict=True)
        for number, (columns, space, repeat) in enumerate(stages, start=1):
            if repeat is not None:
                runs = np.arange(1, space.depths[-1])[:, None] < np.array(space.depths)[genes[columns.depth]]
                expansion = (genes[list(columns.expansions[1:])] * runs).max(axis=0)
                own = self._own[repeat][genes[0], genes[columns.width], 0, expansion]
                yield number, own * runs[0]


def _written(operator: Operator) -> list[int]:
    """Return what each convolution writes."""
    return [convolution.out_channels * convolution.out_size**2 for convolution in operator.convolutions]


def _own_peak(operator: Operator, inputs_last: bool) -> int:
    """Return the greatest sum of the input and the maps that the operator writes.

    Args:
        operator: The operator.
        inputs_last: Whether its inputs live on while it runs: a block adds its input at its end, and what the first
            head reads is read again. Else a map dies when it has been read.
    """
    source, raw = (width * operator.resolution**2 for width in (operator.in_channels, operator.mid_channels))
    written = _written(operator)
    kept = source if inputs_last else 0
    sums = [source + written[0], *(kept + a + b for a, b in itertools.pairwise(written))]
    if operator.kind == "head":  # the refined half's result waits while the raw half runs
        sums[-1] = kept + sum(written[1:]) - (0 if inputs_last else raw)
    return max(sums)
