import json
from pathlib import Path
from typing import Any

import cv2
import pytest


def findings(workspace: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((workspace / "dataset_check" / "findings.json").read_text())
    return content


def change_annotations(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_good_dataset_is_described_and_drawn(run_script: Any, tmp_path: Path) -> None:
    outcome = run_script("check_dataset", f"workspace={tmp_path}")
    assert outcome.status == 0, outcome.stderr
    assert "no finding stops a training" in outcome.stdout
    content = findings(tmp_path)
    assert {name: content[name]["statistics"]["images"] for name in ("train", "search", "val")} == {
        "train": 12,
        "search": 4,
        "val": 4,
    }
    assert content["between_splits"] == {}
    sheet = cv2.imread(str(tmp_path / "dataset_check" / "samples.jpg"))
    assert sheet is not None
    assert sheet.shape[1] == 4 * 320 + 3 * 4
    assert (tmp_path / "dataset_check" / "run.json").exists()


def test_everything_is_reported_before_it_is_refused(run_script: Any, own_data_root: Path, tmp_path: Path) -> None:
    root = own_data_root / "people"

    def spoil(content: dict[str, Any]) -> None:
        content["annotations"][0]["keypoints"] = "none"
        content["annotations"][1]["bbox"] = [0, 0, 0, 0]

    change_annotations(root / "annotations" / "train.json", spoil)
    (root / "images" / "train" / "000002.jpg").unlink()
    (root / "images" / "val" / "000003.jpg").write_bytes(b"no image")
    outcome = run_script("check_dataset", f"workspace={tmp_path}", f"data_root={own_data_root}", "workers=3")
    assert outcome.status == 2
    kinds = "1 x bad_annotation in train, 1 x missing_image in train, 1 x corrupt_image in val"
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith(
        f"error: this stops a training: {kinds}; the first: {root}/annotations/train.json: annotation "
    )
    content = findings(tmp_path)
    assert content["train"]["findings"]["missing_image"]["entries"] == [2]
    assert content["train"]["findings"]["empty_box"]["effect"] == "used"
    assert content["val"]["findings"]["corrupt_image"]["entries"] == [3]
    assert "stops 1 x missing_image" in outcome.stdout


def test_what_gives_every_network_a_wrong_ap_is_refused(run_script: Any, own_data_root: Path, tmp_path: Path) -> None:
    def flatten(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["bbox"][3] = 0

    change_annotations(own_data_root / "people" / "annotations" / "val.json", flatten)
    outcome = run_script("check_dataset", f"workspace={tmp_path}", f"data_root={own_data_root}", "samples=0")
    assert outcome.status == 2
    assert "AP by it means nothing; mend the annotations" in outcome.stderr.splitlines()[-1]
    assert findings(tmp_path)["val"]["findings"]["odd_area"]["count"] > 0
    assert "odd_area" not in findings(tmp_path)["search"]["findings"]


def test_a_file_name_with_backslashes_gets_a_hint(run_script: Any, own_data_root: Path, tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["images"][0]["file_name"] = "images\\train\\000001.jpg"

    change_annotations(own_data_root / "people" / "annotations" / "train.json", spoil)
    outcome = run_script("check_dataset", f"workspace={tmp_path}", f"data_root={own_data_root}", "samples=0")
    assert outcome.status == 2
    assert "; folders in a file_name are separated by /, not by backslashes" in outcome.stderr.splitlines()[-1]


def test_bad_images_that_a_training_skips_do_not_stop_it(run_script: Any, own_data_root: Path, tmp_path: Path) -> None:
    skip = (f"workspace={tmp_path}", f"data_root={own_data_root}", "dataset.on_bad_image=skip", "samples=0")
    images = sorted((own_data_root / "people" / "images" / "search").iterdir())
    images[0].unlink()
    outcome = run_script("check_dataset", *skip)
    assert outcome.status == 0
    assert findings(tmp_path)["search"]["findings"]["missing_image"]["count"] == 1
    assert not (tmp_path / "dataset_check" / "samples.jpg").exists()
    for image in images[1:]:
        image.write_bytes(b"")
    outcome = run_script("check_dataset", *skip)
    assert outcome.status == 2
    assert "1 x missing_image in search, 3 x corrupt_image in search" in outcome.stderr


def test_what_a_training_refuses_is_refused_in_its_words(run_script: Any, own_data_root: Path, tmp_path: Path) -> None:
    own = (f"workspace={tmp_path}", f"data_root={own_data_root}", "samples=0")
    shared = run_script(
        "check_dataset", *own, "dataset.val.annotations=annotations/train.json", "dataset.val.images=images/train"
    )
    assert shared.status == 2
    assert "error: this stops a training: 12 x shared_image in two splits" in shared.stderr
    assert findings(tmp_path)["between_splits"]["shared_image"]["count"] == 12
    path = own_data_root / "people" / "annotations" / "train.json"
    change_annotations(path, lambda content: content.update(annotations=[]))
    nobody = run_script("check_dataset", *own)
    assert nobody.status == 2
    assert f"{path}: none of 12 images has a labelled person" in nobody.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("samples=-1", "samples is -1"),
        ("dataset.root=/nowhere", "2 x unreadable_file in train"),
    ],
)
def test_settings_that_cannot_be(run_script: Any, tmp_path: Path, override: str, message: str) -> None:
    outcome = run_script("check_dataset", f"workspace={tmp_path}", override)
    assert outcome.status == 2
    assert message in outcome.stderr
