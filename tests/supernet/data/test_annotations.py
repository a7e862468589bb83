import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle_codec

from supernet.data.annotations import IgnoreRegions, read_records
from supernet.data.skeletons import COCO, CROWDPOSE
from supernet.errors import InputError


def read(path: Path, content: object) -> list[Any]:
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
        (put([3], "annotations"), r"annotations\[0\] is not an object"),
        (drop("images", 1, "file_name"), r"images\[1\] lacks the key 'file_name'"),
        (put(0, "images", 1, "width"), "image 3 has the width 0"),
        (put("a", "images", 1, "id"), "has the id 'a'"),
        (put(7, "images", 1, "id"), "two images have the id 7"),
        (drop("annotations", 2, "bbox"), r"annotations\[2\] lacks the key 'bbox'"),
        (put([1, 2], "annotations", 0, "bbox"), "annotation 1: 'bbox' must be 4 numbers"),
        (put([1, 2, 2], "annotations", 0, "keypoints"), "annotation 1: 'keypoints' must be 42 numbers"),
        (put(["x"] * 42, "annotations", 0, "keypoints"), "annotation 1: 'keypoints' must be 42 numbers"),
        (put([3] * 42, "annotations", 0, "keypoints"), "annotation 1: a visibility"),
        (put(99, "annotations", 0, "image_id"), "annotation 1 is of the unknown image 99"),
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


def test_a_missing_file_and_a_file_that_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_records(tmp_path / "absent.json", tmp_path, COCO)
    (tmp_path / "bad.json").write_text('{"images": [')
    with pytest.raises(InputError, match="is not JSON"):
        read_records(tmp_path / "bad.json", tmp_path, COCO)


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
