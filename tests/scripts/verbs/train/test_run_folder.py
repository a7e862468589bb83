"""A training leaves its run folder complete, refuses what does not fit it, and starts from given weights."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from litepose_ofa.supernet.network.checkpoints import load_supernet, read_description

RunScript = Callable[..., Any]


def test_a_finished_training_leaves_weights_metrics_and_its_last_checkpoints(trained: Path, runs: Any) -> None:
    folder = runs.folder_of(trained)
    assert (folder / "supernet.safetensors").exists()
    assert [runs.step_of(path) for path in runs.checkpoints(trained)] == [4, 6]
    assert not list(folder.rglob("*.tmp"))
    assert [line["step"] for line in runs.metrics(trained)] == list(range(6))
    assert any((folder / "tensorboard").iterdir())
    info = read_description(folder / "supernet.safetensors")["info"]
    assert info.items() >= {"steps": 6, "seed": 0, "dataset": "people", "images": 12}.items()


def test_started_again_it_has_nothing_to_do(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path, runs: Any
) -> None:
    files = [path for path in runs.folder_of(trained).rglob("*") if path.is_file() and path.suffix != ".log"]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files if path.name != ".lock"}
    outcome = run_script("train", f"workspace={trained}", *quick_training)
    assert (outcome.status, "already trained" in outcome.stdout) == (0, True)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before


def test_damaged_weights_are_written_again_from_the_last_checkpoint(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path, runs: Any
) -> None:
    path = runs.folder_of(trained) / "supernet.safetensors"
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        outcome = run_script("train", f"workspace={trained}", *quick_training)
        assert outcome.status == 0, outcome.stderr
        assert f"{path}: is damaged" in outcome.stdout
        assert "going on from step 6 of 6" in outcome.stdout
        assert path.read_bytes() == content


def test_other_settings_are_refused(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path, runs: Any
) -> None:
    command = ("train", f"workspace={trained}", *quick_training)
    for change in ("training.ema_decay=0.9", "recipe=single", "training.batch_size=3"):
        outcome = run_script(*command, change)
        assert "holds a run with other settings" in runs.complaint(outcome.status, outcome.stderr)


def test_a_file_in_the_place_of_the_run_folder_is_named(
    run_script: RunScript, quick_training: tuple[str, ...], tmp_path: Path, runs: Any
) -> None:
    workspace = tmp_path / "workspace"
    workspace.write_text("a file")
    outcome = run_script("train", f"workspace={workspace}", *quick_training)
    assert str(workspace) in runs.complaint(outcome.status, outcome.stderr)
    assert workspace.read_text() == "a file"


def test_a_training_that_diverges_stops_with_a_line(
    run_script: RunScript, quick_training: tuple[str, ...], tmp_path: Path, runs: Any
) -> None:
    command = ("train", *quick_training, "training.learning_rate.peak=1e30", "training.learning_rate.warmup=0")
    outcome = run_script(*command, f"workspace={tmp_path / 'short'}", "training.steps=8")
    line = runs.complaint(outcome.status, outcome.stderr)
    assert "loss or gradient was not finite in the last 8 of 8 steps; a lower learning rate helps" in line
    assert runs.metrics(tmp_path / "short")[-1]["skipped_updates"] == 8
    assert not list((tmp_path / "short").rglob("*.safetensors"))

    outcome = run_script(*command, f"workspace={tmp_path / 'long'}", "training.steps=40")
    line = runs.complaint(outcome.status, outcome.stderr)
    assert "not finite for 20 steps in a row" in line
    assert re.search(r"last at step \d+ in subnet \w+ \([0-9a-f]{12}, \d+ px\) on images \d+, \d+;", line)
    kept = torch.load(runs.checkpoints(tmp_path / "long")[-1], weights_only=True)
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())


def test_training_starts_from_given_weights(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path, tmp_path: Path, runs: Any
) -> None:
    weights = shutil.copy(runs.folder_of(trained) / "supernet.safetensors", tmp_path / "start.safetensors")
    still = ("training.steps=1", "training.learning_rate.peak=0", "training.weight_decay=0")
    for name, start in (("from", f"init_from={weights}"), ("fresh", "init_from=null")):
        outcome = run_script("train", f"workspace={tmp_path / name}", *quick_training, *still, start)
        assert outcome.status == 0, outcome.stderr
    given = dict(load_supernet(weights).named_parameters())
    started = dict(load_supernet(runs.folder_of(tmp_path / "from") / "supernet.safetensors").named_parameters())
    fresh = dict(load_supernet(runs.folder_of(tmp_path / "fresh") / "supernet.safetensors").named_parameters())
    assert all(given[name].equal(started[name]) for name in given)
    assert not all(given[name].equal(fresh[name]) for name in given)
