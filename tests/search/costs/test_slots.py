"""Slots: every network runs what its genes say; sums are exact, and a batch does not swell the memory."""

import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.costs.slots import NetworkSlots, Slot, network_slots
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace

NUM_KEYPOINTS = 17
WORKING_MEMORY = 12 * 2**20
BYTES_A_GENOME = 48
"""Three sums, MACs and parameters as integers, and the latency."""


def operator_at(slot: Slot, indices: Sequence[int]) -> Operator:
    return slot.operators[int(np.ravel_multi_index(tuple(indices), slot.shape))]


def operators_by_slots(found: NetworkSlots, codec: GenomeCodec, genome: Genomes, arch: Arch) -> list[Operator]:
    """What a network runs, looked up slot by slot."""
    genes = genome.tolist()

    def at(slot: Slot) -> Operator:
        return operator_at(slot, [genes[column] for column in slot.genes])

    operators = [at(found.stem)]
    for stage, first, repeat, part in zip(codec.stages, found.first_blocks, found.repeats, arch.stages, strict=True):
        operators.append(at(first))
        for kernel, expansion in list(zip(stage.kernels, stage.expansions, strict=True))[1 : len(part.blocks)]:
            assert repeat is not None
            operators.append(operator_at(repeat, [genes[c] for c in (0, stage.width, kernel, expansion)]))
    return operators + [at(slot) for slot in found.tail]


@pytest.mark.parametrize("name", [*PRESETS, "small"])
def test_networks_run_what_the_slots_say(name: str, small_space: SearchSpace) -> None:
    space = PRESETS.get(name, small_space)
    found, codec = network_slots.__wrapped__(space, NUM_KEYPOINTS), GenomeCodec(space)
    genomes = codec.sample(40, np.random.default_rng(0))
    for genome, arch in zip(genomes, codec.decode_many(genomes), strict=True):
        assert operators_by_slots(found, codec, genome, arch) == operators_of(arch, NUM_KEYPOINTS)


def test_a_space_of_one_network(make_table: Callable[..., LatencyTable]) -> None:
    space = SearchSpace.preset("tiny").restricted([])
    table = make_table(space)
    cost = CostModel(space, tables={"board": table})
    costs = cost.evaluate(np.zeros((3, cost.codec.length), np.int8))
    assert costs["latency_ms/board"] == pytest.approx([table.estimate(space.largest()).ms] * 3, rel=1e-12)
    assert cost.fastest("board") == cost.slowest("board")


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_genes_of_any_integer_type_and_layout(dtype: type[np.integer], tiny_cost: CostModel) -> None:
    genomes = tiny_cost.codec.sample(50, np.random.default_rng(2))
    expected = tiny_cost.evaluate(genomes)
    for laid_out in (genomes.astype(dtype), np.asfortranarray(genomes.astype(dtype)), genomes.repeat(2, axis=0)[::2]):
        for name, values in tiny_cost.evaluate(laid_out).items():
            np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize("question", ["evaluate", "peak_memory_bytes"])
def test_memory_is_the_results_and_a_constant(question: str, tiny_cost: CostModel) -> None:
    genome: Genomes = tiny_cost.codec.encode(tiny_cost.space.largest())
    genomes = np.broadcast_to(genome, (300_000, len(genome)))
    getattr(tiny_cost, question)(genomes[:1])
    tracemalloc.start()
    try:
        getattr(tiny_cost, question)(genomes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < WORKING_MEMORY + BYTES_A_GENOME * len(genomes)
