"""Annotations that are legal and not what was meant: counted by id, warned of, and refused where they are the rule."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.data.coco.checking import report_uses
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.doubts import DOUBTS_OF_EVALUATION, require_meaningful
from litepose_ofa.supernet.data.coco.reader import load_annotations, read_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.findings import FindingLog, Kind
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError

Json = dict[str, Any]
WriteFolder = Callable[[Json], tuple[Path, Path]]

BY_ANNOTATION = dataclasses.replace(CROWDPOSE, area="annotation")
CORNERS = {"bbox": [100, 200, 300, 500]}


def change_scale(person: Json, scale: float, offset: float = 0) -> Json:
    keypoints = [value * scale + offset if place % 3 < 2 else value for place, value in enumerate(person["keypoints"])]
    return person | {"keypoints": keypoints}


@pytest.fixture
def people() -> Json:
    """Ten people of 200 x 300 pixels in an image of 400 x 600, each with an area of half their box."""
    shared = {"image_id": 1, "category_id": 1, "bbox": [100, 200, 200, 300], "area": 30_000.0, "num_keypoints": 14}
    points = {
        number: [value for k in range(14) for value in (100 + number + 14 * k, 200 + 22 * k, 2)]
        for number in range(1, 11)
    }
    return {
        "images": [{"id": 1, "file_name": "1.png", "width": 400, "height": 600}],
        "annotations": [{"id": number, "keypoints": keypoints, **shared} for number, keypoints in points.items()],
        "categories": [{"id": 1, "name": "person"}],
    }


DOUBTFUL = [
    (Kind.ODD_AREA, lambda person: person | {"area": 0}),
    (Kind.ODD_AREA, lambda person: person | {"area": 1}),
    (Kind.ODD_AREA, lambda person: person | {"area": 400 * 600}),
    (Kind.ODD_AREA, lambda person: person | {"area": 1e299}),
    (Kind.NORMALISED, lambda person: change_scale(person, 1 / 600)),
    (Kind.KEYPOINT_AT_ORIGIN, lambda person: person | {"keypoints": [0, 0, 2, *person["keypoints"][3:]]}),
    (Kind.KEYPOINTS_ELSEWHERE, lambda person: change_scale(person, 0.2) | {"area": 900}),
    (Kind.CORNER_BOX, lambda person: person | CORNERS),
    (Kind.SAME_PERSON, lambda person: person | {"keypoints": [150, 250, 2] + [0] * 39, "num_keypoints": 1}),
]


@pytest.mark.parametrize(("kind", "change"), DOUBTFUL)
def test_each_is_found_by_its_id_and_nothing_else_is(
    people: Json, write_folder: WriteFolder, kind: Kind, change: Callable[[Json], Json]
) -> None:
    found = FindingLog()
    read = read_annotations(write_folder(people)[0], BY_ANNOTATION, found)
    report_uses(read, found)
    assert found.counts == {}
    for place in (3, 6):
        people["annotations"][place] = change(people["annotations"][place])
    report_uses(read_annotations(write_folder(people)[0], BY_ANNOTATION, found), found)
    assert found.entries == {kind: [7] if kind is Kind.SAME_PERSON else [4, 7]}


@pytest.mark.parametrize(("kind", "change"), DOUBTFUL)
def test_few_are_warned_of_and_half_are_refused(
    people: Json,
    write_folder: WriteFolder,
    caplog: pytest.LogCaptureFixture,
    kind: Kind,
    change: Callable[[Json], Json],
) -> None:
    caplog.set_level(logging.WARNING)
    annotations, doubtful = people["annotations"], 6 if kind is Kind.SAME_PERSON else 5
    for changed in (doubtful - 1, doubtful):
        people["annotations"] = [change(person) for person in annotations[:changed]] + annotations[changed:]
        path, images = write_folder(people)
        records = AnnotatedImages(load_annotations(path, BY_ANNOTATION), images)
        caplog.clear()
        if changed == doubtful:
            with pytest.raises(InputError, match=r"people\.json: 5 of 10 people \(annotation \d is the first\): "):
                require_meaningful(records, path, DOUBTS_OF_EVALUATION)
        else:
            require_meaningful(records, path, DOUBTS_OF_EVALUATION)
            (line,) = caplog.messages
            assert f"4 of 10 people (annotation {annotations[0]['id'] + (doubtful == 6)} is the first)" in line
            assert line.endswith(kind.meaning)


def test_keypoints_may_leave_the_image_and_the_box_but_not_all(people: Json, write_folder: WriteFolder) -> None:
    people["annotations"][0] = change_scale(people["annotations"][0], 1, offset=250) | {"bbox": [350, 450, 200, 300]}
    people["annotations"][1] = change_scale(people["annotations"][1], 1, offset=320) | {"bbox": [420, 520, 200, 300]}
    people["annotations"][2] = change_scale(people["annotations"][2], 2) | {"bbox": [0, 0, 0, 0]}
    found = FindingLog()
    report_uses(read_annotations(write_folder(people)[0], BY_ANNOTATION, found), found)
    assert found.entries == {
        Kind.EMPTY_BOX: [3],
        Kind.KEYPOINT_OUTSIDE: [1, 2, 3],
        Kind.KEYPOINTS_ELSEWHERE: [2],
    }


def test_the_people_of_the_images_in_question_count(people: Json, write_folder: WriteFolder) -> None:
    people["images"].append({"id": 2, "file_name": "2.png", "width": 400, "height": 600})
    for person in people["annotations"][:3]:
        person.update(image_id=2, area=0)
    path, images = write_folder(people)
    records = AnnotatedImages(load_annotations(path, BY_ANNOTATION), images)
    require_meaningful(records, path, DOUBTS_OF_EVALUATION)
    require_meaningful(records[:1], path, DOUBTS_OF_EVALUATION)
    with pytest.raises(InputError, match="3 of 3 people"):
        require_meaningful(records[1:], path, DOUBTS_OF_EVALUATION)


def test_a_training_refuses_what_is_not_in_pixels(people: Json, write_folder: WriteFolder) -> None:
    people["annotations"] = [change_scale(person, 1 / 600) | {"area": 0} for person in people["annotations"]]
    dataset = KeypointDataset.load(*write_folder(people), BY_ANNOTATION)
    with pytest.raises(InputError, match=r"10 of 10 people .* between 0 and 1: they must be in pixels"):
        dataset.with_people()
    for person in people["annotations"]:
        person["keypoints"] = [
            value * (1 if place % 3 == 2 else 600) for place, value in enumerate(person["keypoints"])
        ]
    assert len(KeypointDataset.load(*write_folder(people), BY_ANNOTATION).with_people()) == 1, "no area is needed"


def test_a_box_that_gives_the_area_must_have_one(people: Json, write_folder: WriteFolder) -> None:
    people["annotations"][0]["bbox"] = [100, 200, 0, 300]
    people["annotations"][1]["bbox"] = [100, 200, -5, -5]
    people["annotations"][2]["area"] = 0
    found = FindingLog()
    report_uses(read_annotations(write_folder(people)[0], CROWDPOSE, found), found)
    assert found.entries == {Kind.EMPTY_BOX: [1, 2], Kind.ODD_AREA: [1, 2]}


def test_people_of_several_categories_are_named(people: Json, write_folder: WriteFolder) -> None:
    people["categories"] = [
        {"id": number, "name": str(number), "keypoints": list(CROWDPOSE.keypoints)} for number in (7, 8, 9)
    ]
    for place, person in enumerate(people["annotations"]):
        person["category_id"] = 8 + place % 2
    found = FindingLog()
    annotations = read_annotations(write_folder(people)[0], BY_ANNOTATION, found)
    assert found.entries == {Kind.SEVERAL_CATEGORIES: [8, 9]}
    assert found.examples[Kind.SEVERAL_CATEGORIES].endswith("one of 2 that count as person, with 5 annotations")
    assert (annotations.categories, len(annotations.ids)) == ((8, 9), 10)
