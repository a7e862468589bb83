"""Grouped lookups: the same sums whatever the groups, and memory that the batch does not swell."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.costs import compiled_costs
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.supernet.archs.space import SearchSpace

WORKING_MEMORY = 12 * 2**20
BYTES_A_GENOME = 48
"""Three sums, MACs and parameters as integers, and the latency."""


@pytest.mark.parametrize("most_entries", [1, 30, 700, 10**6])
def test_groups_do_not_change_the_sums(
    most_entries: int, tiny_cost: CostModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    genomes = tiny_cost.codec.sample(200, np.random.default_rng(1))
    expected = tiny_cost.evaluate(genomes)
    monkeypatch.setattr(compiled_costs, "MOST_ENTRIES", most_entries)
    costs = CostModel(tiny_cost.space, tables=tiny_cost.tables).evaluate(genomes)
    for name in ("macs", "params"):
        np.testing.assert_array_equal(costs[name], expected[name])
    np.testing.assert_allclose(costs["latency_ms/board"], expected["latency_ms/board"], rtol=1e-13)


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
