"""YOLO-pose in Ultralytics' and in Roboflow's layout."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from litepose_ofa.supernet.data.imports.yolo import read_yolo
from litepose_ofa.supernet.data.skeletons import COCO
from litepose_ofa.supernet.errors import InputError

SAVED = {
    "kpt_shape": [3, 3],
    "flip_idx": [0, 2, 1],
    "names": {0: "person"},
    "train": "images/train",
    "val": "images/val",
}
LINE = "0 0.5 0.5 0.5 0.4  0.25 0.5 2  0.5 0.25 1.000  0.9 0.9 0"
Save = Callable[..., Path]


@pytest.fixture
def save(draw: Callable[[Path], Path], tmp_path: Path) -> Save:
    """Write a data.yaml, and an image and a label file of one line in each of some folders."""

    def write(*, images: Sequence[str] = ("images/train", "images/val"), line: str = LINE, **changed: Any) -> Path:
        for folder in images:
            draw(tmp_path / folder / "a.png")
            labels = tmp_path / folder.replace("images", "labels") / "a.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text(f"{line}\n\n")
        content = {key: value for key, value in (SAVED | changed).items() if value is not None}
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "data.yaml"

    return write


def test_people_in_pixels_and_images_without_labels(
    save: Save, written: Any, draw: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = save()
    draw(tmp_path / "images/train/nested/b.png")
    dataset = read_yolo(tmp_path)
    assert (dataset.doubts, dataset.categories) == ([], ["person"])
    assert (dataset.skeleton.keypoints[2], dataset.skeleton.flip_pairs) == ("keypoint_2", ((1, 2),))
    train = written(dataset)
    assert train.file_names == ["train/a.png", "train/nested/b.png"]
    first, second = train.records
    np.testing.assert_array_equal(first.keypoints, [[(10, 10, 2), (20, 5, 1), (0, 0, 0)]])
    assert train.records.annotations.boxes.tolist() == [[10, 6, 20, 8]]
    assert len(second.keypoints) == 0
    assert written(read_yolo(path), "val").file_names == ["val/a.png"]


def test_of_two_values_the_origin_is_not_labelled(save: Save, written: Any) -> None:
    (person,) = written(read_yolo(save(kpt_shape=[3, 2], line="0 .5 .5 1 1 .5 0 0 .5 0 0"))).records[0].keypoints
    assert person.tolist() == [[20, 0, 2], [0, 10, 2], [0, 0, 0]]


def test_known_names_are_put_in_the_known_order(save: Save, written: Any) -> None:
    names = COCO.keypoints[::-1]
    line = "0 .5 .5 1 1 " + " ".join(f"{place / 40} .5 2" for place in range(17))
    flip = [16 - other for other in COCO.flip_indices[::-1]]
    dataset = read_yolo(save(kpt_shape=[17, 3], kpt_names={0: list(names)}, flip_idx=flip, line=line))
    assert dataset.skeleton is COCO
    (person,) = written(dataset).records[0].keypoints
    np.testing.assert_allclose(person[:, 0], range(16, -1, -1), atol=1e-5)


def test_roboflow_writes_paths_of_its_own_and_a_flip_that_swaps_nothing(save: Save) -> None:
    folders = ("train/images", "valid/images")
    places = {"train": "../train/images", "val": "../valid/images", "flip_idx": [0, 1, 2]}
    dataset = read_yolo(save(images=folders, **places))
    assert {split: [image.file_name for image in images] for split, images in dataset.splits.items()} == {
        "train": ["train/a.png"],
        "val": ["val/a.png"],
    }
    (doubt,) = dataset.doubts
    assert "data.yaml: flip_idx swaps nothing; left and right cannot be told: fill in flip_pairs" in doubt
    names = ["tip", "left_end", "right_end"]
    dataset = read_yolo(save(images=folders, **places, kpt_names={0: names}))
    assert dataset.skeleton.flip_pairs == ((1, 2),)
    assert dataset.doubts[0].endswith("flip_idx swaps nothing; left and right are told by the keypoints' names")
    assert "flip_idx is missing" in read_yolo(save(images=folders, **places | {"flip_idx": None})).doubts[0]


def test_a_text_file_lists_images_and_a_test_split_without_labels_is_left_out(
    save: Save, draw: Callable[[Path], Path], tmp_path: Path
) -> None:
    (tmp_path / "train.txt").write_text("./images/train/a.png\n\n./images/val/a.png\n")
    draw(tmp_path / "images/test/c.png")
    dataset = read_yolo(save(train=["train.txt"], val=None, test="images/test", path="."))
    assert [image.file_name for image in dataset.splits["train"]] == ["train/train/a.png", "train/val/a.png"]
    assert list(dataset.splits) == ["train"]
    assert dataset.doubts[-1].endswith("no image of test has labels: it is left out")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kpt_shape": None}, r"data\.yaml: kpt_shape is missing"),
        ({"kpt_shape": [3]}, r"data\.yaml: kpt_shape is \[3\]; it must be two integers"),
        ({"kpt_shape": [3, 4]}, r"kpt_shape is \[3, 4\]; it must be two integers"),
        ({"kpt_shape": [10**12, 3]}, "kpt_shape is .*; it must be two integers: 1 to 1000 keypoints"),
        ({"kpt_shape": "3 3"}, "kpt_shape is '3 3'; it must be two integers"),
        ({"train": None}, "train is missing"),
        ({"train": "images/nowhere"}, "images/nowhere: no such folder of images, nor a file that lists them"),
        ({"names": {1: "person"}}, "names is .*; it must be a mapping from 0, 1, 2"),
        ({"names": 3}, "names is 3; it must be names of classes"),
        ({"flip_idx": [0, 1]}, r"flip_idx is \[0, 1\]; it must be 3 integers from 0 to 2"),
        ({"flip_idx": [1, 2, 0]}, r"flip_idx is \[1, 2, 0\]; it must be 3 integers"),
        ({"flip_idx": [0, 2, 3]}, "flip_idx is"),
        ({"flip_idx": [2]}, "flip_idx is"),
        ({"kpt_names": {0: ["a", "b"]}}, "kpt_names is .*; it must be 3 names"),
        ({"kpt_names": {0: ["a", "b", "c"], 1: ["a", "c", "b"]}}, "kpt_names is .* the same for every class"),
        ({"kpt_names": {0: ["a", "b", "b"]}}, "keypoints is .*; it must be a list of different names"),
        ({"line": LINE[:-1]}, r"labels/train/a\.txt:1: the number of values is 13; it must be 14: class, box"),
        ({"line": "0 .5 .5 .5 .5"}, "the number of values is 5"),
        ({"line": LINE.replace("0.25", "left")}, r"a\.txt:1: '.*left.*' is not numbers"),
        ({"line": "1" + LINE[1:]}, "the class is '1'; it must be an integer from 0 to 0"),
        ({"line": "0.5" + LINE[1:]}, "the class is '0.5'"),
        ({"line": LINE.replace("0.4", "1.4")}, "the box's height is 1.4; it must be from 0 to 1"),
        ({"line": LINE.replace("0.25 0.5 2", "0.25 nan 2")}, "the y of keypoint 0 is nan; it must be from 0 to 1"),
        ({"line": LINE.replace("0.25 0.5 2", "250 100 2")}, "the x of keypoint 0 is 250.0; it must be from 0 to 1"),
        ({"line": LINE.replace("1.000", "1.5")}, "the visibility of keypoint 1 is 1.5; it must be 0, 1 or 2"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(save: Save, changed: dict[str, Any], message: str) -> None:
    path = save(**changed)
    with pytest.raises(InputError, match=message) as told:
        read_yolo(path)
    assert "\n" not in str(told.value)


def _turned(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"eXIfMM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "data.yaml").unlink(), r"data\.yaml: no such file"),
        (
            lambda folder: (folder / "data.yaml").write_text("- 1"),
            r"data\.yaml: the content is \[1\]; it must be a mapping",
        ),
        (lambda folder: (folder / "data.yaml").write_bytes(b"names: \xff"), r"data\.yaml: is not YAML"),
        (lambda folder: (folder / "labels/train/a.txt").write_bytes(b"\xff"), r"a\.txt: is not UTF-8 text"),
        (lambda folder: (folder / "labels/train/a.txt").unlink(), "no image of train has labels"),
        (
            lambda folder: (folder / "labels/train/b.txt").touch(),
            r"labels/train/b\.txt: has no image in .*images/train",
        ),
        (lambda folder: (folder / "images/train/a.png").write_bytes(b"GIF8"), r"a\.png: is GIF; JPEG, PNG"),
        (lambda folder: _turned(folder / "images/train/a.png"), r"a\.png: its EXIF orientation turns it"),
    ],
)
def test_a_damaged_folder_is_told_in_a_line(save: Save, damage: Callable[[Path], object], message: str) -> None:
    path = save()
    damage(path.parent)
    with pytest.raises(InputError, match=message) as told:
        read_yolo(path)
    assert "\n" not in str(told.value)
