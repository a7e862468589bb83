"""On a disk that takes no more a training stops with a line, and goes on when there is room."""

import itertools
import re
import resource
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.scripts.build import training as training_run

RunScript = Callable[..., Any]


def stop_at(step: int, workspace: Path, command: tuple[str, ...], run_script: RunScript, runs: Any) -> None:
    """Train to a step, as if it had been interrupted there."""

    @contextmanager
    def in_time() -> Iterator[Callable[[], bool]]:
        asked = itertools.count(1)
        yield lambda: next(asked) == step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "stop_requested", in_time)
        assert run_script("train", *command).status == 130
    assert runs.step_of(runs.checkpoints(workspace)[-1]) == step


def test_on_a_disk_that_takes_no_more_it_stops_with_a_line_and_the_last_checkpoint_stays(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path, runs: Any
) -> None:
    workspace = tmp_path / "limited"
    command = (*long_training, f"workspace={workspace}")
    stop_at(3, workspace, command, run_script, runs)
    before = {path: path.read_bytes() for path in runs.checkpoints(workspace)}
    limit = 1_000_000

    with runs.started(
        (*runs.command, *command),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    ) as process:
        _, stderr = process.communicate(timeout=runs.patience_seconds)
    line = runs.complaint(process.returncode, stderr)
    assert re.search(r"checkpoints/step_00000004_[0-9a-f]{16}\.pt: File too large$", line)
    assert {path: path.read_bytes() for path in runs.checkpoints(workspace)} == before
    assert not list(workspace.rglob("*.tmp"))

    assert run_script("train", *command).status == 0
    runs.assert_same_training(workspace, whole)


def can_mount() -> bool:
    """Say whether this user may mount a file system of its own, in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/tmp"], check=False).returncode == 0


@pytest.mark.slow
def test_on_a_full_disk_it_stops_with_a_line_and_the_last_checkpoint_stays(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path, runs: Any
) -> None:
    """A disk for two checkpoints and half of a third; then one without a byte left, log files included."""
    if not can_mount():
        pytest.skip("needs a file system to fill: unshare -rm and tmpfs")
    disk, saved = tmp_path / "disk", tmp_path / "saved"
    disk.mkdir()
    run = shlex.join([*runs.command, *long_training, f"workspace={disk}"])
    steps = (
        f"mount -t tmpfs -o size=8500k none {disk}",
        f"{run}; echo status $? >&2",
        f"cp -r {disk} {saved}",
        f"rm {disk}/supernet/train.log; head -c 100m /dev/zero > {disk}/rest",
        f"{run}; echo status $? >&2",
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "\n".join(steps)],
        env=runs.environment,
        capture_output=True,
        text=True,
        timeout=runs.patience_seconds,
        check=False,
    )
    first, second = re.findall(r"(error: [^\n]+)\n(?:head: [^\n]+\n)?status 2\n", done.stderr)
    assert re.search(r"checkpoints/step_\d+_[0-9a-f]{16}\.pt: No space left on device$", first), done.stderr
    assert re.search(r": No space left on device$", second), done.stderr
    assert "Traceback" not in done.stderr
    assert len(runs.checkpoints(saved)) == 2
    assert not list(saved.rglob("*.tmp"))

    outcome = run_script("train", *long_training, f"workspace={saved}")
    assert outcome.status == 0, outcome.stderr
    runs.assert_same_training(saved, whole)
