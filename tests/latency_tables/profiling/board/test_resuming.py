"""A kit that is killed with SIGKILL and started again, in a process of its own."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from litepose_ofa.latency_tables.profiling.kit import BOARD_DIR, BOARD_FILES, MANIFEST_FILE

MODELS = [f"m{i}" for i in range(25)]
BACKEND = """
import json, os, pathlib, signal, sys

FOLDER = pathlib.Path(__file__).parent

def describe():
    return {"runtime": "fake", "runtime_version": "1", "precision": "float32", "provider": "none"}

class Model:
    def run(self):
        pass

def load(paths, input_shapes, threads):
    kills = json.loads((FOLDER / "kills.json").read_text())
    calls = len((FOLDER / "calls").read_text()) if (FOLDER / "calls").exists() else 0
    with (FOLDER / "calls").open("a") as file:
        file.write(".")
    if calls in kills:
        os.kill(os.getpid(), signal.SIGKILL)
    return Model()
"""


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit without models, whose backend kills its process at the calls that ``kills.json`` names."""
    for name in BOARD_FILES:
        shutil.copy(BOARD_DIR / name, tmp_path)
    (tmp_path / "backend_fake.py").write_text(BACKEND)
    models = [{"id": model, "files": [], "input_shapes": []} for model in MODELS]
    manifest = {"kit": "0", "runtime": "fake", "backend": "backend_fake", "probe": "m0", "models": models}
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(manifest))
    return tmp_path


def start(kit: Path) -> int:
    command = [sys.executable, "profile_board.py", "--rounds", "3", "--runs", "9"]
    return subprocess.run(command, cwd=kit, capture_output=True, check=False).returncode


def timings(kit: Path) -> Counter[tuple[str, str]]:
    lines = csv.DictReader((kit / "measurements.csv").read_text().splitlines()[1:])
    return Counter((line["round"], line["model"]) for line in lines if line["purpose"] == "round")


def test_three_kills_lose_and_repeat_nothing(kit: Path) -> None:
    (kit / "kills.json").write_text("[5, 31, 62]")
    assert [start(kit) for _ in range(3)] == [-signal.SIGKILL] * 3
    assert start(kit) == 0
    assert timings(kit) == Counter((str(number), model) for number in (1, 2, 3) for model in MODELS)


@pytest.mark.parametrize(
    ("arguments", "backend", "message"),
    [
        (["--rounds", "0"], BACKEND, "error: threads, rounds, runs and seconds must be above 0\n"),
        (["--option", "gpu=true"], BACKEND, "error: fake takes no --option\n"),
        (["--output", "nowhere/x.csv"], BACKEND, "error: [Errno 2] No such file or directory: 'nowhere/x.csv.new'\n"),
        ([], "import a_runtime", "error: No module named 'a_runtime'; install the runtime for this Python"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_status_2(
    arguments: list[str], backend: str, message: str, kit: Path
) -> None:
    (kit / "kills.json").write_text("[]")
    (kit / "backend_fake.py").write_text(backend)
    command = [sys.executable, "profile_board.py", *arguments]
    ended = subprocess.run(command, cwd=kit, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(message)
    assert ended.stderr.count("\n") == 1
