import itertools
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle_codec

from litepose_ofa.supernet.data.coco.reader import load_annotations, read_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages, Annotations, IgnoreRegions
from litepose_ofa.supernet.data.findings import FindingLog, Kind
from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE
from litepose_ofa.supernet.errors import InputError


def read(folder: Path, content: object) -> Sequence[Any]:
    path = folder / "people.json"
    path.write_text(json.dumps(content))
    return AnnotatedImages(load_annotations(path, CROWDPOSE), Path("images"))


def read_all(folder: Path, content: object) -> tuple[Annotations, FindingLog]:
    path, log = folder / "people.json", FindingLog()
    path.write_text(json.dumps(content))
    return read_annotations(path, CROWDPOSE, log), log


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


def test_a_polygon_is_taken_rather_than_the_box_unless_it_has_two_points(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    for outline, inside, outside in (([0, 20, 5, 20, 0, 30], (21, 1), (29, 4)), ([0, 0, 39, 29], (25, 2), (15, 20))):
        content["annotations"][2]["segmentation"] = [outline]
        drawn = read(tmp_path, content)[0].ignore.draw(40, 30)
        assert (drawn[inside], drawn[outside]) == (1, 0)


NAN = float("nan")
PERSON_FAULTS: list[tuple[str, object, str]] = [
    ("bbox", [1, 2], r"'bbox' is \[1, 2\]; it must be 4 numbers"),
    ("bbox", ["3", 5, 27, 14], "'bbox' is .*; it must be 4 numbers"),
    ("bbox", [3, NAN, 27, 14], "'bbox' is .*; it must be 4 numbers"),
    ("keypoints", [1, 2, 2], "'keypoints' must be 42 numbers"),
    ("keypoints", [3] * 42, "a visibility in 'keypoints' is not 0, 1 or 2"),
    ("keypoints", [1, 2, True] * 14, "'keypoints' is .*; it must be numbers"),
    ("image_id", 99, "is of the unknown image 99"),
    ("category_id", 2, "is of the category 2, which 'categories' does not have"),
    ("iscrowd", "no", "'iscrowd' is 'no'; it must be 0 or 1"),
    ("area", -1.0, "'area' is -1.0; it must be a number of at least 0"),
    ("num_keypoints", 15, "'num_keypoints' is 15; it must be from 0 to 14"),
    *(
        ("segmentation", value, "'segmentation' is neither polygons nor an RLE")
        for value in (
            [[0, float("inf")] * 3],
            [[1, 2, 3]],
            "a polygon",
            {"counts": [1201, -1]},
            {"counts": "ä"},
            {"counts": "o" * 5000},
        )
    ),
    ("segmentation", {"counts": [1199]}, "'segmentation' has run lengths of another image"),
]
IMAGE_FAULTS: list[tuple[str, object, str]] = [
    ("id", 7, "two images have the id 7"),
    ("id", 1 << 64, r"images\[1\]: 'id' is 18446744073709551616; it must be an integer of 64 bits"),
    ("width", 0, "image 3: 'width' is 0; it must be a positive integer"),
    ("width", 1 << 20, "has 1048576 x 1048576 pixels; at most 134217728"),
    ("file_name", 7, "image 3: 'file_name' is 7; it must be the name of a file"),
    ("file_name", "\ud800", "it must be the name of a file"),
    ("file_name", "../3.png", "image 3: 'file_name' is '../3.png'; it must be in the folder"),
    ("file_name", "/etc/passwd", "image 3: 'file_name' is '/etc/passwd'; it must be in the folder"),
    ("file_name", "x/../7.png", r"image 3 has the file of another, 7\.png"),
    ("crowdIndex", NAN, "image 3: 'crowdIndex' is nan"),
]


def refusal(folder: Path, content: object) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, content)
    assert str(caught.value).startswith(str(folder / "people.json"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("key", "value", "message"), PERSON_FAULTS)
def test_a_bad_annotation_is_named(
    tmp_path: Path, content: dict[str, Any], key: str, value: object, message: str
) -> None:
    """The crowd's, whose regions are read too."""
    content["annotations"][1][key] = value
    assert re.search(f"annotation 2:? {message}", refusal(tmp_path, content))


@pytest.mark.parametrize(("key", "value", "message"), IMAGE_FAULTS)
def test_a_bad_image_entry_is_named(
    tmp_path: Path, content: dict[str, Any], key: str, value: object, message: str
) -> None:
    content["images"][1] |= {key: value, "height": value} if value == 1 << 20 else {key: value}
    assert re.search(message, refusal(tmp_path, content))


def test_bad_lists_are_named(tmp_path: Path, content: dict[str, Any]) -> None:
    for changes, message in (
        ({"images": None}, "'images' is not a list"),
        ({"images": []}, "'images' is empty"),
        ({"images": [{"id": 3, "width": 4, "height": 4}]}, "image 3 lacks the key 'file_name'"),
        ({"annotations": [{"id": 4, "image_id": 7, "bbox": [0, 0, 1, 1]}]}, "annotation 4 lacks the key 'keypoints'"),
        ({"categories": ["person"]}, "categories[0] is not an object"),
        ({"categories": [{"id": 1, "keypoints": ["nose"]}]}, "'categories' has 1 keypoints; crowdpose has 14"),
    ):
        assert message in refusal(tmp_path, content | changes)


def test_a_list_that_is_absent_and_an_id_that_is_taken_are_named(tmp_path: Path, content: dict[str, Any]) -> None:
    for key in ("images", "annotations"):
        assert f"lacks the key '{key}'" in refusal(tmp_path, {name: content[name] for name in content if name != key})
    content["annotations"][1]["id"] = 1
    assert "two annotations have the id 1" in refusal(tmp_path, content)


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
    annotations, findings = read_all(tmp_path, content)
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
    names = ["shoulder", *CROWDPOSE.keypoints[1:]]
    content["categories"] = [{"id": 1, "name": "person", "keypoints": names}]
    _, findings = read_all(tmp_path, content)
    message = "'categories' has the keypoint 'shoulder' where crowdpose has 'left_shoulder'"
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
    annotations, findings = read_all(tmp_path, content)
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
    assert all(message.startswith(str(tmp_path)) for message in findings.examples.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"[1]", "the file is not an object"),
        (b'{"images": [', "is not JSON"),
        (b'{"images": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"info": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b'{"images": ["\xff"]}', "byte 0xff is not UTF-8"),
        ('{"images": []}'.encode("utf-16"), r"is not UTF-8.*; save it as UTF-8"),
    ],
)
def test_what_is_not_json_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "people.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        AnnotatedImages(load_annotations(path, CROWDPOSE), tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_what_cannot_be_opened_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("absent", "no such file"), (".", "cannot be read"), ("pipe", "is a pipe")):
        with pytest.raises(InputError, match=message):
            AnnotatedImages(load_annotations(tmp_path / name, COCO), tmp_path)


def test_a_byte_order_mark_and_numbers_of_python_are_read(tmp_path: Path, content: dict[str, Any]) -> None:
    content["images"][0]["file_name"] = "größe.png"
    content["annotations"][0]["score"] = float("nan")
    path = tmp_path / "people.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content, ensure_ascii=False).encode())
    first, _ = AnnotatedImages(load_annotations(path, CROWDPOSE), tmp_path)
    assert first.path.name == "größe.png"
    assert len(first.keypoints) == 1


def test_the_real_crowdpose_annotations(reference_path: Callable[[str], Path]) -> None:
    path = reference_path("data/crowdpose_val.json")
    people = json.loads(path.read_text())["annotations"]
    labelled = [a for a in people if not a["iscrowd"] and any(a["keypoints"][2::3])]
    records = AnnotatedImages(load_annotations(path, CROWDPOSE), Path())
    assert len(records) == 2000
    assert sum(len(record.keypoints) for record in records) == len(labelled)
    assert sum(len(record.ignore.polygons) for record in records) == len(people) - len(labelled)
