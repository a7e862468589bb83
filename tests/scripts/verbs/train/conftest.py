"""Trainings as a user runs them: in processes of their own, and what they leave in their workspaces."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.scripts.build import training
from litepose_ofa.supernet.network.checkpoints import load_supernet, weights_digest

Popen = subprocess.Popen[str]

STEPS = 20
LONG_TRAINING = (
    *(
        "threads=1",
        "space.image_sizes=[32,64]",
        "recipe=progressive",
        "training.batch_size=2",
        "training.ema_decay=0.9",
    ),
    *(f"training.steps={STEPS}", "training.checkpoint_every=4", "training.log_every=1", "training.validate_every=0"),
)
"""Six steps an epoch, five phases; long enough to be interrupted in time."""


class TrainingRuns:
    """Starts processes of one thread each, and reads what trainings leave in their workspaces."""

    steps = STEPS
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    patience_seconds = 240
    interrupted = "interrupted; the same command goes on from here\n"

    def __init__(self, data_root: Path) -> None:
        self.long = (f"data_root={data_root}", *LONG_TRAINING)
        self.command = (sys.executable, "-m", "litepose_ofa", "train", *self.long)

    @contextmanager
    def started(self, *command: str, **changes: Any) -> Iterator[Popen]:
        """Start a process; kill it at the end, if it still runs."""
        process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **changes
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def ended(self, *command: str, **changes: Any) -> tuple[int, str, str]:
        """Start a process; return its status and what it printed."""
        with self.started(*command, **changes) as process:
            stdout, stderr = process.communicate(timeout=self.patience_seconds)
        return process.returncode, stdout, stderr

    def wait_for_checkpoint(self, workspace: Path, process: Popen, count: int = 1) -> None:
        deadline = time.monotonic() + self.patience_seconds
        while len(self.checkpoints(workspace)) < count:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "it takes too long"
            time.sleep(0.01)

    def checkpoints(self, workspace: Path) -> list[Path]:
        return sorted((workspace / "supernet" / "checkpoints").glob("*.pt"))

    def step_of(self, checkpoint: Path) -> int:
        return int(checkpoint.name.split("_")[1])

    def metrics(self, workspace: Path) -> list[dict[str, float]]:
        """Lines of the log without what depends on the clock."""
        lines = [json.loads(line) for line in (workspace / "supernet" / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("images_per_second", None)
        return lines

    def assert_same_training(self, workspace: Path, whole: Path) -> None:
        """The same weights, last checkpoint and metrics, bit for bit; and nothing left of a killed process."""
        results = [_content_of(torch.load(self.checkpoints(one)[-1], weights_only=True)) for one in (workspace, whole)]
        assert results[0] == results[1]
        paths = [one / "supernet" / "supernet.safetensors" for one in (workspace, whole)]
        assert weights_digest(load_supernet(paths[0])) == weights_digest(load_supernet(paths[1]))
        assert self.metrics(workspace) == self.metrics(whole)
        assert not list(workspace.rglob("*.tmp"))


@pytest.fixture(scope="session")
def runs(data_root: Path) -> TrainingRuns:
    return TrainingRuns(data_root)


@pytest.fixture
def train(run_script: Any, quick_training: tuple[str, ...]) -> Callable[..., Any]:
    """Train for a moment in this process; later overrides win."""
    return lambda *overrides: run_script("train", *quick_training, *overrides)


@pytest.fixture
def train_long(run_script: Any, runs: TrainingRuns) -> Callable[..., Any]:
    """Train in this process as ``runs.command`` does."""
    return lambda *overrides: run_script("train", *runs.long, *overrides)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, runs: TrainingRuns) -> Path:
    """A workspace with a supernet that was trained without a break; to be read only."""
    workspace = tmp_path_factory.mktemp("whole")
    status, _, stderr = runs.ended(*runs.command, f"workspace={workspace}")
    assert status == 0, stderr
    return workspace


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """Let a training of this process be interrupted after a step."""

    @contextmanager
    def interrupted(step: int) -> Iterator[None]:
        @contextmanager
        def in_time() -> Iterator[Callable[[], bool]]:
            asked = itertools.count(0)
            yield lambda: next(asked) >= step

        with monkeypatch.context() as patch:
            patch.setattr(training, "stop_requested", in_time)
            yield

    return interrupted


def _content_of(value: Any) -> object:
    """Return a checkpoint's content with tensors as shapes and bytes."""
    if isinstance(value, dict):
        return {key: _content_of(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.contiguous().numpy().tobytes()
    return value
