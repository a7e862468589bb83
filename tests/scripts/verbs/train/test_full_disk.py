"""On a disk that takes no more a training stops with a line, and goes on when there is room."""

import re
import resource
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def test_on_a_disk_that_takes_no_more_it_stops_with_a_line_and_the_last_checkpoint_stays(
    train_long: Any, whole: Path, tmp_path: Path, runs: Any, interrupt_after: Any
) -> None:
    workspace, limit = tmp_path / "limited", (1_000_000, 1_000_000)
    with interrupt_after(3):
        assert train_long(f"workspace={workspace}").status == 130
    before = {path: path.read_bytes() for path in runs.checkpoints(workspace)}
    assert [runs.step_of(path) for path in before] == [3]

    set_limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)}
    status, _, stderr = runs.ended(*runs.command, f"workspace={workspace}", **set_limit)
    assert status == 2
    assert re.fullmatch(r"error: [^\n]*checkpoints/step_00000004_[0-9a-f]{16}\.pt: File too large\n", stderr)
    assert {path: path.read_bytes() for path in runs.checkpoints(workspace)} == before
    assert not list(workspace.rglob("*.tmp"))

    assert train_long(f"workspace={workspace}").status == 0
    runs.assert_same_training(workspace, whole)


def can_mount() -> bool:
    """Say whether this user may mount a file system of its own, in a namespace of its own."""
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/tmp"]
    return shutil.which("unshare") is not None and subprocess.run(mount, check=False).returncode == 0


@pytest.mark.slow
def test_on_a_full_disk_it_stops_with_a_line_and_the_last_checkpoint_stays(
    train_long: Any, whole: Path, tmp_path: Path, runs: Any
) -> None:
    """A disk for two checkpoints and half of a third; then one without a byte left, log files included."""
    if not can_mount():
        pytest.skip("needs a file system to fill: unshare -rm and tmpfs")
    disk, saved = tmp_path / "disk", tmp_path / "saved"
    disk.mkdir()
    run = shlex.join([*runs.command, f"workspace={disk}"])
    steps = (
        f"mount -t tmpfs -o size=8500k none {disk}",
        f"{run}; echo status $? >&2",
        f"cp -r {disk} {saved}",
        f"rm {disk}/supernet/train.log; head -c 100m /dev/zero > {disk}/rest",
        f"{run}; echo status $? >&2",
    )
    _, _, stderr = runs.ended("unshare", "-rm", "sh", "-c", "\n".join(steps))
    first, second = re.findall(r"(error: [^\n]+)\n(?:head: [^\n]+\n)?status 2\n", stderr)
    assert re.search(r"checkpoints/step_\d+_[0-9a-f]{16}\.pt: No space left on device$", first), stderr
    assert re.search(r": No space left on device$", second), stderr
    assert "Traceback" not in stderr
    assert len(runs.checkpoints(saved)) == 2
    assert not list(saved.rglob("*.tmp"))

    assert train_long(f"workspace={saved}").status == 0
    runs.assert_same_training(saved, whole)
