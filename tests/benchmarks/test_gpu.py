"""The script for a GPU runs on a CPU, and no part of it ends with another."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import gpu
import gpu_parts
import pytest
import torch
from dispatcher_calls import sandwich_step

from litepose_ofa.supernet.training import step
from litepose_ofa.supernet.training.step import StepResult

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]


@pytest.mark.slow
def test_all_parts_succeed_on_a_cpu(tmp_path: Path) -> None:
    command = [str(ROOT / "benchmarks" / "gpu.sh"), "--device", "cpu", "--quick", "--output", str(tmp_path)]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all parts succeeded" in done.stdout
    outcomes = json.loads((tmp_path / "parts.json").read_text())
    assert list(outcomes) == list(gpu.PARTS)
    table = (tmp_path / "results.md").read_text()
    assert table.strip() in done.stdout.replace("\n    ", "\n")
    for found in ("skipped", "sandwich of four, bfloat16", "ap/largest", "| smallest |"):
        assert found in table
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


def test_a_part_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "parts.py"
    script.write_text("import sys\nprint('this is', sys.argv[1])\nsys.exit(3 if sys.argv[1] == 'steps' else 0)\n")
    monkeypatch.setattr(gpu, "SCRIPT", script)
    assert not gpu.run_parts(list(gpu.PARTS), tmp_path, [])
    outcomes = json.loads((tmp_path / "parts.json").read_text())
    failed = {name: outcome["failed"] for name, outcome in outcomes.items()}
    assert failed == {**dict.fromkeys(gpu.PARTS), "steps": "ended with status 3"}
    said = capsys.readouterr().out
    assert [f"    this is {name}\n" in said for name in gpu.PARTS] == [True] * len(gpu.PARTS)
    assert "steps: FAILED, ended with status 3" in said
    assert said.endswith("FAILED: steps\n")
    assert gpu.run_parts(["tests", "results"], tmp_path, [])


def test_a_part_that_outlasts_its_time_is_stopped(tmp_path: Path) -> None:
    outcome = gpu.run_part(["tail", "-f", "/dev/null"], tmp_path / "log", 0)
    assert outcome["failed"] == "was stopped after 0 s"


def test_parts_leave_the_later_ones_their_time() -> None:
    rest = gpu.TOTAL - sum(limit or 0 for limit in gpu.PARTS.values())
    assert rest >= 180, "for the training"


def test_a_batch_that_does_not_fit_is_halved(capsys: pytest.CaptureFixture[str]) -> None:
    def make(batch: int) -> gpu_parts.Step:
        if batch > 4:
            raise torch.OutOfMemoryError
        return lambda: None

    assert gpu_parts.timed(make, 16, CPU, 0)["batch"] == 4
    assert capsys.readouterr().out.splitlines()[-1] == "out of memory; with a batch of 4:"
    with pytest.raises(torch.OutOfMemoryError):
        gpu_parts.timed(lambda batch: make(5), 2, CPU, 0)


def test_the_first_share_is_of_the_time_before() -> None:
    assert gpu_parts.busy(["0", "90", " 100"]) == 95
    assert gpu_parts.busy(["[N/A]", "[N/A]"]) is None
    assert gpu_parts.busy([]) is None


def test_without_a_gpu_it_says_so_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.unfit("cpu") is None
    told = gpu.unfit("cuda")
    assert told is not None
    assert "finds no CUDA device" in told
    assert "\n" not in told


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.05)])
def test_a_step_has_the_losses_of_a_cpu(device: str, precision: str, tolerance: float) -> None:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = sandwich_step(torch.device(device), "tiny", precision=precision)()
    expected = sandwich_step(CPU, "tiny")()
    assert isinstance(found, StepResult)
    assert isinstance(expected, StepResult)
    assert found.losses == pytest.approx(expected.losses, rel=tolerance)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_waits_only_where_losses_are_read(device: str) -> None:
    run = sandwich_step(torch.device(device), "tiny")
    run()
    with mock.patch.object(step, "_read", side_effect=lambda values: [0.0] * len(values)) as read:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            run()
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    assert read.call_count == 1
