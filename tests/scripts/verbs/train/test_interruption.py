"""Interrupted, killed or stopped at any moment, a training ends with the same weights."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

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


def test_interrupted_it_goes_on(train: Any, trained: Path, tmp_path: Path, runs: Any, interrupt_after: Any) -> None:
    workspace = tmp_path / "interrupted"
    with interrupt_after(3):
        outcome = train(f"workspace={workspace}")
    assert (outcome.status, outcome.stderr) == (130, runs.interrupted)
    assert [line["step"] for line in runs.metrics(workspace)] == [0, 1, 2]
    assert not (workspace / "supernet" / "supernet.safetensors").exists()
    assert "going on from step 3 of 6" in train(f"workspace={workspace}").printed
    runs.assert_same_training(workspace, trained)


def test_killed_in_the_middle_of_an_epoch_it_goes_on_at_once(
    train_long: Any, whole: Path, tmp_path: Path, runs: Any
) -> None:
    """With a loading process, that outlives the killed one for a while and must not hold the folder."""
    workspace = tmp_path / "killed"
    with runs.started(*runs.command, f"workspace={workspace}", "training.workers=1") as process:
        runs.wait_for_checkpoint(workspace, process)
        process.kill()
        process.wait()
        printed = train_long(f"workspace={workspace}").printed
    (step,) = re.findall(r"going on from step (\d+) of", printed)
    assert int(step) % 6, "in the middle of an epoch"
    runs.assert_same_training(workspace, whole)


def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_one_before(
    train_long: Any, whole: Path, tmp_path: Path, runs: Any
) -> None:
    workspace = tmp_path / "killed"
    command = (sys.executable, "-c", KILLED_WHILE_WRITING, *runs.long, f"workspace={workspace}")
    assert runs.ended(*command)[0] == -signal.SIGKILL
    assert [runs.step_of(path) for path in runs.checkpoints(workspace)] == [4, 8]
    assert len(list(workspace.rglob("*.tmp"))) == 1
    assert "going on from step 8 of" in train_long(f"workspace={workspace}").printed
    runs.assert_same_training(workspace, whole)


def test_sigterm_saves_the_last_step_and_a_truncated_checkpoint_costs_those_since_the_one_before(
    train_long: Any, whole: Path, tmp_path: Path, runs: Any
) -> None:
    workspace = tmp_path / "stopped"
    with runs.started(*runs.command, f"workspace={workspace}") as process:
        runs.wait_for_checkpoint(workspace, process, count=2)
        process.send_signal(signal.SIGSTOP)
        second = train_long(f"workspace={workspace}")
        process.terminate()
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate(timeout=runs.patience_seconds)
    told = f"{workspace / 'supernet'}: another process is writing to this folder; wait for it or end it"
    assert told in second.refusal
    assert (process.returncode, stderr) == (130, runs.interrupted)
    before, last = runs.checkpoints(workspace)
    assert runs.step_of(last) == len(runs.metrics(workspace)) < runs.steps

    os.truncate(last, last.stat().st_size // 2)
    printed = train_long(f"workspace={workspace}").printed
    assert f"{last}: is damaged" in printed
    assert f"{before}: going on from here" in printed
    runs.assert_same_training(workspace, whole)
