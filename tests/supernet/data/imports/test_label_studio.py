"""Label Studio's JSON export: percentages, parents, and images under the names that it gives them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.imports.label_studio import read_label_studio
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError

Json = dict[str, Any]
Save = Callable[..., Path]
SHAPE = {"original_width": 40, "original_height": 20, "image_rotation": 0}


def point(name: str, x: float, y: float, **more: Any) -> Json:
    value = {"x": x, "y": y, "width": 0.4, "keypointlabels": [name]}
    return {"type": "keypointlabels", "value": value, **SHAPE, **more}


def rectangle(x: float, y: float, width: float, height: float, label: str = "person", **more: Any) -> Json:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}
    return {"type": "rectanglelabels", "value": value, **SHAPE, **more}


def task(*result: Json, image: str = "/data/upload/3/0a1b2c3d-a.png", **more: Any) -> Json:
    return {"id": 7, "data": {"image": image}, "annotations": [{"id": 1, "result": list(result)}], **more}


@pytest.fixture
def save(draw: Callable[[Path], Path], tmp_path: Path) -> Save:
    """Write an export, and two images below its folder."""

    def write(*tasks: Any) -> Path:
        for name in ("a.png", "deep/b.png"):
            draw(tmp_path / "pictures" / name)
        (tmp_path / "export.json").write_text(json.dumps(tasks))
        return tmp_path / "export.json"

    return write


def test_without_a_rectangle_there_is_one_person_of_the_extent_of_the_keypoints(save: Save, written: Any) -> None:
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}
    path = save(task(point("left_end", 25, 50), relation, point("right_end", 50, 25)), task(image="s3://it/deep/b.png"))
    dataset = read_label_studio(path)
    assert (dataset.skeleton.keypoints, dataset.skeleton.flip_pairs) == (("left_end", "right_end"), ((0, 1),))
    assert (dataset.doubts, dataset.categories) == ([], ["person"])
    train = written(dataset)
    assert train.file_names == ["pictures/a.png", "pictures/deep/b.png"]
    assert [record.keypoints.tolist() for record in train.records] == [[[[10, 10, 2], [20, 5, 2]]], []]
    np.testing.assert_allclose(train.records.annotations.boxes, [[8.8, 3.8, 12.4, 7.4]])


def test_a_keypoint_is_of_its_parent_else_of_the_smallest_rectangle_around_it_else_of_the_nearest(
    save: Save, written: Any
) -> None:
    result = [
        point("tip", 20, 50),
        rectangle(0, 0, 50, 100, id="left"),
        rectangle(10, 10, 50, 50, id="small"),
        rectangle(75, 0, 20, 100, "dog", id="dog"),
        point("tip", 20, 50, parentID="small"),
        point("end", 64, 50),
        point("end", 5, 5),
    ]
    dataset = read_label_studio(save(task(*result)))
    assert [doubt.partition("export.json: ")[2] for doubt in dataset.doubts] == [
        "1 tasks have a keypoint without parent that is not in one rectangle: the nearest has it (task 7 is the first)",
        "left and right cannot be told: fill in flip_pairs, or a mirrored picture teaches that they are one",
    ]
    assert dataset.categories == ["person"], "no dog has a keypoint"
    keypoints = written(dataset).records[0].keypoints
    assert dataset.skeleton.keypoints == ("tip", "end")
    np.testing.assert_allclose(keypoints[0], [(8, 10, 2), (2, 1, 2)], atol=1e-5)
    np.testing.assert_allclose(keypoints[1], [(8, 10, 2), (25.6, 10, 2)], atol=1e-5)
    assert written(dataset).records.annotations.boxes.tolist() == [[0, 0, 20, 20], [4, 2, 20, 10]]


def test_labels_of_a_known_skeleton_have_its_order_and_are_no_doubt(save: Save) -> None:
    names = sorted(CROWDPOSE.keypoints)
    dataset = read_label_studio(save(task(*(point(name, place, 50) for place, name in enumerate(names)))))
    assert dataset.skeleton is CROWDPOSE
    (person,) = dataset.splits["train"][0].people
    np.testing.assert_allclose(person.keypoints[:, 0], [0.4 * names.index(name) for name in CROWDPOSE.keypoints])


def test_tasks_without_annotation_are_left_out_and_of_several_the_first_counts(save: Save) -> None:
    cancelled = {"result": [point("tip", 1, 1)], "was_cancelled": True}
    kept, other = {"result": [point("left_tip", 50, 50)]}, {"result": [point("right_tip", 9, 9)]}
    path = save(
        task() | {"annotations": [cancelled, kept, other]},
        task(image="/data/local-files/?d=pictures/deep%2Fb.png") | {"annotations": [cancelled]},
        task(point("right_tip", 1, 1), image="https://there.org/b.png?size=3"),
    )
    dataset = read_label_studio(path)
    assert dataset.skeleton.keypoints == ("left_tip", "right_tip")
    assert [image.source.name for image in dataset.splits["train"]] == ["a.png", "b.png"]
    assert [doubt.partition("export.json: ")[2] for doubt in dataset.doubts] == [
        "1 tasks have several annotations: the first counts (task 7 is the first)",
        "1 tasks have no annotation: left out (task 7 is the first)",
    ]


TIP = point("tip", 50, 50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tasks": []}, r"export\.json: it is not of Label Studio's export JSON"),
        ([{"image": "a.png", "keypoints": []}], "missing required field `data`"),
        ([task(point("tip", 100.2, 50))], r"task 7: the x of 'tip' is 100\.2; it must be from 0 to 100"),
        ([task(point("tip", 50, -1))], "the y of 'tip' is -1.0; it must be from 0 to 100"),
        ([task(TIP, rectangle(60, 0, 50, 50))], "a side of a rectangle is 110.0; it must be from 0 to 100"),
        ([task(TIP | {"value": {"x": "left"}})], r"task 7: keypointlabels is not of .* got `str` - at `\$\.value\.x`"),
        ([task({"type": "keypointlabels", "value": {"x": 1, "y": 1}})], "missing required field `original_width`"),
        ([task(TIP | {"original_width": 20})], r"is \(20, 20\); it must be the image file's, \(40, 20\)"),
        ([task(TIP | {"image_rotation": 90})], "a rotation is 90.0; it must be 0"),
        ([task(TIP | {"value": {"x": "\ud800"}})], "task 7: keypointlabels has a text with half a surrogate pair"),
        ([task(point("", 50, 50))], r"export\.json: keypoints is \[''\]; it must be"),
        ([task(TIP, TIP)], "a second keypoint 'tip' of one person; a rectangle around each person"),
        ([task()], "the number of keypoints is 0; it must be at least 1"),
        ([task(TIP, image="photo.heic")], "'data' names no image; the suffixes are"),
        ([task(TIP, image="absent.png")], "its image absent.png must be once below the export's folder, and is not"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(save: Save, tmp_path: Path, content: Any, message: str) -> None:
    save()
    (tmp_path / "export.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as told:
        read_label_studio(tmp_path / "export.json")
    assert "\n" not in str(told.value)


def test_an_image_that_is_there_twice_must_be_told_by_its_folder(
    save: Save, draw: Callable[[Path], Path], tmp_path: Path
) -> None:
    draw(tmp_path / "pictures/other/b.png")
    with pytest.raises(InputError, match=r"b\.png must be once"):
        read_label_studio(save(task(TIP, image="https://there.org/b.png")))
    dataset = read_label_studio(save(task(TIP, image="/data/local-files/?d=deep/b.png")))
    assert dataset.splits["train"][0].file_name == "pictures/deep/b.png"


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), (b"[\xff]", "is not JSON")])
def test_a_file_that_is_no_json(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "export.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"export\.json: {message}"):
        read_label_studio(tmp_path / "export.json")
