"""Tables of every device, or of one whose earlier operators are kept."""

from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.estimation import device_models
from litepose_ofa.supernet.archs.space import SearchSpace


@pytest.fixture
def estimate(run_script: Any, tmp_path: Path) -> Any:
    """Run the verb on the tiny space alone, into the test's own folder."""
    settings = (f"output={tmp_path}", f"workspace={tmp_path}/run", "spaces=[]")
    return lambda *overrides: run_script("estimate_tables", *settings, *overrides)


def test_every_device_without_arguments(estimate: Any, tmp_path: Path) -> None:
    printed = estimate("num_keypoints=[14]").printed
    assert sorted(path.stem for path in tmp_path.glob("*.csv")) == sorted(device_models())
    assert printed.count("left out networks: 4, MAPE") == 3
    for device in device_models():
        assert LatencyTable.load(tmp_path / f"{device}.csv").rows.items() <= LatencyTable.load(device).rows.items()


def test_one_device_keeps_the_operators_that_its_table_has(estimate: Any, tmp_path: Path) -> None:
    for keypoints in (14, 5):
        assert estimate("device=jetson_nano", f"num_keypoints=[{keypoints}]").status == 0
    assert [path.stem for path in tmp_path.glob("*.csv")] == ["jetson_nano"]
    tiny = SearchSpace.preset("tiny")
    expected = space_operators(tiny, 14) | space_operators(tiny, 5)
    assert set(LatencyTable.load(tmp_path / "jetson_nano.csv").rows) == expected
