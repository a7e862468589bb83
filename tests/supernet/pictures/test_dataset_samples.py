import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from litepose_ofa.supernet.data.coco.reader import read_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.pictures.dataset_samples import SIDE, draw_annotated, draw_samples

LINE = Skeleton("line", ("left", "right"), ((0, 1),), (0.05, 0.05), "box", ((0, 1),))
GREY = [60, 60, 60]


@pytest.fixture
def images(tmp_path: Path) -> AnnotatedImages:
    """Two images of 40 x 30: a person at the left and a crowd at the right; nobody."""
    pictures = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(2)]
    person = {"id": 1, "image_id": 0, "keypoints": [4, 10, 2, 14, 20, 1], "bbox": [2, 5, 14, 20]}
    crowd = {"id": 2, "image_id": 0, "keypoints": [], "bbox": [30, 0, 10, 10], "iscrowd": 1}
    (tmp_path / "people.json").write_text(json.dumps({"images": pictures, "annotations": [person, crowd]}))
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((30, 40, 3), 60, np.uint8))
    return AnnotatedImages(read_annotations(tmp_path / "people.json", LINE), tmp_path)


def test_skeleton_box_and_mask_are_drawn_where_they_are(images: AnnotatedImages) -> None:
    drawn = draw_annotated(images, 0)
    scale = SIDE // 40

    def at(x: float, y: float) -> list[int]:
        return [int(value) for value in drawn[round(y * scale), round(x * scale)]]

    assert drawn.shape == (30 * scale, SIDE, 3)
    assert at(20, 15) == at(25, 2) == at(35, 20) == GREY
    red, green, _ = at(35, 5)
    assert red > 120 > GREY[1] > green, "the crowd"
    assert at(9, 15) != GREY, "the limb"
    for x, y in ((2, 15), (16, 15), (9, 5), (9, 25)):
        assert at(x, y) != GREY, "the box"
    assert max(at(14 - 0.5 / scale, 20 - 0.5 / scale)) < 40, "a hidden joint has a dark centre"
    assert max(at(4 - 0.5 / scale, 10 - 0.5 / scale)) > 100
    assert (draw_annotated(images, 1) == 60).all()


def test_images_with_people_come_first_and_what_cannot_be_read_is_passed_over(
    images: AnnotatedImages, tmp_path: Path
) -> None:
    one = draw_samples(images, 1, np.random.default_rng(0))
    assert one is not None
    np.testing.assert_array_equal(one, draw_annotated(images, 0))
    (tmp_path / "0.png").unlink()
    rest = draw_samples(images, 16, np.random.default_rng(0))
    assert rest is not None
    np.testing.assert_array_equal(rest, draw_annotated(images, 1))
    (tmp_path / "1.png").write_bytes(b"")
    assert draw_samples(images, 16, np.random.default_rng(0)) is None
