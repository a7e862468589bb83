"""A table against networks with known errors."""

from collections.abc import Callable
from typing import Any

import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.profiling.measurements import Timing
from litepose_ofa.latency_tables.profiling.validation import format_fit, format_validation, validate
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

Timed = Callable[[list[float]], dict[Arch, Timing]]
TINY = SearchSpace.preset("tiny")


def test_errors_in_closed_form(simulated: Any) -> None:
    table, archs = LatencyTable.load("raspberry_pi_4b"), simulated.sample_archs(SearchSpace.preset("tiny"), 12, 5)

    def timed(factors: list[float]) -> dict[Arch, Timing]:
        times = [factor * table.estimate(arch).ms for arch, factor in zip(archs, factors, strict=False)]
        return {arch: Timing(ms, 0.0, 50, (ms,)) for arch, ms in zip(archs, times, strict=False)}

    report = validate(table, timed([1.0, 2.0, 0.5, 1.0]), num_keypoints=14)
    assert [check.error for check in report.checks] == pytest.approx([0, -0.5, 1, 0])
    assert (report.mape, report.bias, report.inside) == pytest.approx((1.5 / 4, 0.5 / 4, 0.5))
    scaled = validate(table, timed([1.3] * 12), num_keypoints=14)
    assert (scaled.spearman, scaled.mape) == pytest.approx((1, 1 - 1 / 1.3))


def test_networks_of_the_fit_do_not_count(simulated: Any, table: LatencyTable, timed: Timed) -> None:
    fitted = simulated.measure(TINY, simulated.sample_archs(TINY, 20, 0)).networks
    report = validate(table, {**fitted, **timed([1.0] * 4)}, num_keypoints=14)
    assert (len(report.checks), report.fitted) == (4, len(fitted))
    with pytest.raises(InputError, match="has 0 networks that the table of board was not fitted on"):
        validate(table, fitted, num_keypoints=14)


def test_reports_are_shown(table: LatencyTable, timed: Timed) -> None:
    reports = [validate(table, timed([1.0, 1.1, 0.9, 1.05]), num_keypoints=14, name=name) for name in ("one", "two")]
    text = format_validation(reports)
    assert [line.split()[0] for line in text.splitlines()[1:3]] == ["one", "two"]
    assert sum(int(line.split()[2]) for line in text.splitlines() if line.split()[1:2] == ["px"]) == 4
    worst = text.partition("worst of two:\n")[2].splitlines()
    assert [line.rpartition(" ")[2] for line in worst] == ["+11.1%", "-9.1%", "-4.8%", "+0.0%"]
    assert reports[0].to_dict()["checks"][1]["error"] == pytest.approx(1 / 1.1 - 1)
    assert "left out networks: 20, MAPE" in format_fit(table)
