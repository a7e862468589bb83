"""A table against networks with known errors."""

from typing import Any

import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.profiling.measurements import Timing
from litepose_ofa.latency_tables.profiling.validation import validate
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace


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
