"""What is drawn is where the people are, in their colours, and nothing else is."""

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from litepose_ofa.supernet.data.coco.reader import read_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.pictures.drawing import (
    SAMPLE_SIDE,
    draw_annotated,
    draw_people,
    draw_samples,
    make_sheet,
    person_colour,
    resized_with_people,
)

Array = npt.NDArray[Any]

DOT = Skeleton("dot", ("middle",), (), (0.1,), "box", ())
BAR = Skeleton("bar", ("left", "right"), ((0, 1),), (0.1, 0.1), "box", ((0, 1),))


def background(width: int, height: int) -> Array:
    return np.random.default_rng(0).integers(100, 120, (height, width, 3), np.uint8)


def ring(skeleton: Skeleton, centre: tuple[float, float], radius: float) -> Array:
    """A person whose joints lie on a circle, so that limbs are chords."""
    angles = np.linspace(0, 2 * math.pi, skeleton.num_keypoints, endpoint=False)
    person = np.ones((skeleton.num_keypoints, 3))
    person[:, 0], person[:, 1] = centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)
    return person


def changed(before: Array, after: Array) -> Array:
    different: Array = (before != after).any(axis=2)
    return different


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_limbs_have_the_colour_of_their_person_in_the_middle(skeleton: Skeleton) -> None:
    image = background(800, 400)
    people = np.stack([ring(skeleton, (200, 200), 150), ring(skeleton, (600, 200), 150)])
    drawn = draw_people(image, people, skeleton)
    for index, person in enumerate(people):
        for start, end in skeleton.limbs:
            x, y = ((person[start, :2] + person[end, :2]) / 2).astype(int)
            assert tuple(drawn[y, x]) == person_colour(index)
        for x, y in person[:, :2].astype(int):
            assert tuple(drawn[y, x]) == person_colour(index)


def test_the_input_stays_as_it_is() -> None:
    image, people = background(200, 200), ring(CROWDPOSE, (100, 100), 80)[None]
    kept, kept_people = image.copy(), people.copy()
    drawn = draw_people(image, people, CROWDPOSE, scores=np.array([0.5]))
    assert changed(image, drawn).any()
    np.testing.assert_array_equal(image, kept)
    np.testing.assert_array_equal(people, kept_people)


@pytest.mark.parametrize("joint", range(CROWDPOSE.num_keypoints))
def test_nothing_is_drawn_of_a_missing_joint(joint: int) -> None:
    image, person = background(400, 400), ring(CROWDPOSE, (200, 200), 150)
    x, y = person[joint, :2].astype(int)
    person[joint, 2] = 0
    drawn = draw_people(image, person[None], CROWDPOSE)
    assert not changed(image, drawn)[y - 3 : y + 4, x - 3 : x + 4].any()
    for limb in CROWDPOSE.limbs:
        if joint not in limb:
            x, y = person[list(limb), :2].mean(axis=0).astype(int)
            assert tuple(drawn[y, x]) == person_colour(0)
    person[:, 2] = 0
    np.testing.assert_array_equal(draw_people(image, person[None], CROWDPOSE, scores=np.ones(1)), image)
    np.testing.assert_array_equal(draw_people(image, person[:0, None].reshape(0, 14, 3), CROWDPOSE), image)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -1e12, 2000.0])
def test_a_joint_at_an_impossible_place_counts_as_missing(value: float) -> None:
    image = background(300, 200)
    people = np.array([[[value, 100, 1], [150, 100, 1]]])
    drawn = draw_people(image, people, BAR, scores=np.array([0.3]))
    assert tuple(drawn[100, 150]) == person_colour(0)
    assert not changed(image, drawn)[:, :100].any()
    assert not changed(image, drawn)[:, 200:].any()


def test_the_first_person_is_on_top() -> None:
    person = ring(CROWDPOSE, (200, 200), 150)
    drawn = draw_people(background(400, 400), np.stack([person, person]), CROWDPOSE)
    x, y = person[[12, 13], :2].mean(axis=0).astype(int)
    assert tuple(drawn[y, x]) == person_colour(0)


@pytest.mark.parametrize("point", [(100.5, 80.5), (60.0, 91.25), (121.75, 40.0)])
def test_pixel_i_covers_i_to_i_plus_1(point: tuple[float, float]) -> None:
    image = np.zeros((160, 200, 3), np.uint8)
    drawn = draw_people(image, np.array([[[*point, 1.0]]]), DOT).astype(float).sum(axis=2)
    rows, columns = np.indices(drawn.shape)
    centre = [(drawn * (grid + 0.5)).sum() / drawn.sum() for grid in (columns, rows)]
    np.testing.assert_allclose(centre, point, atol=0.1)


def test_a_score_is_written_in_the_colour_of_its_person_and_inside_the_picture() -> None:
    for point in ((2.0, 2.0), (298.0, 2.0), (150.0, 100.0), (298.0, 198.0)):
        image = background(300, 200)
        people = np.array([[[*point, 1.0]]])
        with_score = draw_people(image, people, DOT, scores=np.array([0.87]))
        label = changed(draw_people(image, people, DOT), with_score)
        rows, columns = np.nonzero(label)
        assert len(rows) > 100
        box = with_score[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        coloured = (box == person_colour(0)).all(axis=2).mean()
        assert 0.4 < coloured < 0.95, "a box of the colour with dark digits on it"
        assert box.min() < 60
    others = [draw_people(image, people, DOT, scores=np.array([score])) for score in (0.11, 0.99)]
    assert changed(*others).any()


def test_a_picture_too_small_for_the_score_has_none() -> None:
    image = background(12, 12)
    people = np.array([[[6.0, 6.0, 1.0]]])
    np.testing.assert_array_equal(
        draw_people(image, people, DOT, scores=np.array([0.5])), draw_people(image, people, DOT)
    )
    assert draw_people(background(1, 1), people * 0.1, DOT, scores=np.array([0.5])).shape == (1, 1, 3)


@pytest.mark.parametrize(("size", "side"), [((60, 40), 240), ((400, 800), 100), ((500, 1), 50)])
def test_people_move_with_a_resized_picture(size: tuple[int, int], side: int) -> None:
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    x, y = width // 2, height // 2
    image[y, x] = 255
    resized, people = resized_with_people(image, np.array([[[x + 0.5, y + 0.5, 1.0]]]), side)
    assert max(resized.shape[:2]) == side
    weights = resized[..., 0].astype(float)
    rows, columns = np.indices(weights.shape)
    centre = [(weights * (grid + 0.5)).sum() / weights.sum() for grid in (columns, rows)]
    np.testing.assert_allclose(people[0, 0, :2], centre, atol=0.5)
    assert people[0, 0, 2] == 1


def test_a_sheet_has_its_pictures_in_the_middle_of_their_cells() -> None:
    pictures = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    pictures.append(np.full((2, 2, 3), 40, np.uint8))
    sheet = make_sheet(pictures, columns=3, gap=2)
    assert sheet.shape == (2 * 4 + 2, 3 * 6 + 2 * 2, 3)
    assert (sheet[:4, 8:14] == 20).all()
    assert (sheet[7:9, 2:4] == 40).all()
    assert (sheet[6:, 8:] == 255).all()
    assert make_sheet(pictures[:1], columns=5).shape == (4, 6, 3)


@pytest.fixture
def images(tmp_path: Path) -> AnnotatedImages:
    """Two images of 40 x 30: a person at the left and a crowd at the right; nobody."""
    pictures = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in range(2)]
    person = {"id": 1, "image_id": 0, "keypoints": [4, 10, 2, 14, 20, 1], "bbox": [2, 5, 14, 20]}
    crowd = {"id": 2, "image_id": 0, "keypoints": [], "bbox": [30, 0, 10, 10], "iscrowd": 1}
    (tmp_path / "people.json").write_text(json.dumps({"images": pictures, "annotations": [person, crowd]}))
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((30, 40, 3), 60, np.uint8))
    return AnnotatedImages(read_annotations(tmp_path / "people.json", BAR), tmp_path)


def test_skeleton_box_and_mask_are_drawn_where_they_are(images: AnnotatedImages) -> None:
    drawn = draw_annotated(images, 0)
    scale = SAMPLE_SIDE // 40

    def at(x: float, y: float) -> list[int]:
        return [int(value) for value in drawn[round(y * scale), round(x * scale)]]

    assert drawn.shape == (30 * scale, SAMPLE_SIDE, 3)
    assert at(20, 15) == at(25, 2) == at(35, 20) == [60, 60, 60]
    red, green, _ = at(35, 5)
    assert red > 120 > 60 > green, "the crowd"
    assert at(9, 15) != [60, 60, 60], "the limb"
    for x, y in ((2, 15), (16, 15), (9, 5), (9, 25)):
        assert at(x, y) != [60, 60, 60], "the box"
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
