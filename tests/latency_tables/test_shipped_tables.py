"""The shipped tables: plain sums, coverage of the presets, more work for more time."""

import random
from dataclasses import replace

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.fitting import fit_rows
from litepose_ofa.latency_tables.table import interval, shipped_tables
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace

TINY = SearchSpace.preset("tiny")


@pytest.mark.parametrize("device", shipped_tables())
@pytest.mark.parametrize("num_keypoints", [14, 17])
def test_estimate_is_the_plain_sum_over_the_operators(device: str, num_keypoints: int) -> None:
    table, rng = LatencyTable.load(device), random.Random(0)
    for space in PRESETS.values():
        for _ in range(20):
            arch = space.sample(rng)
            rows = [table.rows[operator] for operator in operators_of(arch, num_keypoints)]
            total, variance = sum(row.ms for row in rows), sum(row.std_ms**2 for row in rows)
            answer = table.estimate(arch, num_keypoints)
            assert answer.ms == pytest.approx(table.metadata.network_constant_ms + table.metadata.network_scale * total)
            spread = table.network_spread(answer.ms, variance)
            assert (answer.low_ms, answer.high_ms) == pytest.approx(interval(answer.ms, *spread))
            assert answer.low_ms < answer.ms < answer.high_ms
            assert answer.unmeasured == sum(row.samples == 0 for row in rows)
            measured = "fitted" if answer.unmeasured else "measured"
            assert answer.provenance == (measured if device == "host_cpu" else "calibrated-estimate")


@pytest.mark.parametrize("device", shipped_tables())
def test_shipped_tables_cover_the_shipped_spaces(device: str) -> None:
    table = LatencyTable.load(device)
    for space in PRESETS.values():
        for num_keypoints in (14, 17):
            assert space_operators(space, num_keypoints) <= table.rows.keys()
    assert table.metadata.device == device


def test_what_was_not_timed_on_the_host_is_fitted_to_what_was() -> None:
    """No row of another processor is among them; the spread is the fit's or wider."""
    table = LatencyTable.load("host_cpu")
    timed = {operator: row for operator, row in table.rows.items() if row.samples}
    fitted, error = fit_rows(timed, table.rows, np.random.default_rng(0))
    for operator, row in fitted.items():
        shipped = table.rows[operator]
        assert shipped.ms == pytest.approx(row.ms, rel=1e-3)
        assert shipped.std_ms > 0.9 * row.std_ms
    assert table.metadata.fitted_rows_error == pytest.approx(error, abs=0.002)
    assert table.metadata.sources[-1] == "564 operators of the space small fitted to the timed ones"


@pytest.mark.parametrize("device", shipped_tables())
def test_more_work_takes_longer(device: str) -> None:
    """More pixels or a larger kernel never make an estimated operator faster, and a measured one hardly ever."""
    table = LatencyTable.load(device)
    slower = []
    for operator, row in table.rows.items():
        larger = [replace(operator, resolution=2 * operator.resolution)]
        if operator.kind == "bottleneck":
            larger += [replace(operator, kernel=kernel) for kernel in (5, 7) if kernel > operator.kernel]
        slower += [table.rows[other].ms > row.ms for other in larger if other in table.rows]
    assert np.mean(slower) >= (0.97 if device == "host_cpu" else 1)
    assert table.estimate(TINY.smallest()).ms < table.estimate(TINY.largest()).ms
