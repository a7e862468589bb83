"""Latency tables: files in and out, exact lookup, networks as sums, intervals."""

import math
import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency_tables import LatencyTable, OperatorLatency, TableMetadata
from latency_tables.coverage import space_operators
from latency_tables.rows import KINDS
from latency_tables.table import SHIPPED_DIR, shipped_tables
from supernet.errors import InputError
from supernet.operators import Operator, operators_of
from supernet.space import PRESETS, SearchSpace

METADATA = TableMetadata(
    device="bench_board",
    processor="Cortex-A72 x 4",
    runtime="ncnn 20260113",
    runtime_provenance="stated",
    threads=4,
    precision="fp32",
    clocks="governor performance",
    date="2026-01-31",
    made_by="a test",
    provenance="measured",
    network_constant_ms=2.0,
    network_constant_spread_ms=0.5,
    network_scale=1.5,
    network_residual=0.1,
    fit_errors={"LitePose-XS": 0.01},
    validation_errors={},
    sources=("a bench",),
)
BLOCK = Operator("bottleneck", 32, 16, 96, 24, 7, 2, 6)
STEM = Operator("stem", 64, 3, 32, 16, 3, 2)
ROWS = {BLOCK: OperatorLatency(4.0, 0.3, 50), STEM: OperatorLatency(1.25, 0.4, 60)}
TINY = SearchSpace.preset("tiny")

counts = st.integers(1, 1_000_000)
positive = st.floats(0, 1e6, exclude_min=True, allow_subnormal=False)
operators = st.builds(
    Operator, st.sampled_from(KINDS), counts, counts, counts, counts, counts, counts, st.integers(0, 1_000_000)
)
latencies = st.builds(OperatorLatency, positive, st.floats(0, 1e6), st.integers(0, 1_000_000))
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip)
errors = st.dictionaries(texts, st.floats(-1, 10), max_size=3)
metadata = st.builds(
    TableMetadata,
    device=texts,
    processor=texts,
    runtime=texts,
    runtime_provenance=st.sampled_from(["stated", "inferred"]),
    threads=st.none() | st.integers(1, 64),
    precision=texts,
    batch=st.integers(1, 64),
    clocks=texts,
    date=texts,
    made_by=texts,
    provenance=st.sampled_from(["measured", "calibrated-estimate"]),
    network_constant_ms=st.floats(0, 1e3),
    network_constant_spread_ms=st.floats(0, 1e3),
    network_scale=positive,
    network_residual=st.floats(0, 1),
    fit_errors=errors,
    validation_errors=errors,
    sources=st.lists(texts, max_size=3).map(tuple),
    notes=st.just("") | texts,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata, st.dictionaries(operators, latencies, max_size=6), st.sampled_from(["t", "t.csv", "t.yaml"]))
def test_what_is_saved_is_loaded(tmp_path: Path, meta: TableMetadata, rows: dict, name: str) -> None:
    table = LatencyTable(meta, rows)
    table.save(tmp_path / name)
    loaded = LatencyTable.load(tmp_path / name)
    assert loaded.metadata == meta
    assert dict(loaded.rows) == rows
    assert loaded.digest == table.digest


def test_equal_tables_are_equal_bytes_whatever_the_order(tmp_path: Path) -> None:
    LatencyTable(METADATA, ROWS).save(tmp_path / "a.csv")
    LatencyTable(METADATA, dict(reversed(ROWS.items()))).save(tmp_path / "b.csv")
    for suffix in (".csv", ".yaml"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.yaml", "b.csv", "b.yaml"]


def test_digest_follows_the_content() -> None:
    digests = {
        LatencyTable(METADATA, ROWS).digest,
        LatencyTable(replace(METADATA, network_scale=1.4), ROWS).digest,
        LatencyTable(METADATA, {**ROWS, BLOCK: OperatorLatency(4.0, 0.31, 50)}).digest,
    }
    assert len(digests) == 3


def test_tables_travel_between_processes() -> None:
    table = LatencyTable(METADATA, ROWS)
    copy = pickle.loads(pickle.dumps(table))
    assert (copy.metadata, copy.rows, copy.digest) == (table.metadata, table.rows, table.digest)


def test_unknown_name_lists_the_shipped_tables() -> None:
    with pytest.raises(InputError, match="'phone_of_mine'; shipped: jetson_nano, raspberry_pi_4b, snapdragon_855"):
        LatencyTable.load("phone_of_mine")


def test_missing_file_is_named(tmp_path: Path) -> None:
    LatencyTable(METADATA, ROWS).save(tmp_path / "t")
    (tmp_path / "t.csv").unlink()
    with pytest.raises(InputError, match=r"t\.csv: no such file"):
        LatencyTable.load(tmp_path / "t.yaml")


def test_missing_row_names_the_operator_and_the_remedy() -> None:
    absent = replace(BLOCK, kernel=5)
    table = LatencyTable(METADATA, ROWS)
    message = r"bottleneck \(resolution 32, channels 16/96/24, kernel 5, stride 2, expansion 6\); measure it"
    with pytest.raises(InputError, match=message):
        table.lookup(absent)
    estimated = LatencyTable(replace(METADATA, provenance="calibrated-estimate"), ROWS)
    with pytest.raises(InputError, match=r"build_latency_table\.py device=bench_board"):
        estimated.lookup(absent)
    assert table.missing([STEM, absent, absent]) == [absent]


def test_network_interval_in_closed_form() -> None:
    table = LatencyTable(METADATA, ROWS)
    ms = table.network_ms(5.25)
    assert ms == 2.0 + 1.5 * 5.25
    sigma = math.sqrt(1.5**2 * 0.25 + 0.5**2 + (0.1 * ms) ** 2)
    assert table.network_spread_ms(ms, 0.25) == pytest.approx(sigma)
    low, high = table.network_interval(ms, 0.25)
    normal_mass = math.erf((high - ms) / sigma / math.sqrt(2))
    assert normal_mass == pytest.approx(0.8)
    assert ms - low == pytest.approx(high - ms)


def test_networks_as_arrays_equal_networks_one_by_one() -> None:
    table = LatencyTable(METADATA, ROWS)
    sums, variances = np.array([0.1, 3.0, 200.0]), np.array([100.0, 0.0, 4.0])
    ms = table.network_ms(sums)
    low, high = table.network_interval(ms, variances)
    for i in range(3):
        one = table.network_ms(float(sums[i]))
        assert (one, *table.network_interval(one, float(variances[i]))) == pytest.approx((ms[i], low[i], high[i]))
    assert low[0] == 0.0  # a latency is never negative


@pytest.mark.parametrize("device", shipped_tables())
@pytest.mark.parametrize("num_keypoints", [14, 17])
def test_estimate_is_the_plain_sum_over_the_operators(device: str, num_keypoints: int) -> None:
    table, rng = LatencyTable.load(device), random.Random(0)
    for space in PRESETS.values():
        for _ in range(20):
            arch = space.sample(rng)
            total, variance = 0.0, 0.0
            for operator in operators_of(arch, num_keypoints):
                total += table.rows[operator].ms
                variance += table.rows[operator].spread_ms ** 2
            answer = table.estimate(arch, num_keypoints)
            assert answer.ms == pytest.approx(table.metadata.network_constant_ms + total)
            low_high = table.network_interval(answer.ms, variance)
            assert (answer.low_ms, answer.high_ms) == pytest.approx(low_high)
            assert answer.low_ms < answer.ms < answer.high_ms
            assert answer.provenance == "calibrated-estimate"


@pytest.mark.parametrize("device", shipped_tables())
def test_shipped_tables_cover_the_three_spaces(device: str) -> None:
    table = LatencyTable.load(device)
    for space in PRESETS.values():
        for num_keypoints in (14, 17):
            assert table.missing(space_operators(space, num_keypoints)) == []
    assert table.metadata.device == device
    assert (SHIPPED_DIR / f"{device}.csv").stat().st_size < 1_000_000


@pytest.mark.parametrize("device", shipped_tables())
def test_more_work_takes_longer(device: str) -> None:
    """More pixels, channels or expansion never make an operator faster."""
    table = LatencyTable.load(device)
    for operator, row in table.rows.items():
        if operator.kind == "bottleneck":
            for more in (7, 5):
                other = table.rows.get(replace(operator, kernel=more))
                if operator.kernel < more and other is not None:
                    assert other.ms > row.ms
        double = table.rows.get(replace(operator, resolution=2 * operator.resolution))
        assert double is None or double.ms > row.ms
    assert table.estimate(TINY.smallest()).ms < table.estimate(TINY.largest()).ms
