"""A kit where nothing but numpy and ONNX Runtime is installed."""

import subprocess
import venv
from pathlib import Path

import pytest

from litepose_ofa.latency_tables.profiling.kit import MEASUREMENTS_FILE, write_kit
from litepose_ofa.latency_tables.profiling.measurements import read_measurements
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan


@pytest.mark.slow
def test_a_kit_needs_numpy_and_its_runtime_alone(plan: ProfilingPlan, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy", "onnxruntime"]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"pip cannot install onnxruntime here ({installed.stderr.splitlines()[-1]})")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode
    kit = tmp_path / "kit"
    write_kit(kit, plan, "onnxruntime")
    command = [python, "profile_board.py", "--rounds", "2", "--runs", "10"]
    ended = subprocess.run(command, cwd=kit, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert set(read_measurements(kit, kit / MEASUREMENTS_FILE).singles) == set(plan.timed)
