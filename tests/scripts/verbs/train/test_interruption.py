"""Interrupted, killed or stopped at any moment, a training ends with the same weights."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.scripts.build import training as training_run

RunScript = Callable[..., Any]


KILLED_WHILE_WRITING = """
import os, signal, sys
from litepose_ofa.scripts.verbs.train import main
replace, calls = os.replace, []
def counted(source, target):
    calls.extend(["checkpoint"] if target.name.startswith("step_") else [])
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = counted
main()
"""


def test_interrupted_it_goes_on(
    run_script: RunScript,
    quick_training: tuple[str, ...],
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    runs: Any,
) -> None:
    @contextmanager
    def after_three_steps() -> Iterator[Callable[[], bool]]:
        asked = iter(range(100))
        yield lambda: next(asked) == 2

    workspace = tmp_path / "interrupted"
    command = ("train", f"workspace={workspace}", *quick_training)
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "stop_requested", after_three_steps)
        outcome = run_script(*command)
    assert (outcome.status, outcome.stderr) == (130, runs.interrupted)
    assert [line["step"] for line in runs.metrics(workspace)] == [0, 1, 2]
    assert not (runs.folder_of(workspace) / "supernet.safetensors").exists()
    outcome = run_script(*command)
    assert outcome.status == 0
    assert "going on from step 3 of 6" in outcome.stdout
    runs.assert_same_training(workspace, trained)


def test_killed_in_the_middle_of_an_epoch_it_goes_on_at_once(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path, runs: Any
) -> None:
    """With a loading process, that outlives the killed one for a while and must not hold the folder."""
    workspace = tmp_path / "killed"
    command = (*long_training, f"workspace={workspace}")
    with runs.started((*runs.command, *command, "training.workers=1")) as process:
        runs.wait_until(lambda: runs.checkpoints(workspace), process)
        process.kill()
        process.wait()
        outcome = run_script("train", *command)
    assert outcome.status == 0, outcome.stderr
    (step,) = re.findall(r"going on from step (\d+) of", outcome.stdout)
    assert int(step) % 6, "in the middle of an epoch"
    runs.assert_same_training(workspace, whole)


def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_one_before(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path, runs: Any
) -> None:
    workspace = tmp_path / "killed"
    command = (*long_training, f"workspace={workspace}")
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, *command],
        env=runs.environment,
        capture_output=True,
        timeout=runs.patience_seconds,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert [runs.step_of(path) for path in runs.checkpoints(workspace)] == [4, 8]
    assert len(list(workspace.rglob("*.tmp"))) == 1
    outcome = run_script("train", *command)
    assert "going on from step 8 of" in outcome.stdout
    runs.assert_same_training(workspace, whole)


def test_sigterm_saves_the_last_step_and_a_truncated_checkpoint_costs_those_since_the_one_before(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path, runs: Any
) -> None:
    workspace = tmp_path / "stopped"
    command = (*long_training, f"workspace={workspace}")
    with runs.started((*runs.command, *command)) as process:
        runs.wait_until(lambda: runs.checkpoints(workspace), process)
        process.send_signal(signal.SIGSTOP)
        second = run_script("train", *command)
        process.terminate()
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate(timeout=runs.patience_seconds)
    told = f"{runs.folder_of(workspace)}: another process is writing to this folder; wait for it or end it"
    assert told in runs.complaint(second.status, second.stderr)
    assert (process.returncode, stderr) == (130, runs.interrupted)
    before, last = runs.checkpoints(workspace)
    assert runs.step_of(last) == len(runs.metrics(workspace)) < runs.steps

    os.truncate(last, last.stat().st_size // 2)
    outcome = run_script("train", *command)
    assert outcome.status == 0, outcome.stderr
    assert f"{last}: is damaged" in outcome.stdout
    assert f"{before}: going on from here" in outcome.stdout
    runs.assert_same_training(workspace, whole)
