"""Training as a user runs it: killed, interrupted, out of disk or left alone, it ends with the same weights."""

import dataclasses
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts import training_run
from scripts.builders import build_validator
from scripts.cli import CONFIG_DIR
from supernet.checkpoints import load_supernet, read_description, weights_digest
from supernet.space import SearchSpace
from supernet.training.distributed import SINGLE
from supernet.training.validation import validated_archs

RunScript = Callable[..., Any]
Lines = list[dict[str, float]]

SCRIPT = str(Path(CONFIG_DIR).parent / "scripts" / "train_supernet.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
PATIENCE_SECONDS = 240
STEPS = 20
SMALL_IMAGES = dataclasses.replace(SearchSpace.preset("tiny"), image_sizes=(32, 64)).to_dict()
LONG_TRAINING = (
    "space.choices="
    + json.dumps({name: value for name, value in SMALL_IMAGES.items() if name != "name"}).replace('"', ""),
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

KILLED_WHILE_WRITING = """
import os, signal, sys
from scripts.train_supernet import main
synchronise, calls = os.fsync, []
def fsync(handle):
    calls.append(handle)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    synchronise(handle)
os.fsync = fsync
main()
"""
"""Each checkpoint is synchronised twice: its temporary file, and the folder once it has its name."""

INTERRUPTED = "interrupted; the same command goes on from here\n"


def folder_of(workspace: Path) -> Path:
    return workspace / "supernet"


def digest(workspace: Path) -> str:
    return weights_digest(load_supernet(folder_of(workspace) / "supernet.safetensors"))


def checkpoints(workspace: Path) -> list[Path]:
    return sorted(folder_of(workspace).glob("checkpoints/*.pt"))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("_")[1])


def metrics(workspace: Path) -> Lines:
    """Lines of the log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder_of(workspace) / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    return lines


def content_of(value: Any) -> object:
    """Return a checkpoint's content with tensors as shapes and bytes."""
    if isinstance(value, dict):
        return {key: content_of(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.contiguous().numpy().tobytes()
    return value


def assert_same_training(workspace: Path, whole: Path) -> None:
    """The same weights, last checkpoint and metrics, bit for bit; and nothing left of a killed process."""
    assert digest(workspace) == digest(whole)
    ours, theirs = (torch.load(checkpoints(folder)[-1], weights_only=True) for folder in (workspace, whole))
    assert content_of(ours) == content_of(theirs)
    assert metrics(workspace) == metrics(whole)
    assert not list(workspace.rglob("*.tmp"))


def complaint(status: object, stderr: str) -> str:
    """The one line that a script stops with."""
    assert status == 2, stderr
    assert re.fullmatch(r"error: [^\n]+\n", stderr), stderr
    return stderr


@contextmanager
def started(command: tuple[str, ...], **changes: Any) -> Iterator["subprocess.Popen[str]"]:
    """Start a process; kill it at the end, if it still runs."""
    process = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **changes
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(happened: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.01)


@pytest.fixture
def long_training(data_root: Path) -> tuple[str, ...]:
    return (f"data_root={data_root}", *LONG_TRAINING)


@pytest.fixture(scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    workspace = tmp_path_factory.mktemp("whole")
    command = [sys.executable, SCRIPT, f"data_root={data_root}", f"workspace={workspace}", *LONG_TRAINING]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    return workspace


@pytest.fixture
def whole(_whole: Path) -> Path:
    """A workspace with a supernet that was trained without a break; to be read only."""
    return _whole


def test_a_finished_training_leaves_weights_metrics_and_its_last_checkpoints(trained: Path) -> None:
    folder = folder_of(trained)
    assert (folder / "supernet.safetensors").exists()
    assert [step_of(path) for path in checkpoints(trained)] == [4, 6]
    assert not list(folder.rglob("*.tmp"))
    assert [line["step"] for line in metrics(trained)] == list(range(6))
    assert any((folder / "tensorboard").iterdir())
    info = read_description(folder / "supernet.safetensors")["info"]
    assert info.items() >= {"steps": 6, "seed": 0, "dataset": "people", "images": 12}.items()


def test_started_again_it_has_nothing_to_do(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path
) -> None:
    files = [path for path in folder_of(trained).rglob("*") if path.is_file() and path.suffix != ".log"]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files if path.name != ".lock"}
    outcome = run_script("train_supernet", f"workspace={trained}", *quick_training)
    assert (outcome.status, "already trained" in outcome.stdout) == (0, True)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before


def test_damaged_weights_are_written_again_from_the_last_checkpoint(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path
) -> None:
    path = folder_of(trained) / "supernet.safetensors"
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        outcome = run_script("train_supernet", f"workspace={trained}", *quick_training)
        assert outcome.status == 0, outcome.stderr
        assert f"{path}: is damaged" in outcome.stdout
        assert "going on from step 6 of 6" in outcome.stdout
        assert path.read_bytes() == content


def test_other_settings_are_refused(run_script: RunScript, quick_training: tuple[str, ...], trained: Path) -> None:
    command = ("train_supernet", f"workspace={trained}", *quick_training)
    for change in ("training.ema_decay=0.9", "recipe=single", "training.batch_size=3"):
        outcome = run_script(*command, change)
        assert "holds a run with other settings" in complaint(outcome.status, outcome.stderr)


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
        patch.setattr(training_run, "stop_requested", after_three_steps)
        outcome = run_script(*command)
    assert (outcome.status, outcome.stderr) == (130, INTERRUPTED)
    assert [line["step"] for line in metrics(workspace)] == [0, 1, 2]
    assert not (folder_of(workspace) / "supernet.safetensors").exists()
    outcome = run_script(*command)
    assert outcome.status == 0
    assert "going on from step 3 of 6" in outcome.stdout
    assert_same_training(workspace, trained)


def test_killed_in_the_middle_of_an_epoch_it_goes_on_at_once(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    """With a loading process, that outlives the killed one for a while and must not hold the folder."""
    workspace = tmp_path / "killed"
    command = (*long_training, f"workspace={workspace}")
    with started((sys.executable, SCRIPT, *command, "training.workers=1")) as process:
        wait_until(lambda: checkpoints(workspace), process)
        process.kill()
        process.wait()
        outcome = run_script("train_supernet", *command)
    assert outcome.status == 0, outcome.stderr
    (step,) = re.findall(r"going on from step (\d+) of", outcome.stdout)
    assert int(step) % 6, "in the middle of an epoch"
    assert_same_training(workspace, whole)


def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_one_before(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "killed"
    command = (*long_training, f"workspace={workspace}")
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, *command],
        env=ENVIRONMENT,
        cwd=Path(SCRIPT).parents[1],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert [step_of(path) for path in checkpoints(workspace)] == [4, 8]
    assert len(list(workspace.rglob("*.tmp"))) == 1
    outcome = run_script("train_supernet", *command)
    assert "going on from step 8 of" in outcome.stdout
    assert_same_training(workspace, whole)


def test_sigterm_saves_the_last_step_and_a_truncated_checkpoint_costs_those_since_the_one_before(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "stopped"
    command = (*long_training, f"workspace={workspace}")
    with started((sys.executable, SCRIPT, *command)) as process:
        wait_until(lambda: checkpoints(workspace), process)
        process.send_signal(signal.SIGSTOP)
        second = run_script("train_supernet", *command)
        process.terminate()
        process.send_signal(signal.SIGCONT)
        _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    told = f"{folder_of(workspace)}: another process is writing to this run folder"
    assert told in complaint(second.status, second.stderr)
    assert (process.returncode, stderr) == (130, INTERRUPTED)
    before, last = checkpoints(workspace)
    assert step_of(last) == len(metrics(workspace)) < STEPS

    os.truncate(last, last.stat().st_size // 2)
    outcome = run_script("train_supernet", *command)
    assert outcome.status == 0, outcome.stderr
    assert f"{last}: is damaged" in outcome.stdout
    assert f"{before}: going on from here" in outcome.stdout
    assert_same_training(workspace, whole)


def stop_at(step: int, workspace: Path, command: tuple[str, ...], run_script: RunScript) -> None:
    """Train to a step, as if it had been interrupted there."""

    @contextmanager
    def in_time() -> Iterator[Callable[[], bool]]:
        asked = iter(range(STEPS))
        yield lambda: next(asked) == step - 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "stop_requested", in_time)
        assert run_script("train_supernet", *command).status == 130
    assert step_of(checkpoints(workspace)[-1]) == step


def test_on_a_disk_that_takes_no_more_it_stops_with_a_line_and_the_last_checkpoint_stays(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "limited"
    command = (*long_training, f"workspace={workspace}")
    stop_at(3, workspace, command, run_script)
    before = {path: path.read_bytes() for path in checkpoints(workspace)}
    limit = 1_000_000

    with started(
        (sys.executable, SCRIPT, *command),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    ) as process:
        _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    line = complaint(process.returncode, stderr)
    assert re.search(r"checkpoints/step_00000004_[0-9a-f]{16}\.pt: File too large$", line)
    assert {path: path.read_bytes() for path in checkpoints(workspace)} == before
    assert not list(workspace.rglob("*.tmp"))

    assert run_script("train_supernet", *command).status == 0
    assert_same_training(workspace, whole)


def can_mount() -> bool:
    """Say whether this user may mount a file system of its own, in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/tmp"], check=False).returncode == 0


@pytest.mark.slow
def test_on_a_full_disk_it_stops_with_a_line_and_the_last_checkpoint_stays(
    run_script: RunScript, long_training: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    """A disk for two checkpoints and half of a third; then one without a byte left, log files included."""
    if not can_mount():
        pytest.skip("needs a file system to fill: unshare -rm and tmpfs")
    disk, saved = tmp_path / "disk", tmp_path / "saved"
    disk.mkdir()
    run = shlex.join([sys.executable, SCRIPT, *long_training, f"workspace={disk}"])
    steps = (
        f"mount -t tmpfs -o size=8500k none {disk}",
        f"{run}; echo status $? >&2",
        f"cp -r {disk} {saved}",
        f"rm {disk}/supernet/train_supernet.log; head -c 100m /dev/zero > {disk}/rest",
        f"{run}; echo status $? >&2",
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "\n".join(steps)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    first, second = re.findall(r"(error: [^\n]+)\n(?:head: [^\n]+\n)?status 2\n", done.stderr)
    assert re.search(r"checkpoints/step_\d+_[0-9a-f]{16}\.pt: No space left on device$", first), done.stderr
    assert re.search(r": No space left on device$", second), done.stderr
    assert "Traceback" not in done.stderr
    assert len(checkpoints(saved)) == 2
    assert not list(saved.rglob("*.tmp"))

    outcome = run_script("train_supernet", *long_training, f"workspace={saved}")
    assert outcome.status == 0, outcome.stderr
    assert_same_training(saved, whole)


def test_a_file_in_the_place_of_the_run_folder_is_named(
    run_script: RunScript, quick_training: tuple[str, ...], tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    workspace.write_text("a file")
    outcome = run_script("train_supernet", f"workspace={workspace}", *quick_training)
    assert str(workspace) in complaint(outcome.status, outcome.stderr)
    assert workspace.read_text() == "a file"


def test_a_training_that_diverges_stops_with_a_line(
    run_script: RunScript, quick_training: tuple[str, ...], tmp_path: Path
) -> None:
    command = ("train_supernet", *quick_training, "training.learning_rate.peak=1e30", "training.learning_rate.warmup=0")
    outcome = run_script(*command, f"workspace={tmp_path / 'short'}", "training.steps=8")
    assert outcome.status == 0, outcome.stderr
    assert metrics(tmp_path / "short")[-1]["skipped_updates"] == 8
    assert "8 updates were left out: loss or gradient not finite" in outcome.stdout

    outcome = run_script(*command, f"workspace={tmp_path / 'long'}", "training.steps=40")
    line = complaint(outcome.status, outcome.stderr)
    assert "not finite for 20 steps in a row" in line
    assert re.search(r"last at step \d+ in subnet \w+ \([0-9a-f]{12}, \d+ px\) on images \d+, \d+;", line)
    kept = torch.load(checkpoints(tmp_path / "long")[-1], weights_only=True)
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())


def test_training_starts_from_given_weights(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    weights = shutil.copy(folder_of(trained) / "supernet.safetensors", tmp_path / "start.safetensors")
    still = ("training.steps=1", "training.learning_rate.peak=0", "training.weight_decay=0")
    for name, start in (("from", f"init_from={weights}"), ("fresh", "init_from=null")):
        outcome = run_script("train_supernet", f"workspace={tmp_path / name}", *quick_training, *still, start)
        assert outcome.status == 0, outcome.stderr
    given = dict(load_supernet(weights).named_parameters())
    started = dict(load_supernet(folder_of(tmp_path / "from") / "supernet.safetensors").named_parameters())
    fresh = dict(load_supernet(folder_of(tmp_path / "fresh") / "supernet.safetensors").named_parameters())
    assert all(given[name].equal(started[name]) for name in given)
    assert not all(given[name].equal(fresh[name]) for name in given)


def children(process: "subprocess.Popen[str]") -> list[int]:
    """Return the ids of a process's direct children."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return sorted(int(child) for task in tasks for child in task.read_text().split())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find torchrun's processes")
def test_sigterm_to_torchrun_stops_both_ranks_at_one_step_and_one_process_goes_on(
    run_script: RunScript, long_training: tuple[str, ...], tmp_path: Path
) -> None:
    workspace = tmp_path / "stopped"
    command = (*long_training, f"workspace={workspace}")
    with started((*TORCHRUN, SCRIPT, *command)) as launcher:
        wait_until(lambda: checkpoints(workspace), launcher)
        launcher.terminate()
        _, stderr = launcher.communicate(timeout=PATIENCE_SECONDS)
    assert launcher.returncode != 0
    assert INTERRUPTED in stderr  # the launcher may end a rank that has saved and is leaving
    last = checkpoints(workspace)[-1]
    assert step_of(last) == len(metrics(workspace)) < STEPS

    outcome = run_script("train_supernet", *command)
    assert outcome.status == 0, outcome.stderr
    assert f"going on from step {step_of(last)} of {STEPS}" in outcome.stdout
    assert [line["step"] for line in metrics(workspace)] == list(range(STEPS))
    assert (folder_of(workspace) / "supernet.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find torchrun's processes")
def test_torchrun_starts_again_after_the_death_of_a_rank_and_ends_with_the_same_weights(
    long_training: tuple[str, ...], compose_config: Callable[..., Any], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = (*long_training, f"training.validate_every={STEPS}", "training.validation_images=4")
    with started((*TORCHRUN, SCRIPT, *command, f"workspace={whole}")) as launcher:
        _, stderr = launcher.communicate(timeout=PATIENCE_SECONDS)
        assert launcher.returncode == 0, stderr
    with started((*TORCHRUN, SCRIPT, *command, f"workspace={killed}")) as launcher:
        wait_until(lambda: checkpoints(killed), launcher)
        os.kill(children(launcher)[1], signal.SIGKILL)
        stdout, stderr = launcher.communicate(timeout=PATIENCE_SECONDS)
        assert launcher.returncode == 0, stderr
    assert re.search(rf"going on from step \d+ of {STEPS}", stdout)
    assert_same_training(killed, whole)

    *trained, validated = metrics(whole)
    assert [line["step"] for line in trained] == list(range(STEPS))
    cfg = compose_config("train_supernet", *command)
    supernet = load_supernet(folder_of(whole) / "supernet.safetensors")
    validate = build_validator(cfg, validated_archs(supernet.space), SINGLE, images=4)
    scores = {f"ap/{name}": round(ap, 8) for name, ap in validate(supernet).items()}
    assert validated == {"step": STEPS - 1, **scores}


@pytest.mark.slow
def test_torchrun_says_that_the_ranks_cannot_share_a_batch(long_training: tuple[str, ...], tmp_path: Path) -> None:
    workspace = tmp_path / "odd"
    with started((*TORCHRUN, SCRIPT, *long_training, f"workspace={workspace}", "training.batch_size=3")) as launcher:
        _, stderr = launcher.communicate(timeout=PATIENCE_SECONDS)
    assert launcher.returncode != 0
    assert "error: batch_size is 3; it must be a multiple of the 2 processes\n" in stderr
    assert not checkpoints(workspace)
