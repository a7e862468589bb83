"""What networks cost, for many genomes at once: MACs, parameters, and latency on every device.

A device's latency is its table's, that of the network; with a decoding cost it is that of a whole frame.

Legend: n genomes, G genes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_tables.decoding import DecodingCost, require_people
from latency_tables.table import INTERVAL_SIGMAS, LatencyTable
from search.extremes import least_genome
from search.genome import GenomeCodec, Genomes
from search.slots import network_slots
from supernet.arch import Arch
from supernet.errors import require
from supernet.operators import Operator
from supernet.space import SearchSpace

CHUNK = 8192
"""Genomes added up at a time: working arrays stay in the processor's cache, and memory is bounded for any n."""

Quantity = Callable[[Operator], float]

IMAGE_SIZE_GENE = 0


class CostModel:
    """Costs of genomes, compiled once from a space and latency tables into lookup arrays.

    Args:
        space: The search space.
        tables: A latency table a device, by the name that the costs are to carry.
        num_keypoints: K, 14 for CrowdPose and 17 for COCO.
        decoding: What a frame costs beyond its network, on those of the devices whose latency is to be a frame's.
        people: People in such a frame.

    Raises:
        InputError: If a table lacks an operator that a network of the space may run, or a decoding cost an image size
            of the space; the message names it.

    Example:
        >>> cost = CostModel(SearchSpace.preset("tiny"))
        >>> cost.evaluate(cost.codec.encode_many([cost.space.smallest()]))["macs"]
        array([8262720])
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        tables: Mapping[str, LatencyTable] | None = None,
        num_keypoints: int = 14,
        decoding: Mapping[str, DecodingCost] | None = None,
        people: float = 5,
    ) -> None:
        require_people(people)
        self.space = space
        self.tables = dict(tables or {})
        self.num_keypoints = num_keypoints
        self.decoding = dict(decoding or {})
        self.people = people
        require(self.decoding.keys() <= self.tables.keys(), "decoding", list(self.decoding), "of devices with a table")
        self.codec = GenomeCodec(space)
        self._slots = network_slots(self.codec, num_keypoints)
        self._gathers = list(self._gather_genes())
        self._macs = self._compile(lambda operator: operator.macs, np.int64)
        self._params = self._compile(lambda operator: operator.params, np.int64)
        self._ms = {device: self._compile(self._operator_ms(device), np.float64) for device in self.tables}
        self._variance = {device: self._compile(self._operator_variance(device), np.float64) for device in self.tables}
        self._decoding_ms = {
            device: np.array([cost.ms(size, people) for size in space.image_sizes])
            for device, cost in self.decoding.items()
        }
        self._decoding_spread_ms = {
            device: np.array([cost.spread_ms(size, people) for size in space.image_sizes])
            for device, cost in self.decoding.items()
        }

    def evaluate(self, genomes: Genomes) -> dict[str, NDArray[Any]]:
        """Return the costs of genomes, shape (n, G).

        Returns:
            ``macs`` and ``params`` (integers) and ``latency_ms/<device>`` for every table, each of shape (n,).
        """
        macs, params, *sums = self._add_up(genomes, [self._macs, self._params, *self._ms.values()])
        latencies = {
            f"latency_ms/{device}": self._with_decoding(table.network_ms(operator_ms), genomes, device)
            for (device, table), operator_ms in zip(self.tables.items(), sums, strict=True)
        }
        return {"macs": macs, "params": params, **latencies}

    def latency_ms(self, genomes: Genomes, device: str) -> NDArray[np.float64]:
        """Return the latency of genomes, shape (n, G), on one device in ms, shape (n,), with its decoding if given."""
        (operator_ms,) = self._add_up(genomes, [self._ms[device]])
        return self._with_decoding(self.tables[device].network_ms(operator_ms), genomes, device)

    def latency_interval(self, genomes: Genomes, device: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the low and the high end of the 80 % interval of the latencies in ms, each of shape (n,).

        The spreads of network and decoding are taken as independent: they add in squares.
        """
        operator_ms, variance = self._add_up(genomes, [self._ms[device], self._variance[device]])
        table = self.tables[device]
        network_ms = table.network_ms(operator_ms)
        if device not in self.decoding:
            return table.network_interval(network_ms, variance)
        decoding_spread = self._decoding_spread_ms[device][genomes[:, IMAGE_SIZE_GENE]]
        half = INTERVAL_SIGMAS * np.hypot(table.network_spread_ms(network_ms, variance), decoding_spread)
        ms = self._with_decoding(network_ms, genomes, device)
        return np.maximum(ms - half, 0), ms + half

    def fastest(self, device: str) -> tuple[Arch, float]:
        """Return the architecture with the least latency on a device, and that latency in ms: exact."""
        return self._extreme(device, sign=1)

    def slowest(self, device: str) -> tuple[Arch, float]:
        """Return the architecture with the greatest latency on a device, and that latency in ms: exact."""
        return self._extreme(device, sign=-1)

    def _extreme(self, device: str, sign: int) -> tuple[Arch, float]:
        share_ms = self._share_ms(device)
        genome = least_genome(self.codec, self._slots, lambda slot: sign * slot.tabulate(share_ms, np.float64))
        return self.codec.decode(genome), float(self.latency_ms(genome[None], device)[0])

    def _share_ms(self, device: str) -> Quantity:
        """Return an operator's share of the latency; the stem has the decoding's, as its input is the image."""
        scale, decoding = self.tables[device].metadata.network_scale, self.decoding.get(device)
        operator_ms = self._operator_ms(device)

        def share_ms(operator: Operator) -> float:
            beyond = decoding.ms(operator.resolution, self.people) if decoding and operator.kind == "stem" else 0.0
            return scale * operator_ms(operator) + beyond

        return share_ms

    def _with_decoding(self, network_ms: NDArray[np.float64], genomes: Genomes, device: str) -> NDArray[np.float64]:
        """Add the decoding cost of the device, where it has one, to the latencies of networks, shape (n,)."""
        if device not in self.decoding:
            return network_ms
        frame_ms: NDArray[np.float64] = network_ms + self._decoding_ms[device][genomes[:, IMAGE_SIZE_GENE]]
        return frame_ms

    def _operator_ms(self, device: str) -> Quantity:
        return lambda operator: self.tables[device].lookup(operator).ms

    def _operator_variance(self, device: str) -> Quantity:
        return lambda operator: self.tables[device].lookup(operator).spread_ms ** 2

    def _gather_genes(self) -> Iterator[list[tuple[int, int]]]:
        """Yield, for every place in the network, the columns of its genes and their strides in the place's table."""
        places = [self._slots.stem.genes]
        for stage, first, repeat in zip(self.codec.stages, self._slots.first_blocks, self._slots.repeats, strict=True):
            places.append(first.genes)
            for kernel, expansion in zip(stage.kernels[1:], stage.expansions[1:], strict=True):
                assert repeat is not None
                places.append((stage.depth, *repeat.genes[:2], kernel, expansion))
        places += [slot.genes for slot in self._slots.tail]
        for genes in places:
            sizes = self.codec.cardinalities[list(genes)]
            yield list(zip(genes, [int(sizes[i + 1 :].prod()) for i in range(len(genes))], strict=True))

    def _compile(self, quantity: Quantity, dtype: type[np.number[Any]]) -> list[NDArray[Any]]:
        """Return the flat table of every place in the network; a block that a depth drops costs nothing."""
        tables = [self._slots.stem.tabulate(quantity, dtype)]
        for first, repeat, stage in zip(self._slots.first_blocks, self._slots.repeats, self.space.stages, strict=True):
            tables.append(first.tabulate(quantity, dtype))
            if repeat is not None:
                each, depths = repeat.tabulate(quantity, dtype), np.array(stage.depths)
                tables += [np.multiply.outer(depths > block, each) for block in range(1, stage.depths[-1])]
        tables += [slot.tabulate(quantity, dtype) for slot in self._slots.tail]
        return [table.ravel() for table in tables]

    def _add_up(self, genomes: Genomes, quantities: Sequence[list[NDArray[Any]]]) -> list[NDArray[Any]]:
        """Add up compiled quantities over the network, each of shape (n,)."""
        totals = [np.zeros(len(genomes), tables[0].dtype) for tables in quantities]
        for start in range(0, len(genomes), CHUNK):
            genes = np.ascontiguousarray(genomes[start : start + CHUNK].T).astype(np.intp)
            for place, columns in enumerate(self._gathers):
                index = sum(genes[column] * stride for column, stride in columns)
                for total, tables in zip(totals, quantities, strict=True):
                    total[start : start + CHUNK] += tables[place][index]
        return totals
