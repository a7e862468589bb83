"""The cost model against the sum over operators, and its exact extremes against enumeration."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from latency_tables import LatencyTable
from latency_tables.decoding import DecodingCost, SizeCost
from latency_tables.table import INTERVAL_SIGMAS
from search import cost as cost_module
from search.cost import CostModel
from search.genome import GenomeCodec, Genomes
from search.problem import SearchProblem
from supernet.complexity import measure_complexity
from supernet.errors import InfeasibleBudgetError, InputError
from supernet.operators import operators_of
from supernet.space import SearchSpace

MakeTable = Callable[..., LatencyTable]


def all_genomes(space: SearchSpace) -> Genomes:
    codec = GenomeCodec(space)
    grid = np.stack(np.meshgrid(*map(np.arange, codec.cardinalities), indexing="ij"), axis=-1)
    genomes = grid.reshape(-1, codec.length).astype(np.int8)
    return genomes[codec.is_valid(genomes)]


@pytest.mark.parametrize("name", ["tiny", "litepose", "litepose_released"])
@pytest.mark.parametrize("num_keypoints", [14, 17])
def test_costs_equal_the_sum_over_operators(name: str, num_keypoints: int, make_table: MakeTable) -> None:
    space = SearchSpace.preset(name)
    table = make_table(space, num_keypoints)
    cost = CostModel(space, tables={"board": table}, num_keypoints=num_keypoints)
    genomes = cost.codec.sample(100, np.random.default_rng(0))
    genomes = np.concatenate([genomes, cost.codec.encode_many([space.smallest(), space.largest()])])
    costs = cost.evaluate(genomes)
    low_ms, high_ms = cost.latency_interval(genomes, "board")
    for row, arch in enumerate(cost.codec.decode_many(genomes)):
        complexity = measure_complexity(arch, num_keypoints)
        assert (costs["macs"][row], costs["params"][row]) == (complexity.macs, complexity.params)
        estimate = table.estimate(arch, num_keypoints)
        numbers = (costs["latency_ms/board"][row], low_ms[row], high_ms[row])
        assert numbers == pytest.approx((estimate.ms, estimate.low_ms, estimate.high_ms), rel=1e-9, abs=0)
    np.testing.assert_array_equal(cost.latency_ms(genomes, "board"), costs["latency_ms/board"])


def test_dropped_blocks_cost_nothing_whatever_their_genes(tiny_cost: CostModel) -> None:
    genes = tiny_cost.codec.random_genes(50, np.random.default_rng(3))
    canonical = tiny_cost.evaluate(tiny_cost.codec.canonicalise(genes))
    for name, values in tiny_cost.evaluate(genes).items():
        np.testing.assert_array_equal(values, canonical[name])


def test_costs_do_not_depend_on_the_chunk(tiny_cost: CostModel, monkeypatch: pytest.MonkeyPatch) -> None:
    genomes = tiny_cost.codec.sample(100, np.random.default_rng(4))
    whole = tiny_cost.evaluate(genomes)
    monkeypatch.setattr(cost_module, "CHUNK", 7)
    for name, values in tiny_cost.evaluate(genomes).items():
        np.testing.assert_array_equal(values, whole[name])
    assert tiny_cost.evaluate(genomes[:0])["macs"].shape == (0,)


def test_extremes_equal_enumeration(small_cost: CostModel, small_space: SearchSpace) -> None:
    latency_ms = small_cost.latency_ms(all_genomes(small_space), "board")
    assert len(latency_ms) == small_space.size
    for (arch, ms), expected in (
        (small_cost.fastest("board"), latency_ms.min()),
        (small_cost.slowest("board"), latency_ms.max()),
    ):
        assert ms == pytest.approx(expected, rel=1e-12)
        assert small_cost.tables["board"].estimate(arch).ms == pytest.approx(ms, rel=1e-12)
        assert small_space.contains(arch)


@pytest.mark.parametrize("name", ["tiny", "litepose"])
def test_no_sample_is_beyond_the_extremes(name: str, make_table: MakeTable) -> None:
    space = SearchSpace.preset(name)
    cost = CostModel(space, tables={"board": make_table(space)})
    latency_ms = cost.latency_ms(cost.codec.sample(5000, np.random.default_rng(5)), "board")
    assert cost.fastest("board")[1] < latency_ms.min() < latency_ms.max() < cost.slowest("board")[1]


@pytest.mark.parametrize("device", ["snapdragon_855", "raspberry_pi_4b", "jetson_nano"])
@pytest.mark.parametrize("name", ["tiny", "litepose"])
def test_shipped_tables_serve_the_spaces(device: str, name: str) -> None:
    table = LatencyTable.load(device)
    cost = CostModel(SearchSpace.preset(name), tables={device: table})
    genomes = cost.codec.sample(20, np.random.default_rng(6))
    expected = [table.estimate(arch).ms for arch in cost.codec.decode_many(genomes)]
    np.testing.assert_allclose(cost.latency_ms(genomes, device), expected, rtol=1e-9)
    assert cost.fastest(device)[1] <= min(expected)


def test_several_tables_are_told_apart(tiny_cost: CostModel, make_table: MakeTable) -> None:
    tables = {"a": tiny_cost.tables["board"], "b": make_table(tiny_cost.space)}
    both = CostModel(tiny_cost.space, tables=tables)
    genomes = both.codec.sample(5, np.random.default_rng(0))
    assert set(both.evaluate(genomes)) == {"macs", "params", "latency_ms/a", "latency_ms/b"}


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
        half = INTERVAL_SIGMAS * (network_sigma**2 + decoding.spread_ms(arch.image_size, people) ** 2) ** 0.5
        numbers = (expected, max(expected - half, 0), expected + half)
        assert (ms[row], low_ms[row], high_ms[row]) == pytest.approx(numbers, rel=1e-9, abs=0)


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
        SearchProblem(frames, "board", network_ms + 100)
    assert SearchProblem(tiny_cost, "board", network_ms).latency_sources["decoding"] is None
    sources = SearchProblem(frames, "board", network_ms + 200).latency_sources
    assert sources["network"]["provenance"] == tiny_cost.tables["board"].metadata.provenance
    assert sources["decoding"] == {
        "measured_on": "laptop",
        "digest": decoding.digest,
        "people": 3,
        "provenance": "assumed",
    }
