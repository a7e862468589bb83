"""The estimated devices: against the published latencies, and what is shipped against the code that makes it."""

import csv
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from litepose_ofa import conf
from litepose_ofa.latency_tables import LatencyTable

calibrating = import_module("calibrate")

DEVICES = {device: calibrating.calibrate(device) for device in calibrating.ESTIMATES["devices"]}
CALIBRATED = ["snapdragon_855", "raspberry_pi_4b", "jetson_nano"]


def test_published_latencies_agree_with_their_source(reference_path: Callable[[str], Path]) -> None:
    """Digitised from a chart to 1 % where the source has no table."""
    boards = {"jetson_nano": "Jetson Nano", "snapdragon_855": "Snapdragon 855", "raspberry_pi_4b": "Raspberry Pi 4B"}
    with reference_path("data/latency/litepose_anchors.csv").open() as file:
        anchors = list(csv.DictReader(file))
    for device in CALIBRATED:
        timed = {**DEVICES[device].published_ms, **{each.network: each.ms for each in DEVICES[device].references}}
        assert len(timed) == 9
        for network, ms in timed.items():
            name = network.replace("LitePose", "LitePose-Auto")
            (row,) = (row for row in anchors if boards[device] in row["device"] and row["model_or_op"] == name)
            assert ms == pytest.approx(float(row["latency_ms"]), rel=0.01)


@pytest.mark.parametrize("device", CALIBRATED)
def test_the_config_has_the_same_published_latencies(device: str) -> None:
    with initialize_config_dir(str(Path(conf.__file__).parent), version_base="1.3"):
        published = compose("search", [f"device={device}"]).device.published
    assert {f"LitePose-{tier.upper()}": ms for tier, ms in published.items()} == DEVICES[device].published_ms


def test_budgets_of_the_core_without_published_latencies_are_its_estimates() -> None:
    with initialize_config_dir(str(Path(conf.__file__).parent), version_base="1.3"):
        budgets = compose("search", ["device=snapdragon_855_cpu"]).device.budgets_ms
    table = LatencyTable.load("snapdragon_855_cpu")
    for tier, budget_ms in budgets.litepose.items():
        arch = calibrating.PUBLISHED[f"LitePose-{tier.upper()}"]
        assert budget_ms == pytest.approx(table.estimate(arch).ms, abs=0.5)


def test_estimates_meet_the_published_latencies() -> None:
    """All twelve are inside their intervals, and at least 9 are when the left-out error moves the interval."""
    errors, left_out, inside = [], [], 0
    for device in CALIBRATED:
        for name, published_ms in DEVICES[device].published_ms.items():
            estimate = LatencyTable.load(device).estimate(calibrating.PUBLISHED[name])
            assert estimate.low_ms < published_ms < estimate.high_ms
            errors.append(estimate.ms / published_ms - 1)
            left_out.append(DEVICES[device].left_out_errors[name])
            inside += estimate.low_ms < estimate.ms / (1 + left_out[-1]) < estimate.high_ms
    assert len(errors) == 12
    assert np.max(np.abs(errors)) < 0.1
    assert np.mean(np.abs(errors)) < 0.02
    assert np.mean(np.abs(left_out)) < 0.04
    assert inside >= 9


@pytest.mark.parametrize("device", DEVICES)
def test_the_shipped_table_is_what_the_code_makes(device: str) -> None:
    shipped = LatencyTable.load(device)
    made = DEVICES[device].table(shipped.rows)
    for field in ("ms", "std_ms", "samples"):
        ours, theirs = ([getattr(row, field) for row in table.rows.values()] for table in (made, shipped))
        np.testing.assert_allclose(ours, theirs, rtol=2e-3)
    assert made.metadata.to_dict() | {"made_by": shipped.metadata.made_by} == {
        key: pytest.approx(value, abs=2e-4) if isinstance(value, float | dict) else value
        for key, value in shipped.metadata.to_dict().items()
    }
    left_out = np.array(list(shipped.metadata.validation_errors.values()))
    assert shipped.metadata.network_residual == pytest.approx(np.sqrt(np.mean(left_out**2)), abs=1e-3)


@pytest.mark.parametrize("device", ["raspberry_pi_4b", "jetson_nano", "snapdragon_855_cpu"])
def test_kernel_costs_follow_the_measured_blocks(device: str) -> None:
    """A depthwise 7x7 costs three times a 3x3 at stride 1 on the phone's CPU, not the 5.4 times of its arithmetic."""
    ratios, model = calibrating.depthwise_ratios(), DEVICES[device].model
    for stride in (1, 2):
        assert 1.5 < ratios[5, stride] < ratios[7, stride]
        assert 2.5 < ratios[7, stride] < 3.7
        three, seven = (model.models["depthwise", kernel, stride].costs for kernel in (3, 7))
        assert seven.get("overhead_ms") == pytest.approx(three.get("overhead_ms"))
        assert seven["ms_per_mmac"] * 49 / (three["ms_per_mmac"] * 9) == pytest.approx(ratios[7, stride])
