"""What a user sees who mistypes or points at the wrong thing: one line, a status, nothing half-written."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.scripts.command import app as cli
from litepose_ofa.scripts.command.app import refuse_other_settings, stop_requested
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json

RunScript = Callable[..., Any]


@pytest.fixture
def evaluate(run_script: RunScript, quick_evaluation: tuple[str, ...], trained: Path) -> RunScript:
    return lambda *overrides: run_script("evaluate", f"workspace={trained}", *quick_evaluation, *overrides)


def test_bad_input_is_one_line_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "litepose_ofa", "train", f"workspace={tmp_path}/run", f"data_root={tmp_path}/none"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}/none/people/annotations/train.json: no such file\n"


def test_a_run_folder_of_other_settings_is_refused_and_left_alone(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path
) -> None:
    files = [trained / "supernet" / name for name in ("run.json", "supernet.safetensors", "metrics.jsonl")]
    before = [path.read_bytes() for path in files]
    line = run_script("train", f"workspace={trained}", *quick_training, "training.clip_norm=1").refusal
    assert "training.clip_norm was 5.0, is 1" in line
    assert f"{trained}/supernet holds a run with other settings" in line
    assert "more" in run_script("train", f"workspace={trained}", *quick_training, "space=litepose").refusal
    assert [path.read_bytes() for path in files] == before


def test_another_number_of_threads_is_told(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path
) -> None:
    def start(*overrides: str) -> str:
        return str(run_script("train", f"workspace={trained}", *quick_training, *overrides).printed)

    told = f"{trained}/supernet: began with threads=1, now 2: results may round differently\n"
    assert start("threads=2").startswith(told)
    assert "began with" not in start()


def test_settings_that_differ_are_named_up_to_three() -> None:
    before = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": 5, "same": {"x": 1.5}}
    refuse_other_settings(Path("run"), before, json.loads(json.dumps(before)), free=set())
    refuse_other_settings(Path("run"), before, before | {"e": 6}, free={"e"})
    refuse_other_settings(Path("run"), before, before | {"b": {"c": [1, 3]}}, free={"b"})
    after = {"a": 2, "b": {"d": None}, "e": 6, "f": 1, "same": {"x": 1.5}}
    told = "(a was 1, is 2; b.c was [1, 2], is None; e was 5, is 6 and 1 more)"
    with pytest.raises(InputError, match=re.escape(told)):
        refuse_other_settings(Path("run"), before, after, free=set())


def test_the_record_says_how_a_run_was_made(trained: Path) -> None:
    record = read_json(trained / "supernet" / "run.json")
    assert record["config"]["seed"] == 0
    assert record["config"]["training"]["steps"] == 6
    assert record["config"]["space"]["name"] == "tiny"
    assert record["threads"] == 1
    assert {"torch", "numpy", "litepose-ofa"} <= record["versions"].keys()
    assert "training.steps=6" in record["overrides"]
    assert record["commit"] is None or re.fullmatch(r"[0-9a-f]{40}", record["commit"])


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_question_and_a_second_interrupt_acts_at_once(kind: signal.Signals) -> None:
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits SIG_IGN
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        with stop_requested() as should_stop:
            assert not should_stop()
            os.kill(os.getpid(), kind)
            os.kill(os.getpid(), signal.SIGTERM)  # schedulers and launchers may both send it
            assert should_stop()
            if kind == signal.SIGINT:
                with pytest.raises(KeyboardInterrupt):
                    os.kill(os.getpid(), kind)
        assert {one: signal.getsignal(one) for one in before} == before
    finally:
        signal.signal(signal.SIGINT, outside)


def test_an_image_that_does_not_decode_is_named_or_skipped_and_counted(
    run_script: RunScript, evaluate: RunScript, quick_training: tuple[str, ...], own_data_root: Path, tmp_path: Path
) -> None:
    images = own_data_root / "people" / "images"
    for path in (images / "val" / "000002.jpg", images / "train" / "000003.jpg"):
        path.write_bytes(path.read_bytes()[:100])
    elsewhere = (*quick_training, "training.batch_size=12", f"hydra.run.dir={tmp_path / 'run'}")
    elsewhere = (f"data_root={own_data_root}", *elsewhere)
    assert "train/000003.jpg: does not decode" in run_script("train", *elsewhere).refusal
    printed = run_script("train", *elsewhere, "dataset.on_bad_image=skip", "training.steps=1").printed
    assert f"skipped {images}/train/000003.jpg" in printed
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["bad_images"] == 1

    measured = (f"data_root={own_data_root}", "arch=smallest")
    assert "jpg: does not decode" in evaluate(*measured, "evaluation.bn_images=1").refusal
    assert f"skipped {images}/val/000002.jpg" in evaluate(*measured, "dataset.on_bad_image=skip").printed
    (written,) = tmp_path.glob("trained/evaluations/*_val.json")
    assert read_json(written)["skipped_images"] == [f"{images}/val/000002.jpg"]


def test_a_file_cut_in_half_is_named(evaluate: RunScript, trained: Path) -> None:
    path = trained / "supernet" / "supernet.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"{path}: is damaged" in evaluate().refusal


def test_an_error_of_the_system_names_the_file_whatever_else_it_knows() -> None:
    assert cli._told(OSError(28, "No space left on device", "x.json"), "fit") == "x.json: No space left on device"
    assert cli._told(OSError(28, "No space left on device"), "fit") == "fit: No space left on device"
    assert cli._told(OSError("the stream ended"), "fit") == "fit: the stream ended"


def test_the_record_has_the_commit_of_this_source_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "of another project")):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    installed = tmp_path / "site-packages" / "scripts" / "cli.py"
    installed.parent.mkdir(parents=True)
    installed.touch()
    monkeypatch.setattr(cli, "__file__", str(installed))
    assert cli._commit() is None
    subprocess.run([*git, "add", "-f", str(installed)], cwd=tmp_path, check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", cli._commit() or "")
