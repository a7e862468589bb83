"""Under torchrun: stopped, killed and started again, and on two nodes."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.scripts.build.networks import build_validator
from litepose_ofa.supernet.network.checkpoints import load_supernet, read_weights
from litepose_ofa.supernet.training.distributed import SINGLE
from litepose_ofa.supernet.training.validation import validated_archs

LAUNCHER = (sys.executable, "-m", "torch.distributed.run")
TRAIN = (*LAUNCHER, "--standalone", "--nproc-per-node=2", "--max-restarts=1", "-m", "litepose_ofa", "train")
TOLERANCE = 1e-5
SHORT = ("recipe=sandwich", "training.steps=5", "training.batch_size=4", "training.optimizer=sgd")
"""SGD, because Adam's first steps are as long as the rate where a gradient is nothing but rounding."""


def children(process: "subprocess.Popen[str]") -> list[int]:
    """Return the ids of a process's direct children."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return sorted(int(child) for task in tasks for child in task.read_text().split())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find torchrun's processes")
def test_sigterm_to_torchrun_stops_both_ranks_at_one_step_and_one_process_goes_on(
    train_long: Any, tmp_path: Path, runs: Any
) -> None:
    workspace = tmp_path / "stopped"
    with runs.started(*TRAIN, *runs.long, f"workspace={workspace}") as launcher:
        runs.wait_for_checkpoint(workspace, launcher)
        launcher.terminate()
        _, stderr = launcher.communicate(timeout=runs.patience_seconds)
    assert launcher.returncode != 0
    assert runs.interrupted in stderr  # the launcher may end a rank that has saved and is leaving
    last = runs.checkpoints(workspace)[-1]
    assert runs.step_of(last) == len(runs.metrics(workspace)) < runs.steps

    printed = train_long(f"workspace={workspace}").printed
    assert f"going on from step {runs.step_of(last)} of {runs.steps}" in printed
    assert [line["step"] for line in runs.metrics(workspace)] == list(range(runs.steps))
    assert (workspace / "supernet" / "supernet.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find torchrun's processes")
def test_torchrun_starts_again_after_the_death_of_a_rank_and_ends_with_the_same_weights(
    compose_config: Any, tmp_path: Path, runs: Any
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = (*runs.long, f"training.validate_every={runs.steps}", "training.validation_images=4")
    status, _, stderr = runs.ended(*TRAIN, *command, f"workspace={whole}")
    assert status == 0, stderr
    with runs.started(*TRAIN, *command, f"workspace={killed}") as launcher:
        runs.wait_for_checkpoint(killed, launcher)
        os.kill(children(launcher)[1], signal.SIGKILL)
        stdout, stderr = launcher.communicate(timeout=runs.patience_seconds)
        assert launcher.returncode == 0, stderr
    assert re.search(rf"going on from step \d+ of {runs.steps}", stdout)
    runs.assert_same_training(killed, whole)

    *trained, validated = runs.metrics(whole)
    assert [line["step"] for line in trained] == list(range(runs.steps))
    cfg = compose_config("train", *command)
    supernet = load_supernet(whole / "supernet" / "supernet.safetensors")
    validate = build_validator(cfg, validated_archs(supernet.space), SINGLE, images=4)
    scores = {f"ap/{name}": round(ap, 8) for name, ap in validate(supernet).items()}
    assert validated == {"step": runs.steps - 1, **scores}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port: int = probe.getsockname()[1]
        return port


def furthest(ours: Path, theirs: Path) -> float:
    """Return the largest difference of a weight of two supernets, relative above 1."""
    one, other = read_weights(ours), read_weights(theirs)
    names = [name for name in one if "running_" not in name and not name.endswith("num_batches_tracked")]
    return max(float(((one[name] - other[name]).abs() / other[name].abs().clamp(min=1)).max()) for name in names)


@pytest.mark.slow
def test_two_nodes_with_one_run_folder_train_the_weights_of_one_process(
    train_long: Any, tmp_path: Path, runs: Any
) -> None:
    def started_on_two_nodes() -> tuple[list[int], str]:
        meeting = ("--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_port()}")
        first, second = (
            (*LAUNCHER, "--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}", *meeting, *train)
            for rank in range(2)
        )
        with runs.started(*first) as one, runs.started(*second) as other:
            messages = [launcher.communicate(timeout=runs.patience_seconds)[1] for launcher in (one, other)]
        return [one.returncode, other.returncode], "\n".join(messages)

    train = (*runs.command[1:], *SHORT, f"workspace={tmp_path / 'nodes'}")
    statuses, messages = started_on_two_nodes()
    if "RendezvousConnectionError" in messages:  # the launchers lost each other; the same command goes on
        statuses, again = started_on_two_nodes()
        messages += again
    assert statuses == [0, 0], messages
    for name, accumulation in (("parts", 2), ("whole", 1)):
        parts = f"training.accumulation={accumulation}"
        assert train_long(*SHORT, parts, f"workspace={tmp_path / name}").status == 0
    paths = [tmp_path / name / "supernet" / "supernet.safetensors" for name in ("nodes", "parts", "whole")]
    assert furthest(paths[0], paths[1]) < TOLERANCE
    assert furthest(paths[0], paths[2]) > 10 * TOLERANCE, "batch norm over another part of the batch"
    assert [line["step"] for line in runs.metrics(tmp_path / "nodes")] == list(range(5))
