"""A split that gives no AP, or a wrong one, is refused before a network is run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.reader import read_records
from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.comparison import compare_people, require_comparable
from litepose_ofa.supernet.files import read_json, write_json

Json = dict[str, Any]
PEOPLE_BY_BOX = dataclasses.replace(COCO, area="box")


@pytest.fixture
def load(tmp_path: Path, make_dataset: Callable[..., Json]) -> Callable[..., KeypointDataset]:
    """Write random people, changed, and load them with a skeleton."""

    def write_and_load(change: Callable[[Json], object], skeleton: Any = COCO) -> KeypointDataset:
        content = make_dataset(skeleton)
        for image in content["images"]:
            image.update(width=640, height=640)
        for annotation in content["annotations"]:
            change(annotation)
        path = tmp_path / "people.json"
        write_json(path, content)
        return KeypointDataset(path, tmp_path, skeleton, read_records(path, tmp_path, skeleton))

    return write_and_load


def to_corners(annotation: Json) -> None:
    """Move a person to the lower right, into the image, and write the box as two corners."""
    left, top, width, height = annotation["bbox"]
    points = [min(value + 300, 640) if place % 3 < 2 else value for place, value in enumerate(annotation["keypoints"])]
    corners = [left + 300, top + 300, min(left + width + 300, 640), min(top + height + 300, 640)]
    annotation.update(keypoints=points, bbox=corners)


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_good_people_are_comparable(load: Callable[..., KeypointDataset], skeleton: Any) -> None:
    require_comparable(load(lambda annotation: None, skeleton))


def test_boxes_as_corners_matter_where_they_give_the_area(load: Callable[..., KeypointDataset]) -> None:
    require_comparable(load(to_corners))
    with pytest.raises(InputError, match=r"people\.json: \d+ of \d+ people .*: a box that leaves the image"):
        require_comparable(load(to_corners, PEOPLE_BY_BOX))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda annotation: annotation.update(area=0), "an area that nobody in such a box"),
        (lambda annotation: annotation.pop("area"), "annotation 1 lacks the key 'area'"),
        (lambda annotation: annotation.update(iscrowd=1), "no labelled person in the 12 images to evaluate"),
        (lambda annotation: annotation.update(num_keypoints=0), "no labelled person in the 12 images to evaluate"),
    ],
)
def test_what_gives_no_ap_is_told_at_once(
    load: Callable[..., KeypointDataset], change: Callable[[Json], object], told: str
) -> None:
    with pytest.raises(InputError, match=f"people.json: .*{told}"):
        require_comparable(load(change))


def test_a_box_of_negative_width_is_like_nobody(
    load: Callable[..., KeypointDataset], noisy_predictions: Callable[..., list[Json]]
) -> None:
    dataset = load(
        lambda annotation: annotation["bbox"].__setitem__(2, -5) if annotation["id"] % 3 == 0 else None, CROWDPOSE
    )
    people = read_json(dataset.annotations_path)
    comparison = compare_people(dataset.annotations_path, noisy_predictions(people), CROWDPOSE)
    unmatched = comparison.truth.ids % 3 == 0
    assert (comparison.areas[unmatched] == 0).all()
    assert (comparison.areas[~unmatched] > 0).all()
    assert max(comparison.oks(image).max(initial=0) for image in range(comparison.num_images)) <= 1
