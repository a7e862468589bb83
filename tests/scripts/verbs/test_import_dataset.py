"""An imported dataset is one that ``dataset=`` names; what cannot be imported is refused and leaves nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

LINE = "0 .5 .5 .5 .9  .4 .2 2  .3 .8 2  .7 .8 1"


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """A folder of YOLO-pose as Roboflow writes it: ten images to train on, two to validate on."""
    folder = tmp_path / "roboflow"
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("valid", 2)):
        for name in ("images", "labels"):
            (folder / split / name).mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 256, (48, 64, 3), np.uint8)
            cv2.imwrite(str(folder / split / "images" / f"{number}.jpg"), image)
            (folder / split / "labels" / f"{number}.txt").write_text(LINE)
    lines = ["train: ../train/images", "val: ../valid/images", "kpt_shape: [3, 3]", "flip_idx: [0, 1, 2]", "nc: 1"]
    (folder / "data.yaml").write_text("\n".join([*lines, "names: ['person']"]))
    return folder


@pytest.fixture
def start(run_script: Any, yolo: Path, tmp_path: Path) -> Callable[..., Any]:
    """Import that folder as ``mine``; later overrides win."""
    places = (f"workspace={tmp_path / 'run'}", f"data_root={tmp_path / 'data'}")
    return lambda *overrides: run_script(
        "import_dataset", *places, "kind=yolo", f"source={yolo}", "name=mine", *overrides
    )


def test_an_imported_dataset_is_checked_like_any_other(start: Any, run_script: Any, tmp_path: Path) -> None:
    printed = start().printed
    folder = tmp_path / "data" / "mine"
    assert "flip_idx swaps nothing; left and right cannot be told: fill in flip_pairs" in printed
    assert f"{folder}: images: train 10, val 2; keypoints: 3" in printed
    command = f"check-dataset --config-dir {folder} dataset=mine data_root={folder.parent}"
    assert printed.splitlines()[-1].endswith(command)
    outcome = run_script("check_dataset", *command.split()[1:], f"workspace={tmp_path / 'run'}", "samples=2")
    assert "no finding stops a training" in outcome.printed
    found = json.loads((tmp_path / "run/dataset_check/findings.json").read_text())
    assert {split: found[split]["statistics"]["people"] for split in ("train", "val")} == {"train": 10, "val": 2}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["kind=mpii"], "kind is 'mpii'; it must be one of lsp, lspet, yolo, label_studio"),
        (["source=nowhere"], "nowhere: no such file"),
        (["name=a/b"], "name is 'a/b'; it must be a name"),
        (["kind=lspet"], "joints.mat: no such file"),
        (["kind=label_studio"], "roboflow: cannot be read (Is a directory)"),
    ],
)
def test_what_cannot_be_imported_is_refused(start: Any, tmp_path: Path, overrides: list[str], told: str) -> None:
    assert told in start(*overrides).refusal
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_there_stays_as_it_is(start: Any, tmp_path: Path) -> None:
    (tmp_path / "data" / "mine").mkdir(parents=True)
    told = start().refusal
    assert told.endswith("mine: is there already; move it away, or choose another name\n")
    assert list((tmp_path / "data" / "mine").iterdir()) == []


def test_half_an_import_is_none(start: Any, yolo: Path, tmp_path: Path) -> None:
    (yolo / "valid" / "labels" / "1.txt").write_text(LINE.replace(".4", "40"))
    assert "1.txt:1: the x of keypoint 0 is 40.0; it must be from 0 to 1" in start().refusal
    assert not (tmp_path / "data").exists()
