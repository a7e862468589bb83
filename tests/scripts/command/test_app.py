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
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from litepose_ofa.scripts.command import app as cli
from litepose_ofa.scripts.command.app import refuse_other_settings, stop_requested
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.files import read_json

RunScript = Callable[..., Any]


def complaint(outcome: Any) -> str:
    """The one line that a script refuses bad input with."""
    assert outcome.status == 2, outcome.stderr
    assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
    return str(outcome.stderr)


def test_bad_input_is_one_line_and_status_2(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "litepose_ofa",
        "train",
        f"workspace={tmp_path / 'run'}",
        f"data_root={tmp_path / 'none'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 2
    expected = f"error: {tmp_path / 'none' / 'people' / 'annotations' / 'train.json'}: no such file\n"
    assert done.stderr == expected


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.stepz=5", "unknown key training.stepz; did you mean training.steps?"),
        ("seed=[1", "seed=[1: cannot be read"),
        ("workspace=${nowhere}", "nowhere"),
        ("accelerator=gpu", "accelerator is 'gpu'; it must be one of auto, cpu, cuda"),
        ("seed=-1", "seed is -1; it must be an integer from 0 to 4294967295"),
        ("training.clip_norm=-1", "training.clip_norm is -1"),
        ("training.augmentation.scale=[1.5,0.75]", "training.augmentation.scale is (1.5, 0.75); it must be"),
        ("training.learning_rate.peak=-1", "training.learning_rate.peak is -1; it must be a number of at least 0"),
        ("training.batch_size=13", "batch_size is 13; the training split has only 12 images"),
        ("dataset.skeleton=cat", "cat"),
        ("init_from=weights.safetensors", "weights.safetensors: no such file"),
    ],
)
def test_a_bad_setting_is_named(
    run_script: RunScript, quick_training: tuple[str, ...], tmp_path: Path, override: str, told: str
) -> None:
    line = complaint(run_script("train", *quick_training, f"hydra.run.dir={tmp_path / 'run'}", override))
    assert told in line
    assert "search path" not in line
    assert not list(tmp_path.rglob("run.json")), "a corrected command may use the same folder"


def test_a_run_folder_of_other_settings_is_refused_and_left_alone(
    run_script: RunScript, quick_training: tuple[str, ...], trained: Path
) -> None:
    files = [trained / "supernet" / name for name in ("run.json", "supernet.safetensors", "metrics.jsonl")]
    before = [path.read_bytes() for path in files]
    line = complaint(run_script("train", f"workspace={trained}", *quick_training, "training.clip_norm=1"))
    assert "training.clip_norm was 5.0, is 1" in line
    assert f"{trained}/supernet holds a run with other settings" in line
    line = complaint(run_script("train", f"workspace={trained}", *quick_training, "space=litepose"))
    assert "more" in line
    assert [path.read_bytes() for path in files] == before


def test_settings_that_differ_are_named_up_to_three() -> None:
    before = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": 5, "same": {"x": 1.5}}
    refuse_other_settings(Path("run"), before, json.loads(json.dumps(before)), free=set())
    refuse_other_settings(Path("run"), before, before | {"e": 6}, free={"e"})
    with pytest.raises(InputError, match=re.escape("(b.c was [1, 2], is [1, 3]);")):
        refuse_other_settings(Path("run"), before, before | {"b": {"c": [1, 3], "d": None}}, free=set())
    with pytest.raises(
        InputError, match=re.escape("(a was 1, is 2; b.c was [1, 2], is None; e was 5, is 6 and 1 more)")
    ):
        refuse_other_settings(
            Path("run"), before, {"a": 2, "b": {"d": None}, "e": 6, "f": 1, "same": {"x": 1.5}}, free=set()
        )


def test_the_record_says_how_a_run_was_made(trained: Path) -> None:
    record = read_json(trained / "supernet" / "run.json")
    assert record["config"]["seed"] == 0
    assert record["config"]["training"]["steps"] == 6
    assert record["config"]["space"]["name"] == "tiny"
    assert {"torch", "numpy", "litepose-ofa"} <= record["versions"].keys()
    assert "training.steps=6" in record["overrides"]
    assert record["commit"] is None or re.fullmatch(r"[0-9a-f]{40}", record["commit"])


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_question_and_the_handlers_come_back(kind: signal.Signals) -> None:
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    with stop_requested() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), kind)
        assert should_stop()
        os.kill(os.getpid(), signal.SIGTERM)  # schedulers and launchers may both send it
        assert should_stop()
    assert {one: signal.getsignal(one) for one in before} == before


def test_a_second_interrupt_acts_at_once() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits SIG_IGN
    try:
        with stop_requested() as should_stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert should_stop()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_image_that_does_not_decode_is_named_or_skipped_and_counted(
    run_script: RunScript,
    quick_training: tuple[str, ...],
    quick_evaluation: tuple[str, ...],
    own_data_root: Path,
    trained: Path,
    tmp_path: Path,
) -> None:
    images = own_data_root / "people" / "images"
    for path in (images / "val" / "000002.jpg", images / "train" / "000003.jpg"):
        path.write_bytes(path.read_bytes()[:100])
    elsewhere = (
        f"data_root={own_data_root}",
        *quick_training,
        "training.batch_size=12",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    line = complaint(run_script("train", *elsewhere))
    assert "train/000003.jpg: does not decode" in line
    skipping = (*elsewhere, "dataset.on_bad_image=skip")
    outcome = run_script("train", *skipping, "training.steps=1")
    assert outcome.status == 0, outcome.stderr
    assert f"skipped {images}/train/000003.jpg" in outcome.stdout
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["bad_images"] == 1

    measured = (f"data_root={own_data_root}", f"workspace={trained}", *quick_evaluation, "arch=smallest")
    line = complaint(run_script("evaluate", *measured, "evaluation.bn_images=1"))
    assert "jpg: does not decode" in line
    outcome = run_script("evaluate", *measured, "dataset.on_bad_image=skip")
    assert outcome.status == 0, outcome.stderr
    assert f"skipped {images}/val/000002.jpg" in outcome.stdout
    (written,) = (trained / "evaluations").glob("*_val.json")
    assert read_json(written)["skipped_images"] == [f"{images}/val/000002.jpg"]


def test_a_file_cut_in_half_is_named(run_script: RunScript, quick_evaluation: tuple[str, ...], trained: Path) -> None:
    path = trained / "supernet" / "supernet.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    line = complaint(run_script("evaluate", f"workspace={trained}", *quick_evaluation))
    assert f"{path}: is damaged" in line


def test_a_supernet_of_another_space_or_skeleton_is_refused(
    run_script: RunScript, quick_evaluation: tuple[str, ...], trained: Path
) -> None:
    path = trained / "supernet" / "supernet.safetensors"
    line = complaint(run_script("evaluate", f"workspace={trained}", *quick_evaluation, "space=litepose"))
    assert f"{path}: is a supernet of the space 'tiny', not 'litepose'" in line
    line = complaint(run_script("evaluate", f"workspace={trained}", *quick_evaluation, "dataset.skeleton=coco"))
    assert f"{path}: is a supernet of 14 keypoints; dataset.skeleton coco has 17" in line
    line = complaint(run_script("evaluate", f"workspace={trained / 'none'}"))
    assert "train first" in line


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("arch=medium", "arch is 'medium'; it must be smallest, largest or a .json or .yaml file"),
        ("arch=none.json", "none.json: no such file"),
        ("image_size=100", "img_size is 100; it must be a multiple of 16"),
        ("image_size=64", "arch largest at 64 px is not in the space 'tiny'"),
        ("split=test", "split is 'test'; it must be one of train, search, val"),
    ],
)
def test_a_bad_question_about_a_subnet_is_named(
    run_script: RunScript, quick_evaluation: tuple[str, ...], trained: Path, override: str, told: str
) -> None:
    line = complaint(run_script("evaluate", f"workspace={trained}", *quick_evaluation, override))
    assert told in line
    assert not (trained / "evaluations").exists() or not list((trained / "evaluations").glob("*.json"))


def test_a_subnet_is_measured_and_the_record_says_what_of(
    run_script: RunScript, quick_evaluation: tuple[str, ...], trained: Path
) -> None:
    command = (f"workspace={trained}", *quick_evaluation, "arch=smallest", "image_size=128")
    first = run_script("evaluate", *command)
    assert first.status == 0, first.stderr
    (path,) = (trained / "evaluations").glob("*_val.json")
    record = read_json(path)
    assert str(path) in first.stdout
    assert record["arch"]["img_size"] == 128
    assert 0 <= record["metrics"]["AP"] <= record["metrics"]["AP50"] <= 1
    assert record["measured_on"]["split"] == "val"
    assert record["measured_on"]["bn"]["num_images"] == 4
    run_script("evaluate", *command)
    assert read_json(path) == record


def test_an_error_of_the_system_names_the_file_whatever_else_it_knows() -> None:
    for error, told in (
        (OSError(28, "No space left on device", "x.json"), "x.json: No space left on device"),
        (OSError(28, "No space left on device"), "evaluate: No space left on device"),
        (OSError("the stream ended"), "evaluate: the stream ended"),
    ):
        assert cli._told(error, "evaluate") == told
    nameless = OSError("the stream ended")
    nameless.filename = "x.json"
    assert cli._told(nameless, "evaluate") == "x.json: the stream ended"


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


def test_what_a_resolver_refuses_is_told_without_omegaconf_s_words() -> None:
    OmegaConf.register_new_resolver("refuse", lambda: require(False, "tier", "../m", "a plain name"), replace=True)
    try:
        with pytest.raises(InterpolationResolutionError) as caught:
            _ = OmegaConf.create({"folder": "${refuse:}"}).folder
    finally:
        OmegaConf.clear_resolver("refuse")
    assert cli._told(caught.value, "export") == "tier is '../m'; it must be a plain name"
