"""The script that estimates tables."""

from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.estimation import device_models
from litepose_ofa.supernet.archs.space import SearchSpace


@pytest.fixture
def estimate(run_script: Any, tmp_path: Path) -> Any:
    """Run the script on the tiny space alone, into the test's own folder."""
    settings = (f"output={tmp_path}", f"workspace={tmp_path}/run", "spaces=[]")
    return lambda *overrides: run_script("estimate_tables", *settings, *overrides)


def test_every_device_without_arguments(estimate: Any, tmp_path: Path) -> None:
    outcome = estimate("num_keypoints=[14]")
    assert outcome.status == 0, outcome.stderr
    assert sorted(path.stem for path in tmp_path.glob("*.csv")) == sorted(device_models())
    assert outcome.stdout.count("left out networks: 4, MAPE") == 3
    for device in device_models():
        assert LatencyTable.load(tmp_path / f"{device}.csv").rows.items() <= LatencyTable.load(device).rows.items()


def test_one_device_keeps_the_operators_that_its_table_has(estimate: Any, tmp_path: Path) -> None:
    for keypoints in (14, 5):
        outcome = estimate("device=jetson_nano", f"num_keypoints=[{keypoints}]")
        assert outcome.status == 0, outcome.stderr
    assert [path.stem for path in tmp_path.glob("*.csv")] == ["jetson_nano"]
    tiny = SearchSpace.preset("tiny")
    expected = space_operators(tiny, 14) | space_operators(tiny, 5)
    assert set(LatencyTable.load(tmp_path / "jetson_nano.csv").rows) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("device=toaster", "device is 'toaster'; it must be one of "),
        ("+device.name=toaster", "unknown device 'toaster'; known: snapdragon_855, raspberry_pi_4b, jetson_nano"),
        ("num_keypoints=[0]", "num_keypoints is [0]; it must be a list of at least 1 integers from 1 to 1000"),
    ],
)
def test_bad_input_is_one_line_and_status_2(estimate: Any, tmp_path: Path, override: str, message: str) -> None:
    outcome = estimate(*override.split())
    assert outcome.status == 2
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not list(tmp_path.glob("*.csv"))
