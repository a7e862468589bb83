"""A training leaves its run folder complete, ends where it diverges, and starts from given weights."""

import re
import shutil
from pathlib import Path
from typing import Any

import torch

from litepose_ofa.supernet.network.checkpoints import load_supernet, read_description


def test_a_finished_training_is_complete_and_has_nothing_more_to_do(train: Any, trained: Path, runs: Any) -> None:
    folder = trained / "supernet"
    assert [runs.step_of(path) for path in runs.checkpoints(trained)] == [4, 6]
    assert not list(folder.rglob("*.tmp"))
    assert [line["step"] for line in runs.metrics(trained)] == list(range(6))
    assert any((folder / "tensorboard").iterdir())
    info = read_description(folder / "supernet.safetensors")["info"]
    assert info.items() >= {"steps": 6, "seed": 0, "dataset": "people", "images": 12}.items()

    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("train.log", ".lock")]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    assert "already trained" in train(f"workspace={trained}").printed
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before


def test_damaged_weights_are_written_again_from_the_last_checkpoint(train: Any, trained: Path) -> None:
    path = trained / "supernet" / "supernet.safetensors"
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        printed = train(f"workspace={trained}").printed
        assert f"{path}: is damaged" in printed
        assert "going on from step 6 of 6" in printed
        assert path.read_bytes() == content


def test_a_training_that_diverges_stops_with_a_line(train: Any, tmp_path: Path, runs: Any) -> None:
    steep = ("training.learning_rate.peak=1e30", "training.learning_rate.warmup=0")
    line = train(*steep, f"workspace={tmp_path / 'short'}", "training.steps=8").refusal
    assert "loss or gradient was not finite in the last 8 of 8 steps; a lower learning rate helps" in line
    assert runs.metrics(tmp_path / "short")[-1]["skipped_updates"] == 8
    assert not list((tmp_path / "short").rglob("*.safetensors"))

    line = train(*steep, f"workspace={tmp_path / 'long'}", "training.steps=40").refusal
    assert "not finite for 20 steps in a row" in line
    assert re.search(r"last at step \d+ in subnet \w+ \([0-9a-f]{12}, \d+ px\) on images \d+, \d+;", line)
    kept = torch.load(runs.checkpoints(tmp_path / "long")[-1], weights_only=True)
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())


def test_training_starts_from_given_weights(train: Any, trained: Path, tmp_path: Path) -> None:
    def parameters(workspace: Path) -> dict[str, torch.Tensor]:
        return dict(load_supernet(workspace / "supernet" / "supernet.safetensors").named_parameters())

    weights = shutil.copy(trained / "supernet" / "supernet.safetensors", tmp_path / "start.safetensors")
    still = ("training.steps=1", "training.learning_rate.peak=0", "training.weight_decay=0")
    for name, start in (("from", weights), ("fresh", "null")):
        assert train(*still, f"workspace={tmp_path / name}", f"init_from={start}").status == 0
    given, started, fresh = (parameters(tmp_path / name) for name in ("trained", "from", "fresh"))
    assert all(given[name].equal(started[name]) for name in given)
    assert not all(given[name].equal(fresh[name]) for name in given)
