"""The cost model against the sum over operators, and its exact extremes against enumeration."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t as student_t

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.decoding.cost import DecodingCost, SizeCost
from litepose_ofa.latency_tables.table import INTERVAL_SIGMAS
from litepose_ofa.search.costs import peak_memory, slots
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.costs.slots import network_slots
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import SearchSpace, StageSpace
from litepose_ofa.supernet.errors import InfeasibleBudgetError, InputError

MakeTable = Callable[..., LatencyTable]

BUDGET_MS = 20.0


def all_genomes(space: SearchSpace) -> Genomes:
    codec = GenomeCodec(space)
    grid = np.stack(np.meshgrid(*map(np.arange, codec.cardinalities), indexing="ij"), axis=-1)
    genomes = grid.reshape(-1, codec.length).astype(np.int8)
    return genomes[codec.is_valid(genomes)]


def all_costs(cost: CostModel, genomes: Genomes) -> dict[str, NDArray[Any]]:
    """Everything that a cost model says of genomes."""
    costs = {**cost.evaluate(genomes), "peak_memory_bytes": cost.peak_memory_bytes(genomes)}
    for device in cost.tables:
        costs[f"low_ms/{device}"], costs[f"high_ms/{device}"] = cost.latency_interval(genomes, device)
        costs[f"probability/{device}"] = cost.probability_within(genomes, device, BUDGET_MS)
    return costs


@pytest.mark.parametrize("name", ["tiny", "small", "litepose", "litepose_released"])
@pytest.mark.parametrize("num_keypoints", [14, 17])
def test_costs_equal_the_sum_over_operators(name: str, num_keypoints: int, make_table: MakeTable) -> None:
    space = SearchSpace.preset(name)
    table = make_table(space, num_keypoints)
    cost = CostModel(space, tables={"board": table}, num_keypoints=num_keypoints)
    genomes = cost.codec.sample(100, np.random.default_rng(0))
    genomes = np.concatenate([genomes, cost.codec.encode_many([space.smallest(), space.largest()])])
    costs = all_costs(cost, genomes)
    names = ("latency_ms/board", "low_ms/board", "high_ms/board", "probability/board")
    for row, arch in enumerate(cost.codec.decode_many(genomes)):
        complexity = measure_complexity(arch, num_keypoints)
        assert (costs["macs"][row], costs["params"][row]) == (complexity.macs, complexity.params)
        assert costs["peak_memory_bytes"][row] == complexity.peak_activation_bytes
        estimate = table.estimate(arch, num_keypoints)
        probability = table.probability_within(arch, BUDGET_MS, num_keypoints)
        expected = (estimate.ms, estimate.low_ms, estimate.high_ms, probability)
        assert [costs[name][row] for name in names] == pytest.approx(expected, rel=1e-9, abs=1e-300)
    np.testing.assert_array_equal(cost.latency_ms(genomes, "board"), costs["latency_ms/board"])


def random_space(seed: int) -> SearchSpace:
    """A space with one to three choices of everything, unlike in every stage."""
    rng = np.random.default_rng(seed)

    def choices(*values: int) -> tuple[int, ...]:
        size = rng.integers(1, min(3, len(values)) + 1)
        return tuple(sorted(rng.choice(values, size, replace=False).tolist()))

    stages = [
        StageSpace(choices(8, 16, 24, 40), choices(1, 2, 3, 5), choices(3, 5, 7), choices(1, 2, 3, 6)) for _ in range(4)
    ]
    deconvs = [choices(8, 16, 24, 40) for _ in range(3)]
    return SearchSpace("random", choices(32, 64, 96), choices(8, 16, 24), tuple(stages), tuple(deconvs))


@given(st.integers(0, 2**32), st.sampled_from([14, 17]))
@settings(max_examples=30, deadline=None)
def test_any_space_costs_what_its_operators_do(seed: int, num_keypoints: int) -> None:
    """The genes are not canonical: those of dropped blocks cost nothing."""
    space = random_space(seed)
    slots = network_slots(space, num_keypoints)
    assert {operator for slot in slots for operator in slot.operators} == space_operators(space, num_keypoints)
    cost = CostModel(space, num_keypoints=num_keypoints)
    genomes = cost.codec.random_genes(12, np.random.default_rng(seed))
    expected = [measure_complexity(arch, num_keypoints) for arch in cost.codec.decode_many(genomes)]
    costs = all_costs(cost, genomes)
    assert costs["macs"].tolist() == [complexity.macs for complexity in expected]
    assert costs["params"].tolist() == [complexity.params for complexity in expected]
    assert costs["peak_memory_bytes"].tolist() == [complexity.peak_activation_bytes for complexity in expected]


def test_dropped_blocks_cost_nothing_whatever_their_genes(tiny_cost: CostModel) -> None:
    genes = tiny_cost.codec.random_genes(50, np.random.default_rng(3))
    canonical = all_costs(tiny_cost, tiny_cost.codec.canonicalise(genes))
    for name, values in all_costs(tiny_cost, genes).items():
        np.testing.assert_array_equal(values, canonical[name])


@pytest.mark.parametrize("n", [0, 1, 6, 7, 8, 100])
def test_costs_do_not_depend_on_the_chunk(n: int, tiny_cost: CostModel, monkeypatch: pytest.MonkeyPatch) -> None:
    genomes = tiny_cost.codec.sample(100, np.random.default_rng(4))
    whole = all_costs(tiny_cost, genomes)
    for module in (slots, peak_memory):
        monkeypatch.setattr(module, "CHUNK", 7)
    for name, values in all_costs(tiny_cost, genomes[:n]).items():
        np.testing.assert_array_equal(values, whole[name][:n])


def test_extremes_equal_enumeration(small_cost: CostModel, small_space: SearchSpace) -> None:
    genomes = all_genomes(small_space)
    assert len(genomes) == small_space.size
    costs = {**small_cost.evaluate(genomes), "peak_memory_bytes": small_cost.peak_memory_bytes(genomes)}
    assert set(small_cost.quantities) == set(costs)
    for quantity, values in costs.items():
        (low_arch, low), (high_arch, high) = small_cost.least(quantity), small_cost.greatest(quantity)
        assert (low, high) == pytest.approx((values.min(), values.max()), rel=1e-12)
        found = all_costs(small_cost, small_cost.codec.encode_many([low_arch, high_arch]))[quantity]
        assert found.tolist() == [low, high]
    assert small_cost.fastest("board") == small_cost.least("latency_ms/board")
    assert small_cost.slowest("board") == small_cost.greatest("latency_ms/board")


def test_extremes_of_an_unknown_quantity_are_refused(tiny_cost: CostModel) -> None:
    with pytest.raises(InputError, match=r"the quantity is 'latency_ms/x'; it must be one of macs, .*latency_ms/board"):
        tiny_cost.least("latency_ms/x")


def test_parts_add_up_to_the_fastest_latency(tiny_cost: CostModel) -> None:
    table = tiny_cost.tables["board"]
    frames = CostModel(tiny_cost.space, tables={"board": table}, decoding={"board": decoding_cost({96: 3.0, 128: 4.0})})
    arch, ms = frames.fastest("board")
    parts = frames.binding_parts("board")
    assert sum(part_ms for _, part_ms in parts) == pytest.approx(ms, rel=1e-12)
    assert [part_ms for _, part_ms in parts] == sorted((part_ms for _, part_ms in parts), reverse=True)
    stages = [f"stage{s}" for s in range(4)]
    assert {name for name, _ in parts} == {"stem", *stages, "deconvs", "heads", "network constant", "decoding"}
    stem, *_, head = operators_of(arch)
    scale = table.metadata.network_scale
    assert dict(parts)["stem"] == pytest.approx(scale * table.lookup(stem).ms)
    assert dict(parts)["heads"] > scale * table.lookup(head).ms
    assert "decoding" not in dict(tiny_cost.binding_parts("board"))


@pytest.mark.parametrize("name", ["tiny", "litepose"])
def test_no_sample_is_beyond_the_extremes(name: str, make_table: MakeTable) -> None:
    space = SearchSpace.preset(name)
    cost = CostModel(space, tables={"board": make_table(space)})
    latency_ms = cost.latency_ms(cost.codec.sample(5000, np.random.default_rng(5)), "board")
    assert cost.fastest("board")[1] < latency_ms.min() < latency_ms.max() < cost.slowest("board")[1]
    assert cost.least("macs") == (space.smallest(), measure_complexity(space.smallest()).macs)
    assert cost.greatest("params")[1] == measure_complexity(space.largest()).params


@pytest.mark.parametrize("device", ["snapdragon_855", "raspberry_pi_4b", "jetson_nano"])
@pytest.mark.parametrize("name", ["tiny", "small", "litepose"])
def test_shipped_tables_serve_the_spaces(device: str, name: str) -> None:
    table = LatencyTable.load(device)
    cost = CostModel(SearchSpace.preset(name), tables={device: table})
    genomes = cost.codec.sample(20, np.random.default_rng(6))
    expected = [table.estimate(arch).ms for arch in cost.codec.decode_many(genomes)]
    np.testing.assert_allclose(cost.latency_ms(genomes, device), expected, rtol=1e-9)
    assert cost.fastest(device)[1] <= min(expected)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_several_tables_are_told_apart(count: int, tiny_cost: CostModel) -> None:
    table = tiny_cost.tables["board"]
    tables = {f"board{i}": table.with_metadata(network_scale=1.0 + i) for i in range(count)}
    several = CostModel(tiny_cost.space, tables=tables)
    genomes = several.codec.sample(50, np.random.default_rng(0))
    costs, constant = several.evaluate(genomes), table.metadata.network_constant_ms
    operator_ms = (tiny_cost.latency_ms(genomes, "board") - constant) / table.metadata.network_scale
    assert list(costs) == ["macs", "params", *(f"latency_ms/{name}" for name in tables)]
    for i, name in enumerate(tables):
        np.testing.assert_allclose(costs[f"latency_ms/{name}"], constant + (1 + i) * operator_ms, rtol=1e-12)
        np.testing.assert_array_equal(costs[f"latency_ms/{name}"], several.latency_ms(genomes, name))
    np.testing.assert_array_equal(costs["macs"], tiny_cost.evaluate(genomes)["macs"])


def test_a_table_that_lacks_an_operator_is_refused_with_it_named(make_table: MakeTable) -> None:
    space = SearchSpace.preset("tiny")
    table = make_table(space)
    stem = operators_of(space.smallest())[0]
    rows = {operator: row for operator, row in table.rows.items() if operator != stem}
    with pytest.raises(InputError, match=r"stem .*resolution 96"):
        CostModel(space, tables={"board": LatencyTable(table.metadata, rows)})


def decoding_cost(base_ms: Mapping[int, float], name: str = "board") -> DecodingCost:
    """A decoding cost of so many ms at each size, half a millisecond a person, 20 % spread."""
    sizes = [
        SizeCost(image_size=size, base_ms=ms, person_ms=0.5, spread=0.2, measured_ms={0: ms, 10: ms + 1})
        for size, ms in base_ms.items()
    ]
    return DecodingCost(
        name=name,
        processor="none",
        software="none",
        threads=1,
        clock="none",
        num_keypoints=14,
        frame=(640, 480),
        date="2026-01-01",
        made_by="a formula",
        notes="none",
        sizes=tuple(sizes),
    )


def test_what_is_known_of_decoding_adds_certainty(tiny_cost: CostModel) -> None:
    """Few networks set the table's spread, many scenes the decoding's: the mix of both is nearer to normal."""
    few = tiny_cost.tables["board"].with_metadata(
        provenance="calibrated-estimate", network_constant_spread_ms=0.0, validation_errors=dict.fromkeys("abcd", 0.03)
    )
    rows = {operator: replace(row, std_ms=0.0) for operator, row in few.rows.items()}
    table, decoding = LatencyTable(few.metadata, rows), decoding_cost({64: 1.0, 128: 3.0})
    frames = CostModel(tiny_cost.space, tables={"board": table}, decoding={"board": decoding}, people=1)
    genomes = frames.codec.sample(20, np.random.default_rng(8))
    low_ms, high_ms = frames.latency_interval(genomes, "board")
    for arch, half in zip(frames.codec.decode_many(genomes), (high_ms - low_ms) / 2, strict=True):
        network, scenes = 0.03 * table.estimate(arch).ms, decoding.std_ms(arch.image_size, 1)
        degrees = 3 * ((network**2 + scenes**2) / network**2) ** 2
        assert half == pytest.approx(student_t.ppf(0.9, degrees) * np.hypot(network, scenes), rel=1e-6)


@pytest.mark.parametrize("people", [0, 1, 7.5])
def test_a_frame_takes_the_network_and_the_decoding(tiny_cost: CostModel, people: float) -> None:
    table, decoding = tiny_cost.tables["board"], decoding_cost({64: 1.0, 128: 3.0})  # 96 lies between
    frames = CostModel(
        tiny_cost.space, tables={"board": table, "other": table}, decoding={"board": decoding}, people=people
    )
    genomes = frames.codec.sample(100, np.random.default_rng(8))
    ms, (low_ms, high_ms) = frames.latency_ms(genomes, "board"), frames.latency_interval(genomes, "board")
    costs = frames.evaluate(genomes)
    np.testing.assert_array_equal(costs["latency_ms/board"], ms)
    np.testing.assert_array_equal(costs["latency_ms/other"], tiny_cost.latency_ms(genomes, "board"))
    for row, arch in enumerate(frames.codec.decode_many(genomes)):
        network = table.estimate(arch)
        expected = network.ms + decoding.ms(arch.image_size, people)
        network_sigma = (network.high_ms - network.ms) / INTERVAL_SIGMAS
        half = INTERVAL_SIGMAS * (network_sigma**2 + decoding.std_ms(arch.image_size, people) ** 2) ** 0.5
        numbers = (expected, max(expected - half, 0), expected + half)
        assert (ms[row], low_ms[row], high_ms[row]) == pytest.approx(numbers, rel=1e-9, abs=0)
        within = [frames.probability_within(genomes[row : row + 1], "board", budget)[0] for budget in numbers[::2]]
        assert within == pytest.approx([0.5, 0.9], rel=1e-9)


def test_a_budget_must_be_positive(tiny_cost: CostModel) -> None:
    with pytest.raises(InputError, match=r"budget_ms is 0; it must be a number above 0"):
        tiny_cost.probability_within(tiny_cost.codec.sample(1, np.random.default_rng(0)), "board", 0)


@pytest.mark.parametrize("base_ms", [{96: 0.5, 128: 40.0}, {96: 40.0, 128: 0.5}], ids=["dear large", "dear small"])
def test_extremes_of_frames_equal_enumeration(
    small_cost: CostModel, small_space: SearchSpace, base_ms: dict[int, float]
) -> None:
    """Where small inputs are dear to decode, the fastest frame has another image size than the fastest network."""
    decoding = decoding_cost(dict(zip(small_space.image_sizes, base_ms.values(), strict=True)))
    frames = CostModel(small_space, tables=small_cost.tables, decoding={"board": decoding})
    latency_ms = frames.latency_ms(all_genomes(small_space), "board")
    for (arch, ms), expected in (
        (frames.fastest("board"), latency_ms.min()),
        (frames.slowest("board"), latency_ms.max()),
    ):
        assert ms == pytest.approx(expected, rel=1e-12)
        by_hand = small_cost.tables["board"].estimate(arch).ms + decoding.ms(arch.image_size, 5)
        assert by_hand == pytest.approx(ms, rel=1e-12)


def test_decoding_is_asked_for_what_it_can_say(tiny_cost: CostModel) -> None:
    tables = tiny_cost.tables
    with pytest.raises(InputError, match="not at 96"):
        CostModel(tiny_cost.space, tables=tables, decoding={"board": decoding_cost({128: 1.0})})
    decoding = decoding_cost({96: 1.0, 128: 1.0})
    with pytest.raises(InputError, match="people is -1"):
        CostModel(tiny_cost.space, tables=tables, decoding={"board": decoding}, people=-1)
    with pytest.raises(InputError, match=r"decoding is \['toaster'\]"):
        CostModel(tiny_cost.space, tables=tables, decoding={"toaster": decoding})


def test_a_frame_budget_counts_the_decoding_and_says_so(tiny_cost: CostModel) -> None:
    decoding = decoding_cost({96: 100.0, 128: 100.0}, name="laptop")
    frames = CostModel(tiny_cost.space, tables=tiny_cost.tables, decoding={"board": decoding}, people=3)
    _, network_ms = tiny_cost.fastest("board")
    with pytest.raises(InfeasibleBudgetError, match="least possible latency for a frame with 3 people"):
        SearchProblem(frames, {"board": network_ms + 100})
    assert SearchProblem(tiny_cost, {"board": network_ms}).latency_sources()["decoding"] is None
    sources = SearchProblem(frames, {"board": network_ms + 200}).latency_sources()
    assert sources["network"]["provenance"] == tiny_cost.tables["board"].metadata.provenance
    assert sources["decoding"] == {
        "measured_on": "laptop",
        "digest": decoding.digest,
        "people": 3,
        "provenance": "assumed",
    }
