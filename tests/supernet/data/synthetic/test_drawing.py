import cv2
import numpy as np

from litepose_ofa.supernet.data.synthetic.drawing import Person, draw_person
from litepose_ofa.supernet.data.synthetic.figures import LIMBS, Figure, limb_part, varied_look
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


def test_left_limbs_stay_lighter_than_right_in_any_clothes() -> None:
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
