"""The script that estimates tables."""

import subprocess
import sys
from pathlib import Path

import pytest

from latency_tables import LatencyTable
from latency_tables.coverage import space_operators
from supernet.space import SearchSpace

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/build_latency_table.py", *arguments]
    return subprocess.run(
        [*command, f"output={folder}", f"workspace={folder}/run"], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_builds_the_tables_of_several_devices(tmp_path: Path) -> None:
    result = run(tmp_path, "-m", "device=jetson_nano,snapdragon_855", "spaces=[tiny]", "num_keypoints=[17]")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("LitePose-M") == 2
    for device in ("jetson_nano", "snapdragon_855"):
        table = LatencyTable.load(tmp_path / f"{device}.csv")
        assert set(table.rows) == space_operators(SearchSpace.preset("tiny"), 17)
        assert table.rows.items() <= LatencyTable.load(device).rows.items()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("device=toaster", "Available options in 'device': jetson_nano raspberry_pi_4b snapdragon_855"),
        ("device.name=toaster", "unknown device 'toaster'; known: snapdragon_855, raspberry_pi_4b, jetson_nano"),
        ("num_keypoints=[0]", "num_keypoints has 0; it must be a list of positive integers"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, override: str, message: str) -> None:
    result = run(tmp_path, override)
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not list(tmp_path.glob("*.csv"))
