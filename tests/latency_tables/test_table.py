"""Latency tables: files in and out, exact lookup, networks as sums, intervals."""

import errno
import json
import math
import pickle
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litepose_ofa.latency_tables import LatencyTable, OperatorLatency, TableMetadata
from litepose_ofa.latency_tables.rows import KINDS
from litepose_ofa.latency_tables.table import interval, probability_within
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

METADATA = LatencyTable.load("host_cpu").metadata.model_copy(
    update={
        "device": "bench_board",
        "precision": "fp32",
        "network_constant_ms": 2.0,
        "network_constant_spread_ms": 0.5,
        "network_scale": 1.5,
        "network_residual": 0.1,
    }
)
BLOCK = Operator("bottleneck", 32, 16, 96, 24, 7, 2, 6)
STEM = Operator("stem", 64, 3, 32, 16, 3, 2)
ROWS = {BLOCK: OperatorLatency(4.0, 0.3, 50), STEM: OperatorLatency(1.25, 0.4, 60)}
TINY = SearchSpace.preset("tiny")

counts = st.integers(1, 1_000_000)
positive = st.floats(0, 1e6, exclude_min=True, allow_subnormal=False)
shares = st.floats(0, 1)
operators = st.builds(
    Operator, st.sampled_from(KINDS), counts, counts, counts, counts, counts, counts, st.integers(0, 1_000_000)
)
latencies = st.builds(OperatorLatency, positive, st.floats(0, 1e6), st.integers(0, 1_000_000), st.none() | positive)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip)
errors = st.dictionaries(texts, st.floats(-1, 10), max_size=3)
metadata = st.builds(
    TableMetadata,
    **dict.fromkeys(("device", "processor", "runtime", "precision", "clocks", "made_by", "notes"), texts),
    **dict.fromkeys(("network_constant_ms", "network_constant_spread_ms"), st.floats(0, 1e3)),
    **dict.fromkeys(("fit_errors", "validation_errors"), errors),
    **dict.fromkeys(("fitted_rows_error", "interval_coverage"), st.none() | shares),
    runtime_provenance=st.sampled_from(["stated", "inferred"]),
    threads=st.none() | st.integers(1, 64),
    batch=st.integers(1, 64),
    date=st.dates().map(str),
    provenance=st.sampled_from(["measured", "calibrated-estimate"]),
    network_scale=positive,
    network_residual=shares,
    sources=st.lists(texts, max_size=3).map(tuple),
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


def test_the_checksum_is_of_the_content_not_of_its_layout(tmp_path: Path) -> None:
    table = LatencyTable(METADATA, ROWS)
    table.save(tmp_path / "t")
    header, *lines = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text("\r\n".join([header, *reversed(lines)]).replace("4.0", "4.000") + "\r\n")
    value = yaml.safe_load((tmp_path / "t.yaml").read_text())
    (tmp_path / "t.yaml").write_text(json.dumps(value, sort_keys=True))
    loaded = LatencyTable.load(tmp_path / "t")
    assert (loaded.metadata, loaded.rows, loaded.checksum) == (METADATA, ROWS, table.checksum)


KILLED = """
import itertools, os, pickle, signal, sys
replace, calls = os.replace, itertools.count(1)
def counted(source, target):
    if next(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = counted
pickle.loads(bytes.fromhex(sys.argv[1])).save(sys.argv[2])
"""


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_kill_before_any_rename_leaves_the_old_table_or_the_new_one(tmp_path: Path, number: int) -> None:
    old = LatencyTable(METADATA, ROWS)
    new = LatencyTable(METADATA, {**ROWS, STEM: OperatorLatency(9.0, 0.1, 5)}).with_metadata(network_scale=1.25)
    old.save(tmp_path / "t")
    command = [sys.executable, "-c", KILLED, pickle.dumps(new).hex(), str(tmp_path / "t"), str(number)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) > 2
    assert LatencyTable.load(tmp_path / "t").checksum == (new if number == 3 else old).checksum
    last = LatencyTable(METADATA, {STEM: ROWS[STEM]})
    last.save(tmp_path / "t")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".tmp") == ["t.csv", "t.yaml"]
    assert LatencyTable.load(tmp_path / "t").checksum == last.checksum


def test_a_failed_save_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = LatencyTable(METADATA, ROWS)
    old.save(tmp_path / "t")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(metadata: TableMetadata, checksum: str) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("litepose_ofa.latency_tables.table.metadata_to_yaml", fail)
    with pytest.raises(OSError, match="No space left"):
        LatencyTable(METADATA, {STEM: ROWS[STEM]}).save(tmp_path / "t")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("row", [OperatorLatency(-1.0, 0.1, 5), OperatorLatency(1.0, math.nan, 5)])
def test_what_could_not_be_read_back_is_not_saved(tmp_path: Path, row: OperatorLatency) -> None:
    with pytest.raises(InputError, match=r"t\.csv, line 3: .*ms is .*; it must be a finite number"):
        LatencyTable(METADATA, {**ROWS, BLOCK: row}).save(tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_unknown_names_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'phone_of_mine'; shipped: host_cpu, jetson_nano, raspberry_pi_4b"):
        LatencyTable.load("phone_of_mine")
    LatencyTable(METADATA, ROWS).save(tmp_path / "t")
    (tmp_path / "t.csv").unlink()
    with pytest.raises(InputError, match=r"t\.csv: no such file"):
        LatencyTable.load(tmp_path / "t.yaml")


def test_missing_row_names_the_operator_and_the_remedy() -> None:
    absent = replace(BLOCK, kernel=5)
    table = LatencyTable(METADATA, ROWS)
    message = r"has no row for bottleneck \(resolution 32, .* kernel 5, .*\), nor rows around it .*litepose profile .*"
    with pytest.raises(InputError, match=message):
        table.lookup(absent)
    estimated = LatencyTable(METADATA.model_copy(update={"provenance": "calibrated-estimate"}), ROWS)
    with pytest.raises(InputError, match=r"estimate-tables device=bench_board .* adds it$"):
        estimated.lookup(absent)
    assert not table.is_interpolated(absent)
    assert not table.is_interpolated(STEM)


def test_lookup_interpolates_and_says_so() -> None:
    larger, between = replace(STEM, resolution=256), replace(STEM, resolution=128)
    table = LatencyTable(METADATA, {**ROWS, larger: OperatorLatency(5.0, 0.0, 60)})
    assert table.lookup(between).ms == pytest.approx(2.5)
    assert table.is_interpolated(between)
    assert pickle.loads(pickle.dumps(table)).lookup(between) == table.lookup(between)


def scattered_table(arch: Arch, *, fitted: int = 0) -> LatencyTable:
    """A table of one network's operators; the first ``fitted`` of its rows have no samples."""
    rng = random.Random(1)
    rows = {
        operator: OperatorLatency(rng.uniform(0.5, 2), rng.uniform(0, 0.2), 0 if i < fitted else 50)
        for i, operator in enumerate(dict.fromkeys(operators_of(arch)))
    }
    return LatencyTable(METADATA, rows)


def test_an_estimate_counts_what_was_not_measured() -> None:
    arch = TINY.smallest()
    assert scattered_table(arch).estimate(arch).unmeasured == 0
    assert scattered_table(arch, fitted=3).estimate(arch).unmeasured == 3
    table = scattered_table(arch)
    stem = operators_of(arch)[0]
    around = {replace(stem, resolution=side): OperatorLatency(1.0, 0.1, 50) for side in (64, 128)}
    rest = {operator: row for operator, row in table.rows.items() if operator != stem}
    assert LatencyTable(METADATA, {**rest, **around}).estimate(arch).unmeasured == 1


@pytest.mark.parametrize("provenance", ["measured", "calibrated-estimate"])
def test_probability_agrees_with_the_interval(provenance: str) -> None:
    arch = TINY.largest()
    table = scattered_table(arch).with_metadata(provenance=provenance, validation_errors=dict.fromkeys("abcd", 0.1))
    answer = table.estimate(arch)
    assert table.probability_within(arch, answer.high_ms) == pytest.approx(0.9)
    assert table.probability_within(arch, answer.low_ms) == pytest.approx(0.1)
    assert table.probability_within(arch, answer.ms) == pytest.approx(0.5)
    assert table.probability_within(arch, math.inf) == 1.0
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match=f"budget_ms is {bad}; it must be a number above 0"):
            table.probability_within(arch, bad)


def test_probability_is_the_share_of_drawn_latencies() -> None:
    """Draw every operator, the constant and the residual on their own, and count networks within the budget."""
    arch, rng = TINY.smallest(), np.random.default_rng(0)
    table = scattered_table(arch)
    rows = [table.rows[operator] for operator in operators_of(arch)]
    draws, meta = 200_000, table.metadata
    operator_ms = sum(rng.normal(row.ms, row.std_ms, draws) for row in rows)
    ms = table.estimate(arch).ms
    drawn = meta.network_scale * operator_ms + rng.normal(
        meta.network_constant_ms, meta.network_constant_spread_ms, draws
    )
    drawn += rng.normal(0, meta.network_residual * ms, draws)
    for budget_ms in (0.85 * ms, 1.05 * ms, 1.2 * ms):
        assert table.probability_within(arch, budget_ms) == pytest.approx(float(np.mean(drawn <= budget_ms)), abs=0.004)


@pytest.mark.parametrize("networks", [3, 4, 10])
@pytest.mark.parametrize("operator_std", [0.0, 0.05, 0.1])
def test_an_estimate_of_few_networks_holds_eight_of_ten_new_ones(networks: int, operator_std: float) -> None:
    """A scale is fitted to n networks that err by 5 %; their left-out errors set the interval of one more."""
    rng, repeats, sigma = np.random.default_rng(0), 20_000, 0.05
    known = 1 + sigma * rng.normal(size=(repeats, networks))
    left_out = (known.sum(axis=1, keepdims=True) - known) / (networks - 1) / known - 1
    few = LatencyTable(METADATA, {}).with_metadata(  # all repeats at once: fields that are arrays
        provenance="calibrated-estimate",
        network_constant_ms=0.0,
        network_constant_spread_ms=0.0,
        network_scale=known.mean(axis=1),
        network_residual=np.sqrt(np.mean(left_out**2, axis=1)),
        validation_errors=dict.fromkeys(range(networks), 0.0),
    )
    ms = few.network_ms(np.ones(repeats))
    low, high = interval(ms, *few.network_spread(ms, np.full(repeats, operator_std**2)))
    new = 1 + np.hypot(sigma, operator_std) * rng.normal(size=repeats)
    assert np.mean((low <= new) & (new <= high)) == pytest.approx(0.8, abs=0.025)


def test_what_the_interval_rests_on() -> None:
    def half_sigmas(**changes: object) -> float:
        table = LatencyTable(METADATA, {}).with_metadata(network_constant_spread_ms=0.0, **changes)
        return (interval(10.0, *table.network_spread(10.0, 0.0))[1] - 10) / (10 * METADATA.network_residual)

    four, normal = dict.fromkeys("abcd", 0.1), 1.2816
    assert half_sigmas(provenance="calibrated-estimate", validation_errors=four) == pytest.approx(1.6377, abs=1e-4)
    assert half_sigmas(provenance="calibrated-estimate", validation_errors={}) == pytest.approx(normal, abs=1e-4)
    assert half_sigmas(provenance="measured", validation_errors=four) == pytest.approx(normal, abs=1e-4)


@pytest.mark.parametrize("provenance", ["measured", "calibrated-estimate"])
def test_networks_as_arrays_equal_networks_one_by_one(provenance: str) -> None:
    table = LatencyTable(METADATA, ROWS).with_metadata(provenance=provenance, validation_errors={"a": 0.1, "b": -0.1})
    sums, variances = np.array([0.1, 3.0, 200.0]), np.array([100.0, 0.0, 4.0])
    ms = table.network_ms(sums)
    spread = table.network_spread(ms, variances)
    low, high = interval(ms, *spread)
    probabilities = probability_within(ms, *spread, 8.0)
    for i in range(3):
        one = table.network_ms(float(sums[i]))
        spread = table.network_spread(one, float(variances[i]))
        apart = (one, *interval(one, *spread), probability_within(one, *spread, 8.0))
        assert apart == pytest.approx((ms[i], low[i], high[i], probabilities[i]))
    assert low[0] == 0.0  # a latency is never negative
