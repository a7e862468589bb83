"""What networks cost, for many genomes at once: MACs, parameters, activation memory, and latency on every device.

A device's latency is its table's, that of the network; with a decoding cost it is that of a whole frame.

Legend: n genomes, G genes.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables.decoding.cost import DecodingCost, require_people
from litepose_ofa.latency_tables.table import LEAST_STD_MS, LatencyTable, interval, probability_within
from litepose_ofa.search.costs.peak_memory import PeakMemory
from litepose_ofa.search.costs.slots import NetworkSlots, OperatorSums, SlotTables, aligned, network_slots
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import require

IMAGE_SIZE_GENE = 0

Milliseconds = NDArray[np.float64]


class CostModel:
    """Costs of genomes, compiled once from a space and latency tables into lookup arrays.

    Args:
        space: The search space.
        tables: A latency table a device, by the name that the costs are to carry.
        num_keypoints: K, 14 for CrowdPose and 17 for COCO.
        decoding: What a frame costs beyond its network, on those of the devices whose latency is to be a frame's.
        people: People in such a frame.

    Attributes:
        quantities: The costs that have names: ``macs``, ``params``, ``peak_memory_bytes`` and ``latency_ms/<device>``
            for every table.

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
        self.quantities = ("macs", "params", "peak_memory_bytes", *(f"latency_ms/{device}" for device in self.tables))
        self._slots = network_slots(space, num_keypoints)
        self._sums = dict(_complexity_sums(self._slots))
        for device, table in self.tables.items():
            self._sums[f"ms/{device}"], self._sums[f"variance/{device}"] = _latency_sums(self._slots, table)
        self._compiled = OperatorSums(self.codec, self._slots, self._sums)
        self._decoding_ms = {
            device: np.array([cost.ms(size, people) for size in space.image_sizes])
            for device, cost in self.decoding.items()
        }
        self._decoding_std_ms = {
            device: np.array([cost.std_ms(size, people) for size in space.image_sizes])
            for device, cost in self.decoding.items()
        }

    def evaluate(self, genomes: Genomes) -> dict[str, NDArray[Any]]:
        """Return the costs of genomes, shape (n, G).

        Returns:
            ``macs`` and ``params`` (integers) and ``latency_ms/<device>`` for every table, each of shape (n,).
        """
        names = ["macs", "params", *(f"ms/{device}" for device in self.tables)]
        macs, params, *sums = self._compiled.add_up(genomes, names)
        latencies = {
            f"latency_ms/{device}": self._with_decoding(table.network_ms(operator_ms), genomes, device)
            for (device, table), operator_ms in zip(self.tables.items(), sums, strict=True)
        }
        return {"macs": macs.astype(np.int64), "params": params.astype(np.int64), **latencies}

    def amounts(self, genomes: Genomes, quantity: str) -> NDArray[Any]:
        """Return one of the ``quantities`` of genomes, shape (n, G), of shape (n,)."""
        if quantity == "peak_memory_bytes":
            return self.peak_memory_bytes(genomes)
        device = quantity.removeprefix("latency_ms/")
        if device != quantity:
            return self.latency_ms(genomes, device)
        return self._compiled.add_up(genomes, [quantity]).astype(np.int64).ravel()

    def latency_ms(self, genomes: Genomes, device: str) -> Milliseconds:
        """Return the latency of genomes, shape (n, G), on one device in ms, shape (n,), with its decoding if given."""
        (operator_ms,) = self._compiled.add_up(genomes, [f"ms/{device}"])
        return self._with_decoding(self.tables[device].network_ms(operator_ms), genomes, device)

    def latency_interval(self, genomes: Genomes, device: str) -> tuple[Milliseconds, Milliseconds]:
        """Return the low and the high end of the 80 % interval of the latencies in ms, each of shape (n,).

        The spreads of network and decoding are taken as independent: they add in squares.
        """
        return interval(*self._latency(genomes, device))

    def probability_within(self, genomes: Genomes, device: str, budget_ms: float) -> NDArray[np.float64]:
        """Return the probability that each genome's latency is at most ``budget_ms``, shape (n,).

        The distribution is that of the interval.

        Raises:
            InputError: If the budget is not positive.
        """
        require(budget_ms > 0, "budget_ms", budget_ms, "a number above 0")
        return probability_within(*self._latency(genomes, device), budget_ms)

    def peak_memory_bytes(self, genomes: Genomes) -> NDArray[np.int64]:
        """Return the peak activation memory of genomes, shape (n, G), in bytes at batch 1 and float32, shape (n,)."""
        return self._peak_memory.bytes(genomes)

    def fastest(self, device: str) -> tuple[Arch, float]:
        """Return the architecture with the least latency on a device, and that latency in ms: exact."""
        return self.least(f"latency_ms/{device}")

    def slowest(self, device: str) -> tuple[Arch, float]:
        """Return the architecture with the greatest latency on a device, and that latency in ms: exact."""
        return self.greatest(f"latency_ms/{device}")

    def least(self, quantity: str) -> tuple[Arch, float]:
        """Return the architecture with the least of one of the ``quantities``, and its value: exact.

        Raises:
            InputError: If the quantity is unknown; the message lists the known ones.
        """
        return self._extreme(quantity, sign=1)

    def greatest(self, quantity: str) -> tuple[Arch, float]:
        """Return the architecture with the greatest of one of the ``quantities``, and its value: as ``least``."""
        return self._extreme(quantity, sign=-1)

    def binding_parts(self, device: str) -> list[tuple[str, float]]:
        """Return what the latency of a device's fastest subnet is made of.

        Returns:
            The parts and their ms, the largest first: ``stem``, ``stage0`` to ``stage3``, ``deconvs``, ``heads``, the
            table's ``network constant`` and, where a frame is decoded, ``decoding``. They add up to the latency.
        """
        arch, _ = self.fastest(device)
        table = self.tables[device]
        parts: defaultdict[str, float] = defaultdict(float)
        for part, operator in _operators_by_part(arch, self.num_keypoints):
            parts[part] += table.metadata.network_scale * table.lookup(operator).ms
        parts["network constant"] = table.metadata.network_constant_ms
        if device in self.decoding:
            parts["decoding"] = self.decoding[device].ms(arch.image_size, self.people)
        return sorted(parts.items(), key=lambda part: part[1], reverse=True)

    @cached_property
    def _peak_memory(self) -> PeakMemory:
        return PeakMemory(self.codec, self._slots)

    def _extreme(self, quantity: str, sign: int) -> tuple[Arch, float]:
        require(quantity in self.quantities, "the quantity", quantity, f"one of {', '.join(self.quantities)}")
        if quantity == "peak_memory_bytes":  # no choice that is larger makes a feature map smaller
            genome = self.codec.encode(self.space.smallest() if sign > 0 else self.space.largest())
        else:
            shares = self._shares(quantity)
            genome = _least_genome(self.codec, self._slots, {slot: sign * values for slot, values in shares.items()})
        return self.codec.decode(genome), self.amounts(genome[None], quantity)[0].item()

    def _shares(self, quantity: str) -> SlotTables:
        """Return what each operator adds to a quantity; the stem adds the decoding, as its input is the image."""
        device = quantity.removeprefix("latency_ms/")
        if device not in self.tables:
            return self._sums[quantity]
        scale = self.tables[device].metadata.network_scale
        shares = {slot: scale * ms for slot, ms in self._sums[f"ms/{device}"].items()}
        if device in self.decoding:
            shares[self._slots.stem] += self._decoding_ms[device][:, None]
        return shares

    def _latency(self, genomes: Genomes, device: str) -> tuple[Milliseconds, Milliseconds, NDArray[np.float64]]:
        """Return latencies in ms, with decoding if given, one standard deviation and its degrees of freedom, (n,)."""
        table = self.tables[device]
        operator_ms, variance = self._compiled.add_up(genomes, [f"ms/{device}", f"variance/{device}"])
        network_ms = table.network_ms(operator_ms)
        std_ms, degrees = table.network_spread(network_ms, variance)
        if device in self.decoding:
            of_network = np.maximum(std_ms, LEAST_STD_MS)
            std_ms = np.hypot(std_ms, self._decoding_std_ms[device][genomes[:, IMAGE_SIZE_GENE]])
            degrees = degrees * (np.maximum(std_ms, LEAST_STD_MS) / of_network) ** 4  # the decoding's spread is known
        return self._with_decoding(network_ms, genomes, device), std_ms, degrees

    def _with_decoding(self, network_ms: Milliseconds, genomes: Genomes, device: str) -> Milliseconds:
        """Add the decoding cost of the device, where it has one, to the latencies of networks, shape (n,)."""
        if device not in self.decoding:
            return network_ms
        decoding_ms: Milliseconds = self._decoding_ms[device][genomes[:, IMAGE_SIZE_GENE]]
        return network_ms + decoding_ms


@lru_cache(maxsize=8)
def _complexity_sums(slots: NetworkSlots) -> Mapping[str, SlotTables]:
    """Return what every operator adds to MACs and parameters."""
    return {
        "macs": slots.tabulate(lambda operator: operator.macs),
        "params": slots.tabulate(lambda operator: operator.params),
    }


def _latency_sums(slots: NetworkSlots, table: LatencyTable) -> tuple[SlotTables, SlotTables]:
    """Return every operator's ms and its variance in ms squared."""
    rows = {slot: [table.lookup(operator) for operator in slot.operators] for slot in slots}
    ms = {slot: slot.arrange(row.ms for row in found) for slot, found in rows.items()}
    return ms, {slot: slot.arrange(row.std_ms**2 for row in found) for slot, found in rows.items()}


def _operators_by_part(arch: Arch, num_keypoints: int) -> Iterator[tuple[str, Operator]]:
    """Yield the operators of a network with the part each belongs to."""
    stages = [f"stage{s}" for s, stage in enumerate(arch.stages) for _ in stage.blocks]
    operators = operators_of(arch, num_keypoints)
    tail = ("deconvs" if operator.kind == "fusion_deconv" else "heads" for operator in operators[len(stages) + 1 :])
    return zip(("stem", *stages, *tail), operators, strict=True)


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


def _least_genome(codec: GenomeCodec, slots: NetworkSlots, costs: SlotTables) -> Genomes:
    """Return the canonical genome with the least sum of costs, shape (G,); of equals the first.

    Fusion deconvs and heads read widths of earlier stages, so the widths hang together, and every tuple of them is
    looked at; given the widths and the image size, kernels, expansions and depths are independent, and the best of
    each is a minimum over one small array.
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
    return codec.canonicalise(genome[None]).ravel()


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
