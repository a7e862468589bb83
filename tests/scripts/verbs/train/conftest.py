"""Trainings as a user runs them: in processes of their own, and what they leave in their workspaces."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.network.checkpoints import load_supernet, weights_digest

Popen = subprocess.Popen[str]

STEPS = 20
LONG_TRAINING = (
    "space.image_sizes=[32,64]",
    "threads=1",
    f"training.steps={STEPS}",
    "training.batch_size=2",
    "training.checkpoint_every=4",
    "training.log_every=1",
    "training.validate_every=0",
    "training.ema_decay=0.9",
    "recipe=progressive",
)
"""Six steps an epoch, five phases; long enough to be interrupted in time."""


class TrainingRuns:
    """Starts processes, and reads what trainings leave in their workspaces.

    Attributes:
        command: Starts a training in a process of its own.
        steps: Steps of the long training.
        environment: Of the processes: one thread each.
        patience_seconds: How long a test waits for one.
        interrupted: What an interrupted script prints.
    """

    command = (sys.executable, "-m", "litepose_ofa", "train")
    steps = STEPS
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    patience_seconds = 240
    interrupted = "interrupted; the same command goes on from here\n"

    @contextmanager
    def started(self, command: tuple[str, ...], **changes: Any) -> Iterator[Popen]:
        """Start a process; kill it at the end, if it still runs."""
        process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **changes
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def wait_until(self, happened: Callable[[], object], process: Popen) -> None:
        deadline = time.monotonic() + self.patience_seconds
        while not happened():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "it takes too long"
            time.sleep(0.01)

    def complaint(self, status: object, stderr: str) -> str:
        """Return the one line that a script stops with."""
        assert status == 2, stderr
        assert re.fullmatch(r"error: [^\n]+\n", stderr), stderr
        return stderr

    def folder_of(self, workspace: Path) -> Path:
        return workspace / "supernet"

    def digest(self, workspace: Path) -> str:
        return weights_digest(load_supernet(self.folder_of(workspace) / "supernet.safetensors"))

    def checkpoints(self, workspace: Path) -> list[Path]:
        return sorted(self.folder_of(workspace).glob("checkpoints/*.pt"))

    def step_of(self, checkpoint: Path) -> int:
        return int(checkpoint.name.split("_")[1])

    def metrics(self, workspace: Path) -> list[dict[str, float]]:
        """Lines of the log without what depends on the clock."""
        lines = [json.loads(line) for line in (self.folder_of(workspace) / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("images_per_second", None)
        return lines

    def assert_same_training(self, workspace: Path, whole: Path) -> None:
        """The same weights, last checkpoint and metrics, bit for bit; and nothing left of a killed process."""
        assert self.digest(workspace) == self.digest(whole)
        ours, theirs = (torch.load(self.checkpoints(one)[-1], weights_only=True) for one in (workspace, whole))
        assert _content_of(ours) == _content_of(theirs)
        assert self.metrics(workspace) == self.metrics(whole)
        assert not list(workspace.rglob("*.tmp"))


@pytest.fixture(scope="session")
def runs() -> TrainingRuns:
    return TrainingRuns()


@pytest.fixture
def long_training(data_root: Path) -> tuple[str, ...]:
    return (f"data_root={data_root}", *LONG_TRAINING)


@pytest.fixture(scope="session")
def _whole(tmp_path_factory: pytest.TempPathFactory, data_root: Path, runs: TrainingRuns) -> Path:
    workspace = tmp_path_factory.mktemp("whole")
    command = [*runs.command, f"data_root={data_root}", f"workspace={workspace}", *LONG_TRAINING]
    subprocess.run(command, env=runs.environment, check=True, capture_output=True, timeout=runs.patience_seconds)
    return workspace


@pytest.fixture
def whole(_whole: Path) -> Path:
    """A workspace with a supernet that was trained without a break; to be read only."""
    return _whole


def _content_of(value: Any) -> object:
    """Return a checkpoint's content with tensors as shapes and bytes."""
    if isinstance(value, dict):
        return {key: _content_of(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.contiguous().numpy().tobytes()
    return value
