"""Training as a user runs it: killed, interrupted or left alone, it ends with the same weights."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts import train_supernet
from scripts.cli import CONFIG_DIR
from supernet.checkpoints import load_supernet, read_description, weights_digest

RunScript = Callable[..., Any]


def digest(workspace: Path) -> str:
    return weights_digest(load_supernet(workspace / "supernet" / "supernet.safetensors"))


def metrics(workspace: Path) -> list[dict[str, float]]:
    """Lines of the log without what depends on the clock."""
    lines = [json.loads(line) for line in (workspace / "supernet" / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["images_per_second"]
    return lines


def test_a_finished_training_leaves_weights_metrics_and_no_checkpoint(trained: Path) -> None:
    folder = trained / "supernet"
    assert (folder / "supernet.safetensors").exists()
    assert not (folder / "checkpoint.pt").exists()
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]
    assert [line["step"] for line in metrics(trained)] == list(range(6))
    assert any((folder / "tensorboard").iterdir())
    assert read_description(folder / "supernet.safetensors")["info"] == {
        "steps": 6,
        "seed": 0,
        "dataset": "people",
        "images": 12,
    }


def test_started_again_it_has_nothing_to_do(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path
) -> None:
    before = (trained / "supernet" / "supernet.safetensors").stat().st_mtime_ns
    outcome = run_script("train_supernet", f"workspace={trained}", *quick_training)
    assert (outcome.status, "already trained" in outcome.stdout) == (0, True)
    assert (trained / "supernet" / "supernet.safetensors").stat().st_mtime_ns == before


def test_interrupted_it_goes_on(
    run_script: RunScript,
    quick_training: tuple[str, ...],
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    @contextmanager
    def after_three_steps() -> Iterator[Callable[[], bool]]:
        asked = iter(range(100))
        yield lambda: next(asked) == 2

    workspace = tmp_path / "interrupted"
    command = ("train_supernet", f"workspace={workspace}", *quick_training)
    with monkeypatch.context() as patch:
        patch.setattr(train_supernet, "stop_requested", after_three_steps)
        outcome = run_script(*command)
    assert (outcome.status, outcome.stderr) == (130, "interrupted; the same command goes on from here\n")
    assert [line["step"] for line in metrics(workspace)] == [0, 1, 2]
    assert not (workspace / "supernet" / "supernet.safetensors").exists()
    outcome = run_script(*command)
    assert outcome.status == 0
    assert "going on from step 3 of 6" in outcome.stdout
    assert digest(workspace) == digest(trained)
    assert metrics(workspace) == metrics(trained)


def test_killed_it_goes_on(
    run_script: RunScript, quick_training: tuple[str, ...], data_root: Path, tmp_path: Path
) -> None:
    overrides = (*quick_training, "training.steps=24")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    script = Path(CONFIG_DIR).parent / "scripts" / "train_supernet.py"
    command = [sys.executable, str(script), f"data_root={data_root}", f"workspace={killed}", *overrides]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    try:
        while not (killed / "supernet" / "checkpoint.pt").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    assert not (killed / "supernet" / "supernet.safetensors").exists()

    outcome = run_script("train_supernet", f"workspace={killed}", *overrides)
    assert outcome.status == 0, outcome.stderr
    assert "going on from step" in outcome.stdout
    assert run_script("train_supernet", f"workspace={whole}", *overrides).status == 0
    assert digest(killed) == digest(whole)
    assert metrics(killed) == metrics(whole)


def test_training_starts_from_given_weights(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    weights = shutil.copy(trained / "supernet" / "supernet.safetensors", tmp_path / "start.safetensors")
    still = ("training.steps=1", "training.learning_rate.peak=0", "training.weight_decay=0")
    for name, start in (("from", f"init_from={weights}"), ("fresh", "init_from=null")):
        outcome = run_script("train_supernet", f"workspace={tmp_path / name}", *quick_training, *still, start)
        assert outcome.status == 0, outcome.stderr
    given = dict(load_supernet(weights).named_parameters())
    started = dict(load_supernet(tmp_path / "from" / "supernet" / "supernet.safetensors").named_parameters())
    fresh = dict(load_supernet(tmp_path / "fresh" / "supernet" / "supernet.safetensors").named_parameters())
    assert all(given[name].equal(started[name]) for name in given)
    assert not all(given[name].equal(fresh[name]) for name in given)
