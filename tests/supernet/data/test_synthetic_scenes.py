import dataclasses

import numpy as np
import pytest

from supernet.data.skeletons import COCO, CROWDPOSE
from supernet.data.synthetic_poses import Kinematics, Pose
from supernet.data.synthetic_scenes import PeopleSettings, crowd_index, render_scene
from supernet.errors import InputError

CROWD = PeopleSettings(image_size=(200, 160), people=(4, 6), person_height=(0.4, 0.7), max_overlap=1.0)


class Upright:
    """Always the same pose: kinematics with one seed."""

    def sample(self, rng: np.random.Generator) -> Pose:
        return Kinematics(lean_degrees=0, yaw_degrees=0, from_behind=0).sample(np.random.default_rng(0))


def test_labels_lie_in_boxes_and_boxes_in_the_image() -> None:
    for seed in range(20):
        scene = render_scene(np.random.default_rng(seed), CROWD, COCO, Kinematics())
        assert scene.image.shape == (160, 200, 3)
        x, y, width, height = scene.boxes.T
        assert (x >= 0).all()
        assert (y >= 0).all()
        assert (x + width <= 200).all()
        assert (y + height <= 160).all()
        assert (scene.areas <= width * height).all()
        assert set(np.unique(scene.keypoints[..., 2])) <= {0, 1, 2}
        np.testing.assert_array_equal(scene.keypoints[scene.keypoints[..., 2] == 0], 0)
        bodies = scene.keypoints[:, 5:]  # the face may lie on the edge of the head
        for person, (low_x, low_y, box_width, box_height) in zip(bodies, scene.boxes, strict=True):
            inside = person[person[:, 2] > 0, :2]
            assert (inside >= (low_x - 1, low_y - 1)).all()
            assert (inside <= (low_x + box_width + 1, low_y + box_height + 1)).all()


def test_someone_alone_is_seen_whole() -> None:
    settings = PeopleSettings(people=(1, 1))
    for seed in range(20):
        scene = render_scene(np.random.default_rng(seed), settings, CROWDPOSE, Kinematics())
        assert (scene.keypoints[..., 2] == 2).all()


def test_what_a_nearer_person_covers_is_labelled_hidden() -> None:
    """Two equal people drawn in one place: the later one hides every joint of the earlier."""
    settings = PeopleSettings(people=(2, 2), person_height=(0.95, 0.95), max_overlap=1.0, grain=0)
    found = 0
    for seed in range(30):
        scene = render_scene(np.random.default_rng(seed), settings, CROWDPOSE, Upright())
        hidden = scene.keypoints[..., 2] == 1
        assert not hidden[-1].any(), "nobody stands in front of the last"
        low, high = scene.boxes[-1, :2], scene.boxes[-1, :2] + scene.boxes[-1, 2:]
        points = scene.keypoints[0, hidden[0], :2]
        assert ((points >= low) & (points <= high)).all()
        found += int(hidden[0].sum())
    assert found > 20


def test_left_limbs_are_lighter_than_right() -> None:
    """The rule that makes sides learnable; measured at the middle of the thighs."""
    settings = PeopleSettings(people=(1, 1), grain=0)
    lighter = 0
    for seed in range(40):
        scene = render_scene(np.random.default_rng(seed), settings, CROWDPOSE, Upright())
        person = scene.keypoints[0, :, :2]
        left, right = (person[[hip, hip + 2]].mean(axis=0).astype(int) for hip in (6, 7))
        lighter += int(scene.image[left[1], left[0]].sum() > scene.image[right[1], right[0]].sum())
    assert lighter == 40


def test_people_keep_their_distance_and_size() -> None:
    settings = PeopleSettings(people=(2, 3), person_height=(0.3, 0.6), max_overlap=0.0)
    for seed in range(20):
        scene = render_scene(np.random.default_rng(seed), settings, CROWDPOSE, Kinematics())
        points = scene.keypoints[..., :2]
        low, high = points.min(axis=1), points.max(axis=1)
        longest = (high - low).max(axis=1) / 160
        assert (longest > 0.28).all()
        assert (longest < 0.62).all()
        for a in range(len(points)):
            for b in range(a):
                assert (np.minimum(high[a], high[b]) <= np.maximum(low[a], low[b]) + 1).any()


def test_the_first_person_always_finds_room() -> None:
    crowded = dataclasses.replace(CROWD, people=(20, 20), max_overlap=0.0)
    scene = render_scene(np.random.default_rng(0), crowded, CROWDPOSE, Kinematics())
    assert 1 <= len(scene.keypoints) < 20


def test_the_crowd_index_by_hand() -> None:
    keypoints = np.zeros((3, 4, 3))
    keypoints[0, :, :] = [(1, 1, 2), (2, 2, 2), (8, 8, 1), (0, 0, 0)]
    keypoints[1, :, :] = [(9, 9, 2), (7, 7, 1), (5, 5, 2), (3, 3, 2)]
    keypoints[2, 0] = (50, 50, 2)
    boxes = np.array([(0, 0, 8, 8), (3, 3, 6, 6), (40, 40, 20, 20)], float)
    # person 0: three of person 1's in the box, three own; person 1: one, four own; person 2: none
    assert crowd_index(keypoints, boxes) == pytest.approx((3 / 3 + 1 / 4 + 0) / 3)
    assert crowd_index(keypoints[:1], boxes[:1]) == 0
    together = np.repeat(keypoints[1:2], 5, axis=0)
    assert crowd_index(together, np.repeat(boxes[:1] + 3, 5, axis=0)) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": [10, 160]}, "image_size is 10"),
        ({"image_size": [160.5, 160]}, "must be an integer"),
        ({"people": [0, 2]}, "people is 0"),
        ({"people": [3, 2]}, "the first must not exceed"),
        ({"people": 2}, "must be a pair"),
        ({"person_height": [0.5, 1.5]}, "person_height is 1.5"),
        ({"max_overlap": "much"}, "max_overlap is 'much'"),
        ({"jpeg_quality": 0}, "jpeg_quality is 0"),
        ({"colour": 3}, "unknown key 'colour'"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PeopleSettings.from_dict(values)


def test_settings_from_a_config() -> None:
    settings = PeopleSettings.from_dict({"image_size": 96, "people": [1, 3]})
    assert settings == PeopleSettings(image_size=(96, 96), people=(1, 3))
