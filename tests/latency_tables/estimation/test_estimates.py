"""The estimated devices: against the published latencies, and the shipped tables against the code that makes them."""

import csv
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from litepose_ofa import conf
from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.estimation.estimates import DeviceEstimate, estimated_devices, published_networks
from litepose_ofa.latency_tables.estimation.report import calibration_checks, format_report
from litepose_ofa.latency_tables.table import shipped_tables
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.errors import InputError


class ReferencePath(Protocol):
    def __call__(self, name: str) -> Path: ...


ESTIMATES = {device: DeviceEstimate.of(device) for device in estimated_devices()}
CALIBRATED = [device for device, estimate in ESTIMATES.items() if estimate.published_ms]
CHECKS = {device: calibration_checks(ESTIMATES[device]) for device in CALIBRATED}


def test_every_estimated_device_is_shipped() -> None:
    assert set(estimated_devices()) <= set(shipped_tables())
    assert CALIBRATED == ["snapdragon_855", "raspberry_pi_4b", "jetson_nano"]


def test_published_networks_have_their_published_macs() -> None:
    gmacs = [measure_complexity(arch).macs / 1e9 for arch in published_networks().values()]
    assert gmacs == pytest.approx([0.883, 3.614, 5.264, 9.962], abs=5e-4)


def test_published_latencies_agree_with_their_source(reference_path: ReferencePath) -> None:
    """Digitised from a chart to 1 % where the source has no table."""
    boards = {"jetson_nano": "Jetson Nano", "snapdragon_855": "Snapdragon 855", "raspberry_pi_4b": "Raspberry Pi 4B"}
    with reference_path("data/latency/litepose_anchors.csv").open() as file:
        anchors = list(csv.DictReader(file))
    for device in CALIBRATED:
        estimate = ESTIMATES[device]
        timed = {**estimate.published_ms, **{timing.network: timing.ms for timing in estimate.references}}
        assert len(timed) == 9
        for network, ms in timed.items():
            name = network.replace("LitePose", "LitePose-Auto")
            (row,) = (row for row in anchors if boards[device] in row["device"] and row["model_or_op"] == name)
            assert ms == pytest.approx(float(row["latency_ms"]), rel=0.01)


@pytest.mark.parametrize("device", CALIBRATED)
def test_the_config_has_the_same_published_latencies(device: str) -> None:
    with initialize_config_dir(str(Path(conf.__file__).parent), version_base="1.3"):
        published = compose("search", [f"device={device}"]).device.published
    assert {f"LitePose-{tier.upper()}": ms for tier, ms in published.items()} == ESTIMATES[device].published_ms


def test_budgets_of_the_core_without_published_latencies_are_its_estimates() -> None:
    with initialize_config_dir(str(Path(conf.__file__).parent), version_base="1.3"):
        budgets = compose("search", ["device=snapdragon_855_cpu"]).device.budgets_ms
    table, archs = LatencyTable.load("snapdragon_855_cpu"), published_networks()
    for tier, budget_ms in budgets.litepose.items():
        assert budget_ms == pytest.approx(table.estimate(archs[f"LitePose-{tier.upper()}"]).ms, abs=0.5)


@pytest.mark.parametrize("device", CALIBRATED)
def test_estimates_meet_the_published_latencies(device: str) -> None:
    for check in CHECKS[device]:
        assert abs(check.error) < 0.10
        assert check.estimate.low_ms < check.published_ms < check.estimate.high_ms


def test_the_twelve_cells_together() -> None:
    checks = [check for report in CHECKS.values() for check in report]
    assert len(checks) == 12
    assert np.mean([abs(check.error) for check in checks]) < 0.02
    assert np.mean([abs(check.left_out_error) for check in checks]) < 0.04


def test_left_out_networks_are_mostly_inside_the_interval() -> None:
    """Each interval is moved by the left-out error: an 80 % one holds at least 9 of 12."""
    inside = [
        check.estimate.low_ms < check.estimate.ms / (1 + check.left_out_error) < check.estimate.high_ms
        for report in CHECKS.values()
        for check in report
    ]
    assert sum(inside) >= 9


@pytest.mark.parametrize("device", ESTIMATES)
def test_the_error_bar_is_of_networks_left_out(device: str) -> None:
    meta = LatencyTable.load(device).metadata
    left_out = np.array(list(meta.validation_errors.values()))
    assert meta.network_residual == pytest.approx(np.sqrt(np.mean(left_out**2)), abs=1e-3)
    if meta.fit_errors:
        assert meta.network_residual > np.sqrt(np.mean(np.array(list(meta.fit_errors.values())) ** 2))
    assert sum("held out" in source and "%" in source for source in meta.sources) == 1


@pytest.mark.parametrize("device", ESTIMATES)
def test_the_shipped_table_is_what_the_code_makes(device: str) -> None:
    shipped = LatencyTable.load(device)
    made = ESTIMATES[device].table(shipped.rows)
    for field in ("ms", "std_ms", "samples"):
        ours, theirs = ([getattr(row, field) for row in table.rows.values()] for table in (made, shipped))
        np.testing.assert_allclose(ours, theirs, rtol=2e-3)
    assert made.metadata.to_dict() | {"made_by": shipped.metadata.made_by} == {  # named otherwise when it was made
        key: pytest.approx(value, abs=2e-4) if isinstance(value, float | dict) else value
        for key, value in shipped.metadata.to_dict().items()
    }


@pytest.mark.parametrize("device", ["raspberry_pi_4b", "jetson_nano", "snapdragon_855_cpu"])
def test_kernel_costs_follow_the_measured_blocks(device: str) -> None:
    """A depthwise 7x7 costs three times a 3x3 at stride 1 on the phone's CPU, not the 5.4 times of its arithmetic."""
    ratios = ESTIMATES[device].model.depthwise_ratios
    assert 2.5 < ratios[1][7] < 3.7
    assert 2.5 < ratios[2][7] < 3.7
    assert 1.5 < ratios[1][5] < ratios[1][7]
    assert ratios[1][3] == ratios[2][3] == pytest.approx(1)


def test_a_core_without_published_networks_takes_its_models_as_they_are() -> None:
    estimate = ESTIMATES["snapdragon_855_cpu"]
    metadata = LatencyTable.load("snapdragon_855_cpu").metadata
    assert set(estimate.calibration.multipliers.values()) == {1.0}
    assert (metadata.network_scale, metadata.network_constant_ms, metadata.fit_errors) == (1.0, 0.0, {})
    assert list(metadata.validation_errors.values()) == pytest.approx(estimate.reference_errors.tolist(), abs=1e-3)
    assert np.all(np.abs(estimate.reference_errors) < 0.4)


def test_unknown_device_lists_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="'pixel'; known: snapdragon_855, raspberry_pi_4b, jetson_nano, snapdragon_855_"
    ):
        DeviceEstimate.of("pixel")


def test_report_has_a_line_a_network() -> None:
    lines = format_report(ESTIMATES["raspberry_pi_4b"]).splitlines()
    assert len(lines) == 5 + 2 + 5 + 1
    assert lines[4].split()[:2] == ["LitePose-L", "1052.0"]
    assert lines[5] == "networks of other families, not fitted:"
    assert [line.split()[0] for line in lines[7:12]] == [t.network for t in ESTIMATES["raspberry_pi_4b"].references]
    assert len(format_report(ESTIMATES["snapdragon_855_cpu"]).splitlines()) == 2 + 10 + 1


def test_report_says_of_which_networks_its_error_is() -> None:
    told = [format_report(ESTIMATES[device]).splitlines()[-1] for device in ("raspberry_pi_4b", "snapdragon_855_cpu")]
    errors = ESTIMATES["raspberry_pi_4b"].left_out_errors.values()
    of_litepose = sum(error**2 for error in errors) / len(errors)
    assert told[0].startswith(f"relative error to expect of a LitePose network not seen: {of_litepose**0.5:.1%} (of")
    of_others = sum(error**2 for error in (-0.110, -0.312, -0.379, 0.361, 0.133)) / 5  # the lines above it
    assert told[0].endswith(f"other families, above: {of_others**0.5:.1%})")
    assert told[1] == "relative error to expect of a network not seen: 20.5%"
