"""A dataset is described, drawn and searched for what a training or an evaluation would stumble over."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest


def findings(workspace: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((workspace / "dataset_check" / "findings.json").read_text())
    return content


def spoil(root: Path, split: str, change: Callable[[Any], object]) -> None:
    path = root / "people" / "annotations" / f"{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def check(run_script: Any, own_data_root: Path, tmp_path: Path) -> Callable[..., Any]:
    return lambda *overrides: run_script(
        "check_dataset", f"workspace={tmp_path}", f"data_root={own_data_root}", *overrides
    )


def test_a_good_dataset_is_described_and_drawn(check: Any, tmp_path: Path) -> None:
    assert "no finding stops a training" in check().printed
    content = findings(tmp_path)
    sizes = {name: content[name]["statistics"]["images"] for name in ("train", "search", "val")}
    assert sizes == {"train": 12, "search": 4, "val": 4}
    assert content["between_splits"] == {}
    assert cv2.imread(str(tmp_path / "dataset_check" / "samples.jpg")).shape[1] == 4 * 320 + 3 * 4
    assert (tmp_path / "dataset_check" / "run.json").exists()


def test_everything_is_reported_before_it_is_refused(check: Any, own_data_root: Path, tmp_path: Path) -> None:
    root = own_data_root / "people"
    spoil(own_data_root, "train", lambda content: content["annotations"][0].update(keypoints="none"))
    spoil(own_data_root, "train", lambda content: content["annotations"][1].update(bbox=[0, 0, 0, 0]))
    (root / "images" / "train" / "000002.jpg").unlink()
    (root / "images" / "val" / "000003.jpg").write_bytes(b"no image")
    outcome = check("workers=3")
    kinds = "1 x bad_annotation in train, 1 x missing_image in train, 1 x corrupt_image in val"
    first = f"{root}/annotations/train.json: annotation "
    assert outcome.refusal.startswith(f"error: this stops a training: {kinds}; the first: {first}")
    content = findings(tmp_path)
    assert content["train"]["findings"]["missing_image"]["entries"] == [2]
    assert content["train"]["findings"]["empty_box"]["effect"] == "used"
    assert content["val"]["findings"]["corrupt_image"]["entries"] == [3]
    assert "stops 1 x missing_image" in outcome.stdout


def flatten(content: dict[str, Any]) -> None:
    for annotation in content["annotations"]:
        annotation["bbox"][3] = 0


@pytest.mark.parametrize(
    ("split", "change", "told"),
    [
        ("val", flatten, "AP by it means nothing; mend the annotations"),
        ("train", lambda content: content.update(annotations=[]), "none of 12 images has a labelled person"),
        (
            "train",
            lambda content: content["images"][0].update(file_name="images\\train\\000001.jpg"),
            "; folders in a file_name are separated by /, not by backslashes",
        ),
    ],
)
def test_what_could_not_be_used_is_refused(check: Any, own_data_root: Path, split: str, change: Any, told: str) -> None:
    spoil(own_data_root, split, change)
    assert told in check("samples=0").refusal


def test_splits_that_share_images_are_refused(check: Any, tmp_path: Path) -> None:
    shared = ("dataset.val.annotations=annotations/train.json", "dataset.val.images=images/train", "samples=0")
    assert "error: this stops a training: 12 x shared_image in two splits" in check(*shared).refusal
    assert findings(tmp_path)["between_splits"]["shared_image"]["count"] == 12


def test_bad_images_that_a_training_skips_do_not_stop_it(check: Any, own_data_root: Path, tmp_path: Path) -> None:
    skip = ("dataset.on_bad_image=skip", "samples=0")
    images = sorted((own_data_root / "people" / "images" / "search").iterdir())
    images[0].unlink()
    assert check(*skip).status == 0
    assert findings(tmp_path)["search"]["findings"]["missing_image"]["count"] == 1
    assert not (tmp_path / "dataset_check" / "samples.jpg").exists()
    for image in images[1:]:
        image.write_bytes(b"")
    assert "1 x missing_image in search, 3 x corrupt_image in search" in check(*skip).refusal
