import itertools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle_codec

from litepose_ofa.supernet.data.coco.reader import read_annotations, read_records
from litepose_ofa.supernet.data.coco.records import AnnotatedImages, IgnoreRegions
from litepose_ofa.supernet.data.findings import FindingLog, Kind
from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE
from litepose_ofa.supernet.errors import InputError


def read(path: Path, content: object) -> Sequence[Any]:
    path = path / "people.json"
    path.write_text(json.dumps(content))
    return read_records(path, Path("images"), CROWDPOSE)


def test_people_and_ignore_regions_of_each_image(tmp_path: Path, content: dict[str, Any]) -> None:
    first, second = read(tmp_path, content)
    assert (first.id, first.path, first.width, first.height) == (7, Path("images/7.png"), 40, 30)
    assert first.keypoints.dtype == np.float32
    np.testing.assert_array_equal(first.keypoints.ravel(), content["annotations"][0]["keypoints"])
    assert len(first.ignore.polygons) == 2
    assert second.keypoints.shape == (0, 14, 3)
    assert not second.ignore


def test_a_box_is_ignored_pixel_by_pixel() -> None:
    box = np.array([(30, 0), (40, 0), (40, 10), (30, 10)], np.float32)
    mask = IgnoreRegions((box,)).draw(40, 30)
    expected = np.zeros((30, 40), np.uint8)
    expected[:10, 30:] = 1
    # a polygon's far edge is drawn too, where it lies inside of the image
    np.testing.assert_array_equal(mask[:10], expected[:10])
    np.testing.assert_array_equal(mask[11:], expected[11:])


@pytest.mark.parametrize("compressed", [False, True])
def test_a_crowd_mask_is_read_in_both_forms(tmp_path: Path, content: dict[str, Any], compressed: bool) -> None:
    mask = np.zeros((30, 40), np.uint8, order="F")
    mask[4:25, 7:33] = np.random.default_rng(0).random((21, 26)) < 0.8  # short runs and runs of hundreds
    rle = rle_codec.encode(mask)
    if compressed:
        counts = rle["counts"].decode()
    else:
        groups = itertools.groupby(np.concatenate([[0], mask.ravel(order="F")]))  # runs begin with zeros
        counts = [len(list(group)) for _, group in groups]
        counts[0] -= 1
    content["annotations"][1]["segmentation"] = {"size": [30, 40], "counts": counts}
    del content["annotations"][2]
    np.testing.assert_array_equal(read(tmp_path, content)[0].ignore.draw(40, 30), mask)


def test_a_polygon_is_taken_rather_than_the_box(tmp_path: Path, content: dict[str, Any]) -> None:
    content["annotations"][2]["segmentation"] = [[0, 20, 5, 20, 0, 30]]
    drawn = read(tmp_path, content)[0].ignore.draw(40, 30)
    assert drawn[21, 1] == 1
    assert drawn[29, 4] == 0


def drop(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        *path, last = keys
        for key in path:
            content = content[key]
        del content[last]

    return change


def put(value: object, *keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        *path, last = keys
        for key in path:
            content = content[key]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("images"), "lacks the key 'images'"),
        (drop("annotations"), "lacks the key 'annotations'"),
        (put([], "images"), "'images' is empty"),
        (put({}, "annotations"), "'annotations' is not a list"),
        (drop("images", 1, "file_name"), r"images\[1\] lacks the key 'file_name'"),
        (put(0, "images", 1, "width"), "image 3 has the width 0"),
        (put(7, "images", 1, "id"), "two images have the id 7"),
        (drop("annotations", 2, "keypoints"), r"annotations\[2\] lacks the key 'keypoints'"),
        (put([1, 2], "annotations", 0, "bbox"), "annotation 1: 'bbox' must be 4 numbers"),
        (put([1, 2, 2], "annotations", 0, "keypoints"), "annotation 1: 'keypoints' must be 42 numbers"),
        (put([3] * 42, "annotations", 0, "keypoints"), "annotation 1: a visibility"),
        (put(99, "annotations", 0, "image_id"), "annotation 1 is of the unknown image 99"),
        (put(7, "images", 1, "file_name"), "image 3 has the file_name 7; it must be the name of a file"),
        (put("\ud800", "images", 1, "file_name"), "it must be the name of a file"),
        (put("../3.png", "images", 1, "file_name"), "image 3 has the file_name '../3.png'; it must be in the folder"),
        (put("/etc/passwd", "images", 1, "file_name"), "image 3 has the file_name '/etc/passwd'; it must be in"),
        (put("x/../7.png", "images", 1, "file_name"), r"image 3 has the file of another, 7\.png"),
        (put(1 << 64, "images", 1, "id"), r"images\[1\] has the id 18446744073709551616; it must be an integer of 64"),
        (put(40.0, "images", 1, "width"), "image 3 has the width 40.0"),
        (put({"id": 3, "file_name": "3.png", "width": 1 << 20, "height": 1 << 20}, "images", 1), "at most 134217728"),
        (put("high", "images", 1, "crowdIndex"), "image 3 has the crowdIndex 'high'; it must be a number"),
        (put(float("nan"), "images", 1, "crowdIndex"), "image 3 has the crowdIndex nan"),
        (put([7], "annotations", 0, "image_id"), r"annotation 1: 'image_id' is \[7\]; it must be an integer"),
        (put(1, "annotations", 1, "id"), "two annotations have the id 1"),
        (put(["3", 5, 27, 14], "annotations", 0, "bbox"), "annotation 1: 'bbox' must be 4 numbers"),
        (put([3, float("nan"), 27, 14], "annotations", 0, "bbox"), "annotation 1: 'bbox' must be 4 numbers"),
        (put([3, 5, 10**400, 14], "annotations", 0, "bbox"), "annotation 1: 'bbox' must be 4 numbers"),
        (put([float("nan")] * 42, "annotations", 0, "keypoints"), "annotation 1: 'keypoints' must be 42 numbers"),
        (put([1, 2, True] * 14, "annotations", 0, "keypoints"), "annotation 1: 'keypoints' must be 42 numbers"),
        (put("no", "annotations", 0, "iscrowd"), "annotation 1: 'iscrowd' is 'no'; it must be 0 or 1"),
        (put(-1.0, "annotations", 0, "area"), "annotation 1: 'area' is -1.0; it must be a number of at least 0"),
        (put("big", "annotations", 0, "area"), "annotation 1: 'area' is 'big'"),
        (put(15, "annotations", 0, "num_keypoints"), "annotation 1: 'num_keypoints' is 15; it must be from 0 to 14"),
        (put("man", "annotations", 0, "category_id"), "annotation 1: 'category_id' is 'man'; it must be an integer"),
        (
            put(2, "annotations", 0, "category_id"),
            "annotation 1 is of the category 2, which 'categories' does not have",
        ),
        (put("person", "categories", 0), r"categories\[0\] is not an object"),
        (put("one", "categories", 0, "id"), r"categories\[0\] must have an integer as its id"),
        (put(["nose"], "categories", 0, "keypoints"), "'categories' has 1 keypoints; crowdpose has 14"),
        (put([[0, float("inf")] * 3], "annotations", 2, "segmentation"), "annotation 4: 'segmentation'"),
        (put("a polygon", "annotations", 2, "segmentation"), "annotation 4: 'segmentation'"),
        (
            put({"counts": [1199]}, "annotations", 2, "segmentation"),
            "annotation 4: 'segmentation' has run lengths of ano",
        ),
        (put({"counts": [1201, -1]}, "annotations", 2, "segmentation"), "annotation 4: 'segmentation' is neither"),
        (put({"counts": [1199.5, 0.5]}, "annotations", 2, "segmentation"), "annotation 4: 'segmentation' is neither"),
        (put({"counts": "ä"}, "annotations", 2, "segmentation"), "annotation 4: 'segmentation' is neither"),
        (put({"counts": "o" * 5000}, "annotations", 2, "segmentation"), "annotation 4: 'segmentation' is neither"),
        (put([[1, 2, 3]], "annotations", 2, "segmentation"), "annotation 4: 'segmentation'"),
        (put({"counts": []}, "annotations", 2, "segmentation"), "annotation 4: 'segmentation'"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(
    tmp_path: Path, content: dict[str, Any], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change(content)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "people.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], [7, 8, 0] * 14])
def test_a_person_without_keypoints_masks_the_loss(tmp_path: Path, content: dict[str, Any], value: object) -> None:
    content["annotations"][0]["keypoints"] = value
    record = read(tmp_path, content)[0]
    assert len(record.keypoints) == 0
    assert record.ignore.draw(40, 30)[10, 20] == 1, "the box of the person"


@pytest.mark.parametrize("box", [[3, 5, 0, 14], [3, 5, 27, 0], [3, 5, -27, 14]])
def test_a_box_without_area_is_used_and_masks_nothing(tmp_path: Path, content: dict[str, Any], box: list[int]) -> None:
    for annotation in content["annotations"]:
        annotation["bbox"] = box
    record = read(tmp_path, content)[0]
    assert len(record.keypoints) == 1
    assert not record.ignore.draw(40, 30).any()


def test_a_polygon_of_two_points_is_no_polygon(tmp_path: Path, content: dict[str, Any]) -> None:
    content["annotations"][2]["segmentation"] = [[0, 0, 39, 29]]
    drawn = read(tmp_path, content)[0].ignore.draw(40, 30)
    assert drawn[25, 2] == 1, "the box is taken"
    assert drawn[15, 20] == 0


PERSON = {"id": 1, "name": "person", "keypoints": list(CROWDPOSE.keypoints)}
DOG = {"id": 2, "name": "dog", "keypoints": ["snout", "tail"]}
CAR = {"id": 3, "name": "car"}


@pytest.mark.parametrize("last", [True, False])
def test_annotations_of_other_categories_are_left_out(tmp_path: Path, content: dict[str, Any], last: bool) -> None:
    dog = {"id": 8, "image_id": 7, "category_id": 2, "keypoints": [1, 2, 2, 3, 4, 2], "bbox": [0, 0, 9, 9]}
    car = {"id": 9, "image_id": 7, "category_id": 3, "bbox": [10, 20, 9, 9]}
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    content["annotations"][:0] = [dog, car]
    content["categories"] = [PERSON, DOG, CAR]
    if not last:
        content = {"categories": content.pop("categories"), **content}
    findings = FindingLog()
    path = tmp_path / "people.json"
    path.write_text(json.dumps(content))
    annotations = read_annotations(path, CROWDPOSE, findings)
    assert annotations.ids.tolist() == [1, 2, 4]
    assert findings.entries == {Kind.OTHER_CATEGORY: [8, 9]}
    first = read(tmp_path, content)[0]
    assert len(first.keypoints) == 1
    assert len(first.ignore.polygons) == 2
    assert first.ignore.draw(40, 30)[25, 15] == 0, "a car is no person that nobody labelled"


def test_without_keypoints_among_the_categories_people_are_those_named_so(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    content["categories"] = [{"id": 5, "name": "person"}, CAR]
    content["annotations"][0]["category_id"] = 5
    content["annotations"][2]["category_id"] = 3
    first = read(tmp_path, content)[0]
    assert len(first.keypoints) == 1
    assert len(first.ignore.polygons) == 1


def test_other_names_of_the_keypoints_are_reported(tmp_path: Path, content: dict[str, Any]) -> None:
    names = list(CROWDPOSE.keypoints)
    names[0], names[1] = names[1], names[0]
    content["categories"] = [{"id": 1, "name": "person", "keypoints": names}]
    findings = FindingLog()
    path = tmp_path / "people.json"
    path.write_text(json.dumps(content))
    read_annotations(path, CROWDPOSE, findings)
    message = "'categories' has the keypoint 'right_shoulder' where crowdpose has 'left_shoulder'"
    assert findings.examples[Kind.OTHER_KEYPOINT_NAMES].endswith(message)
    assert len(read(tmp_path, content)) == 2


def test_the_lists_may_come_in_any_order(tmp_path: Path, content: dict[str, Any]) -> None:
    expected = read(tmp_path, content)
    for order in itertools.permutations(content):
        for one, other in zip(read(tmp_path, {key: content[key] for key in order}), expected, strict=True):
            assert (one.id, one.path) == (other.id, other.path)
            np.testing.assert_array_equal(one.keypoints, other.keypoints)
            np.testing.assert_array_equal(one.ignore.draw(40, 30), other.ignore.draw(40, 30))


def test_a_file_that_changes_is_read_again(tmp_path: Path, content: dict[str, Any]) -> None:
    assert len(read(tmp_path, content)) == 2
    del content["images"][1]
    assert len(read(tmp_path, content)) == 1


def test_everything_that_is_wrong_is_named_in_one_reading(tmp_path: Path, content: dict[str, Any]) -> None:
    person = content["annotations"][0]
    content["images"] += [{"id": 7, "file_name": "x.png", "width": 1, "height": 1}, "no object", {"id": 9}]
    content["annotations"] += [
        person,
        {**person, "id": 5, "image_id": 99},
        {**person, "id": 6, "bbox": None},
        {**person, "id": 7, "category_id": 12},
        {**person, "id": 10, "image_id": 3, "iscrowd": 1, "segmentation": {"counts": [1]}},
        {**person, "id": 11, "image_id": 3, "iscrowd": 1, "segmentation": {"counts": [0, 1200]}},
        {**person, "id": 12},
    ]
    findings = FindingLog()
    path = tmp_path / "people.json"
    path.write_text(json.dumps(content))
    annotations = read_annotations(path, CROWDPOSE, findings)
    assert findings.entries == {
        Kind.DUPLICATE_IMAGE_ID: [7],
        Kind.BAD_IMAGE_ENTRY: ["images[3]", 9],
        Kind.DUPLICATE_ANNOTATION_ID: [1],
        Kind.UNKNOWN_IMAGE: [5],
        Kind.BAD_ANNOTATION: [6, 10],
        Kind.UNKNOWN_CATEGORY: [7],
    }
    assert annotations.ids.tolist() == [1, 2, 4, 11, 12]
    records = AnnotatedImages(annotations, Path("images"))
    assert [len(record.keypoints) for record in records] == [2, 0]
    assert records[1].ignore.draw(40, 30).all()
    assert all(message.startswith(str(path)) for message in findings.examples.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"[1]", "the file is not an object"),
        (b'{"images": [], "images": []}', "has the key 'images' twice"),
        (b'{"info": 1} 2', "is not JSON"),
        (b'{"images": [', "is not JSON"),
        (b'{"images": [1 2]}', "is not JSON"),
        (b'{"images": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"info": ' + b'{"b":' * 100_000, "nested too deeply"),
        (b'{"info": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b'{"images": ["\xff"]}', "byte 0xff is not UTF-8"),
        ('{"images": []}'.encode("utf-16"), r"is not UTF-8.*; save it as UTF-8"),
        (b"\x1f\x8b\x08\x00", "byte 0x8b is not UTF-8"),
    ],
)
def test_what_is_not_json_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "people.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_records(path, tmp_path, CROWDPOSE)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_what_cannot_be_opened_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("absent", "no such file"), (".", "cannot be read"), ("pipe", "is a pipe")):
        with pytest.raises(InputError, match=message):
            read_records(tmp_path / name, tmp_path, COCO)


def test_a_byte_order_mark_and_numbers_of_python_are_read(tmp_path: Path, content: dict[str, Any]) -> None:
    content["images"][0]["file_name"] = "größe.png"
    content["annotations"][0]["score"] = float("nan")
    path = tmp_path / "people.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content, ensure_ascii=False).encode())
    first, _ = read_records(path, tmp_path, CROWDPOSE)
    assert first.path.name == "größe.png"
    assert len(first.keypoints) == 1


def test_another_skeleton_is_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "people.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="51 numbers"):
        read_records(path, tmp_path, COCO)


def test_the_real_crowdpose_annotations(reference_path: Callable[[str], Path]) -> None:
    path = reference_path("data/crowdpose_val.json")
    people = json.loads(path.read_text())["annotations"]
    labelled = [a for a in people if not a["iscrowd"] and any(a["keypoints"][2::3])]
    records = read_records(path, Path(), CROWDPOSE)
    assert len(records) == 2000
    assert sum(len(record.keypoints) for record in records) == len(labelled)
    assert sum(len(record.ignore.polygons) for record in records) == len(people) - len(labelled)
