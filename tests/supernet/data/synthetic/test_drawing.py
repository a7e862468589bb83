import cv2
import numpy as np
import pytest

from litepose_ofa.supernet.data.synthetic.drawing import (
    Person,
    draw_background,
    draw_pattern,
    draw_person,
    pattern_tiles,
)
from litepose_ofa.supernet.data.synthetic.figures import LIMBS, Figure, limb_part, plain_look, varied_look
from litepose_ofa.supernet.data.synthetic.poses import Kinematics

SIZE = (160, 120)


def draw_alone(seed: int) -> tuple[np.ndarray, np.ndarray, Person]:
    """Somebody of varied looks before a dark wall: the picture, where no wall shows through, and the person."""
    rng = np.random.default_rng(seed)
    pose = Kinematics(yaw_degrees=90, from_behind=0.3).sample(rng)
    figure = Figure(pose, 100 * pose.points + (40, 10), 100 * pose.stature, varied_look(rng))
    person = Person.in_image(figure, SIZE)
    dark, light = (np.full((SIZE[1], SIZE[0], 3), wall, np.uint8) for wall in (0, 255))
    draw_person(dark, person)
    draw_person(light, person)
    return dark, (light.astype(int) - dark < 255 - 16).any(axis=-1), person


def test_boxes_contain_all_that_is_painted() -> None:
    for seed in range(30):
        _, painted, person = draw_alone(seed)
        x, y, width, height = person.box
        box = np.zeros_like(painted)
        box[max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1] = (
            True  # smooth edges fade out over one pixel
        )
        assert not (painted & ~box).any()


def test_every_pixel_of_a_person_is_painted() -> None:
    for seed in range(30):
        _, painted, person = draw_alone(seed)
        assert painted[person.window][cv2.erode(person.parts, np.ones((3, 3))) > 0].mean() > 0.999


def test_left_limbs_stay_lighter_than_right_under_any_pattern() -> None:
    compared = 0
    for seed in range(60):
        canvas, _, person = draw_alone(seed)
        brightness = canvas[person.window].sum(axis=-1)
        inner = cv2.erode(person.parts, np.ones((3, 3)))
        for bone in range(len(LIMBS)):
            left, right = (
                brightness[(inner == limb_part(bone, side)) & (person.parts == inner)] for side in ("left", "right")
            )
            if len(left) > 20 and len(right) > 20:
                assert np.median(left) > np.median(right)
                compared += 1
    assert compared > 100


def test_looks_vary() -> None:
    rng = np.random.default_rng(0)
    looks = [varied_look(rng) for _ in range(40)]
    assert len({look.skin for look in looks}) == 40
    assert {look.long_hair for look in looks} == {True, False}
    assert {look.cap is None for look in looks} == {True, False}
    assert len({look.bones[3] == look.skin for look in looks}) == 2
    assert np.ptp([look.widths for look in looks], axis=0).min() > 0.2
    plain = plain_look(rng)
    assert len(set(plain.widths)) == 1
    assert plain.shoes is None


@pytest.mark.parametrize("kind", range(len(pattern_tiles())))
def test_patterns_repeat_and_turn(kind: int) -> None:
    assert 90 < pattern_tiles()[kind].mean() < 165
    upright = draw_pattern(kind, 64, 48, period=16, degrees=0)
    assert upright.shape == (48, 64)
    np.testing.assert_array_equal(upright[:, :48], upright[:, 16:])
    np.testing.assert_array_equal(upright[:32], upright[16:])
    assert np.ptp(upright) > 100


def test_clutter_fills_the_background() -> None:
    def edges(clutter: float) -> float:
        images = [draw_background(np.random.default_rng(seed), 160, 120, clutter=clutter) for seed in range(8)]
        return float(np.mean([(cv2.Canny(image, 150, 300) > 0).mean() for image in images]))

    assert edges(1.0) > 1.3 * edges(0.2)
    plain = draw_background(np.random.default_rng(0), 160, 120)
    assert plain.shape == (120, 160, 3)
