"""The estimated devices: against the published latencies, and the shipped tables against the code that makes them."""

import csv
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from latency_tables import LatencyTable
from latency_tables.estimates import (
    DeviceEstimate,
    calibration_report,
    estimated_devices,
    format_report,
    published_networks,
)
from latency_tables.table import shipped_tables
from supernet.complexity import measure_complexity
from supernet.errors import InputError


class ReferencePath(Protocol):
    def __call__(self, name: str) -> Path: ...


REPORTS = {device: calibration_report(device) for device in estimated_devices()}


def test_every_estimated_device_is_shipped() -> None:
    assert sorted(estimated_devices()) == shipped_tables()


def test_published_networks_have_their_published_macs() -> None:
    gmacs = [measure_complexity(arch).macs / 1e9 for arch in published_networks().values()]
    assert gmacs == pytest.approx([0.883, 3.614, 5.264, 9.962], abs=5e-4)


def test_published_latencies_agree_with_their_source(reference_path: ReferencePath) -> None:
    """Digitised from a chart to 1 % where the source has no table."""
    boards = {"jetson_nano": "Jetson Nano", "snapdragon_855": "Snapdragon 855", "raspberry_pi_4b": "Raspberry Pi 4B"}
    with reference_path("data/latency/litepose_anchors.csv").open() as file:
        anchors = list(csv.DictReader(file))
    for device, checks in REPORTS.items():
        for check in checks:
            name = check.network.replace("LitePose", "LitePose-Auto")
            (row,) = (row for row in anchors if boards[device] in row["device"] and row["model_or_op"] == name)
            assert check.published_ms == pytest.approx(float(row["latency_ms"]), rel=0.01)


@pytest.mark.parametrize("device", REPORTS)
def test_estimates_meet_the_published_latencies(device: str) -> None:
    for check in REPORTS[device]:
        assert abs(check.error) < 0.10
        assert check.estimate.low_ms < check.published_ms < check.estimate.high_ms
        left_out_ms = check.published_ms * (1 + check.left_out_error)
        assert check.estimate.low_ms / check.estimate.ms < left_out_ms / check.published_ms
        assert left_out_ms / check.published_ms < check.estimate.high_ms / check.estimate.ms


def test_the_twelve_cells_together() -> None:
    checks = [check for report in REPORTS.values() for check in report]
    assert len(checks) == 12
    assert np.mean([abs(check.error) for check in checks]) < 0.03
    assert np.mean([abs(check.left_out_error) for check in checks]) < 0.06


@pytest.mark.parametrize("device", REPORTS)
def test_the_error_bar_is_of_networks_left_out(device: str) -> None:
    meta = LatencyTable.load(device).metadata
    left_out = np.array(list(meta.validation_errors.values()))
    assert meta.network_residual == pytest.approx(np.sqrt(np.mean(left_out**2)), abs=1e-3)
    assert meta.network_residual > np.sqrt(np.mean(np.array(list(meta.fit_errors.values())) ** 2))


@pytest.mark.parametrize("device", REPORTS)
def test_the_shipped_table_is_what_the_code_makes(device: str) -> None:
    shipped = LatencyTable.load(device)
    made = DeviceEstimate.of(device).table(shipped.rows)
    for field in ("ms", "spread_ms", "samples"):
        ours, theirs = ([getattr(row, field) for row in table.rows.values()] for table in (made, shipped))
        np.testing.assert_allclose(ours, theirs, rtol=2e-3)
    assert made.metadata.to_dict() == {
        key: pytest.approx(value, abs=2e-4) if isinstance(value, float | dict) else value
        for key, value in shipped.metadata.to_dict().items()
    }


@pytest.mark.parametrize("device", ["raspberry_pi_4b", "jetson_nano"])
def test_kernel_costs_follow_the_measured_blocks(device: str) -> None:
    """A depthwise 7x7 costs 3.1 times a 3x3 at stride 1 on the phone's CPU, not the 5.4 times of its arithmetic."""
    ratios = DeviceEstimate.of(device).model.depthwise_ratios
    assert ratios[1][7] == pytest.approx(3.1, abs=0.05)
    assert ratios[2][7] == pytest.approx(2.8, abs=0.05)
    assert ratios[1][3] == ratios[2][3] == 1.0


def test_unknown_device_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="'pixel'; known: snapdragon_855, raspberry_pi_4b, jetson_nano"):
        DeviceEstimate.of("pixel")


def test_report_has_a_line_a_network() -> None:
    lines = format_report(REPORTS["raspberry_pi_4b"]).splitlines()
    assert len(lines) == 5
    assert lines[4].split()[:2] == ["LitePose-L", "1052.0"]
    assert len({len(line) for line in lines}) == 1
