"""A kit where nothing but numpy and ONNX Runtime is installed: runs, is killed three times, goes on."""

import csv
import shutil
import subprocess
import venv
from collections import Counter
from pathlib import Path

import pytest

from litepose_ofa.latency_tables.profiling.kit import write_kit
from litepose_ofa.latency_tables.profiling.measurements import read_measurements
from litepose_ofa.latency_tables.profiling.plan import make_plan
from litepose_ofa.supernet.archs.space import SearchSpace

ROUNDS = 2
PLAN = make_plan([SearchSpace.preset("tiny")], sample=0.02, networks=1)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with numpy and ONNX Runtime alone."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy", "onnxruntime"]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"pip cannot install onnxruntime here ({installed.stderr.splitlines()[-1]})")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode
    return python


def start(python: Path, kit: Path, kill_after: int | None = None) -> None:
    """Run the kit to its end, or kill it once its file has so many lines."""
    command = [python, "profile_board.py", "--rounds", str(ROUNDS), "--runs", "10"]
    with subprocess.Popen(command, cwd=kit, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while kill_after is not None and process.poll() is None:
            if len(lines(kit)) >= kill_after:
                process.kill()
        _, errors = process.communicate()
    assert process.returncode == (0 if kill_after is None else -9), errors.decode()


def lines(kit: Path) -> list[dict[str, str]]:
    path = kit / "measurements.csv"
    return list(csv.DictReader(path.read_text().splitlines()[1:])) if path.exists() else []


def timings(kit: Path) -> Counter[tuple[str, str]]:
    return Counter((line["round"], line["model"]) for line in lines(kit) if line["purpose"] == "round")


@pytest.mark.slow
def test_three_kills_give_the_rows_of_an_uninterrupted_run(python: Path, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    write_kit(killed, PLAN, "onnxruntime")
    shutil.copytree(killed, whole)
    for kill_after in (5, 20, 35):
        start(python, killed, kill_after)
    for kit in (killed, whole):
        start(python, kit)
    assert timings(killed) == timings(whole)
    assert timings(killed) == Counter((str(n), s.id) for n in range(1, ROUNDS + 1) for s in PLAN.subjects)
    assert set(read_measurements(killed, killed / "measurements.csv").singles) == set(PLAN.timed)
