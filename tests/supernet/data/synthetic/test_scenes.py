import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.data.synthetic.drawing import SUBPIXEL_BITS, Person
from litepose_ofa.supernet.data.synthetic.figures import Shape, limb_part
from litepose_ofa.supernet.data.synthetic.poses import Kinematics, Pose, joint_indices
from litepose_ofa.supernet.data.synthetic.scenes import (
    Labels,
    PeopleSettings,
    SceneBuilder,
    find_owners,
    label_people,
    render_scene,
)
from litepose_ofa.supernet.evaluation.keypoint_ap import CROWD_LEVELS

CROWD = PeopleSettings(image_size=(200, 160), people=(4, 6), person_height=(0.4, 0.7), max_overlap=1.0)


def render(seed: int, settings: PeopleSettings, skeleton: Skeleton = CROWDPOSE) -> tuple[np.ndarray, Labels]:
    poses = Kinematics(settings.lean_degrees, settings.yaw_degrees, settings.from_behind)
    return render_scene(np.random.default_rng(seed), settings, skeleton, poses)


class Upright:
    """Always the same pose: kinematics with one seed."""

    def sample(self, rng: np.random.Generator) -> Pose:
        return Kinematics(lean_degrees=0, yaw_degrees=0, from_behind=0).sample(np.random.default_rng(0))


def test_labels_lie_in_boxes_and_boxes_in_the_image() -> None:
    for seed in range(20):
        image, labels = render(seed, CROWD, COCO)
        assert image.shape == (160, 200, 3)
        x, y, width, height = labels.boxes.T
        assert (x >= 0).all()
        assert (y >= 0).all()
        assert (x + width <= 200).all()
        assert (y + height <= 160).all()
        assert (labels.areas <= width * height).all()
        assert set(np.unique(labels.keypoints[..., 2])) <= {0, 1, 2}
        np.testing.assert_array_equal(labels.keypoints[labels.keypoints[..., 2] == 0], 0)
        bodies = labels.keypoints[:, 5:]  # the face may lie on the edge of the head
        for person, (low_x, low_y, box_width, box_height) in zip(bodies, labels.boxes, strict=True):
            inside = person[person[:, 2] > 0, :2]
            assert (inside >= (low_x - 1, low_y - 1)).all()
            assert (inside <= (low_x + box_width + 1, low_y + box_height + 1)).all()


def test_what_a_nearer_person_covers_is_labelled_hidden() -> None:
    """Two equal people drawn in one place: the later one hides every joint of the earlier."""
    settings = PeopleSettings(people=(2, 2), person_height=(0.95, 0.95), max_overlap=1.0, grain=0)
    found = 0
    for seed in range(30):
        _, labels = render_scene(np.random.default_rng(seed), settings, CROWDPOSE, Upright())
        hidden = labels.keypoints[..., 2] == 1
        assert not hidden[-1].any(), "nobody stands in front of the last"
        low, high = labels.boxes[-1, :2], labels.boxes[-1, :2] + labels.boxes[-1, 2:]
        points = labels.keypoints[0, hidden[0], :2]
        assert ((points >= low) & (points <= high)).all()
        found += int(hidden[0].sum())
    assert found > 20


def test_people_keep_their_distance_and_size() -> None:
    settings = PeopleSettings(people=(2, 3), person_height=(0.3, 0.6), max_overlap=0.0)
    for seed in range(20):
        _, labels = render(seed, settings)
        points = labels.keypoints[..., :2]
        low, high = points.min(axis=1), points.max(axis=1)
        longest = (high - low).max(axis=1) / 160
        assert (longest > 0.28).all()
        assert (longest < 0.62).all()
        for a in range(len(points)):
            for b in range(a):
                assert (np.minimum(high[a], high[b]) <= np.maximum(low[a], low[b]) + 1).any()


EVERYTHING = PeopleSettings(
    image_size=(160, 120),
    people=(1, 5),
    person_height=(0.2, 0.9),
    log_heights=True,
    crowd_index=((0.0, 1.0),),
    truncated=0.3,
    crowd_regions=0.5,
    from_behind=0.3,
    yaw_degrees=80.0,
    varied_looks=True,
    self_occlusion=True,
    clutter=1.0,
)


def test_crowds_are_masked_beside_the_labelled() -> None:
    plain = dataclasses.replace(EVERYTHING, crowd_regions=1.0, clutter=0.0, truncated=0.0)
    masked = 0
    for seed in range(10):
        _, labels = render(seed, plain)
        if labels.crowd is not None:
            visible = labels.keypoints[labels.keypoints[..., 2] == 2][:, :2].astype(int)
            own = labels.crowd[visible[:, 1], visible[:, 0]]
            assert own.mean() < 0.1, "hardly a joint stands off its own body"
            masked += int(labels.crowd.sum())
    assert masked > 1000


def test_truncated_people_lose_some_joints_not_all() -> None:
    cut = dataclasses.replace(EVERYTHING, truncated=1.0, crowd_index=(), people=(1, 1), crowd_regions=0.0)
    for seed in range(20):
        _, labels = render(seed, cut)
        labelled = labels.keypoints[0, :, 2] > 0
        assert 3 <= labelled.sum() < 14
        x, y, width, height = labels.boxes[0]
        assert min(x, y, 160 - x - width, 120 - y - height) == 0


pairs = st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(lambda pair: tuple(sorted(pair)))
shares = st.sampled_from([0.0, 0.5, 1.0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    skeleton=st.sampled_from([COCO, CROWDPOSE]),
    values=st.fixed_dictionaries(
        {
            "image_size": st.tuples(st.integers(32, 96), st.integers(32, 96)),
            "people": st.tuples(st.integers(1, 3), st.integers(3, 6)),
            "person_height": pairs,
            "log_heights": st.booleans(),
            "crowd_index": st.sampled_from([(), ((0.0, 0.2),), ((0.2, 0.8),), ((0.8, 1.0),), ((0.45, 0.55),)]),
            "truncated": shares,
            "crowd_regions": shares,
            "from_behind": shares,
            "yaw_degrees": st.sampled_from([0.0, 45.0, 90.0]),
            "varied_looks": st.booleans(),
            "self_occlusion": st.booleans(),
            "clutter": shares,
            "grain": st.sampled_from([0, 60]),
        }
    ),
)
def test_any_settings_render(seed: int, skeleton: Skeleton, values: dict[str, object]) -> None:
    wanted = PeopleSettings(**values)  # type: ignore[arg-type]
    image, labels = render(seed, wanted, skeleton)
    width, height = wanted.image_size
    assert image.shape == (height, width, 3)
    assert 1 <= len(labels.keypoints) <= wanted.people[1]
    labelled = labels.keypoints[labels.keypoints[..., 2] > 0]
    assert (labelled[:, :2] >= 0).all()
    assert (labelled[:, :2] < wanted.image_size).all()
    assert (labels.areas <= labels.boxes[:, 2] * labels.boxes[:, 3]).all()
    assert labels.crowd is None or labels.crowd.any()


MIXED = PeopleSettings(
    image_size=(120, 90), person_height=(0.3, 0.9), truncated=0.3, varied_looks=True, self_occlusion=True
)
POSES = Kinematics(yaw_degrees=90, from_behind=0.4)


def draw_people(seed: int, count: int) -> list[Person]:
    scene = SceneBuilder(np.random.default_rng(seed), MIXED, CROWDPOSE, POSES)
    people = [scene.in_image(scene.anywhere()) for _ in range(count)]
    return sorted(people, key=lambda person: person.figure.stature)


def covered_by(shape: Shape) -> np.ndarray:
    """Which pixels of the whole image a shape covers, by itself."""
    width, height = MIXED.image_size
    mask = np.zeros((height, width), np.uint8)
    fixed = np.rint((shape.places - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    if len(fixed) == 1:
        x, y = (shape.places[0] - 0.5).tolist()
        cv2.ellipse(mask, ((x, y), shape.size[:2], shape.size[2]), 1, -1)
    elif len(fixed) == 2:
        start, end = fixed.tolist()
        cv2.line(mask, start, end, 1, int(shape.size[0]), cv2.LINE_8, SUBPIXEL_BITS)
    else:
        cv2.fillPoly(mask, [fixed], 1, cv2.LINE_8, SUBPIXEL_BITS)
    return mask > 0


def own_parts(name: str) -> set[int]:
    """Parts on which a joint lies, written out from the anatomy: 1 torso, 2 head, then the limbs."""
    side, _, joint = name.partition("_")
    limbs = {"hip": [0], "knee": [0, 1], "ankle": [1], "shoulder": [2], "elbow": [2, 3], "wrist": [3]}
    if joint in limbs:
        return {limb_part(bone, side) for bone in limbs[joint]} | ({1} if joint in ("hip", "shoulder") else set())
    return {1, 2} if name == "neck" else {2}


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_visibility_equals_a_depth_buffer(skeleton: Skeleton) -> None:
    """Every shape goes into a buffer at its depth; a joint shows where the nearest one at its pixel is its own."""
    counts = {0: 0, 1: 0, 2: 0}
    width, height = MIXED.image_size
    for seed in range(12):
        people = draw_people(seed, 4)
        depth, nearest = np.full((height, width), -1), np.zeros((height, width, 2), int)
        depth_of_shape = 0
        for owner, person in enumerate(people):
            for shape in person.shapes:
                depth_of_shape += 1
                nearer = covered_by(shape) & (depth < depth_of_shape)
                depth[nearer], nearest[nearer] = depth_of_shape, (owner, shape.part)
        labels = label_people(people, find_owners(people, (width, height)), skeleton, self_occlusion=True)
        for owner, person in enumerate(people):
            for k, joint in enumerate(joint_indices(skeleton)):
                x, y = person.figure.points[joint]
                known = person.figure.pose.present[joint] and 0 <= x < width and 0 <= y < height
                expected = 0
                if known:
                    seen_owner, seen_part = nearest[int(y), int(x)]
                    drawn = depth[int(y), int(x)] >= 0
                    other_part = seen_owner == owner and seen_part not in own_parts(skeleton.keypoints[k])
                    expected = 1 if drawn and (seen_owner > owner or other_part) else 2
                assert labels.keypoints[owner, k, 2] == expected
                counts[expected] += 1
    assert min(counts.values()) > 10


def test_boxes_and_areas_are_those_of_the_pixels() -> None:
    for seed in range(8):
        people = draw_people(seed, 3)
        owners = find_owners(people, MIXED.image_size)
        labels = label_people(people, owners, CROWDPOSE, self_occlusion=True)
        for index, person in enumerate(people):
            rows, columns = np.nonzero(np.any([covered_by(shape) for shape in person.shapes], axis=0))
            box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
            np.testing.assert_array_equal(labels.boxes[index], box)
            assert labels.areas[index] == (owners == index).sum()


def test_the_crowd_index_by_hand() -> None:
    keypoints = np.zeros((3, 4, 3))
    keypoints[0, :, :] = [(1, 1, 2), (2, 2, 2), (8, 8, 1), (0, 0, 0)]
    keypoints[1, :, :] = [(9, 9, 2), (7, 7, 1), (5, 5, 2), (3, 3, 2)]
    keypoints[2, 0] = (50, 50, 2)
    boxes = np.array([(0, 0, 8, 8), (3, 3, 6, 6), (40, 40, 20, 20)], float)
    # person 0: three of person 1's in the box, three own; person 1: one, four own; person 2: none
    assert Labels(keypoints, boxes, boxes[:, 0]).crowd_index == round((3 / 3 + 1 / 4 + 0) / 3, 2)
    assert Labels(keypoints[:1], boxes[:1], boxes[:1, 0]).crowd_index == 0
    together = np.repeat(keypoints[1:2], 5, axis=0)
    assert Labels(together, np.repeat(boxes[:1] + 3, 5, axis=0), boxes[:, 0]).crowd_index == 1


LEVELS = PeopleSettings(image_size=(160, 120), people=(1, 6), person_height=(0.1, 0.85), log_heights=True)


@pytest.mark.parametrize("level", CROWD_LEVELS)
@pytest.mark.parametrize("count", [1, 2, 6])
def test_images_are_as_crowded_as_wanted(level: str, count: int) -> None:
    low, high = np.clip(CROWD_LEVELS[level], 0, 1)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        skeleton = (COCO, CROWDPOSE)[seed % 2]
        people = SceneBuilder(rng, LEVELS, skeleton, Kinematics()).crowded_people(count, low, high)
        labels = label_people(people, find_owners(people, (160, 120)), skeleton, self_occlusion=True)
        assert low <= labels.crowd_index < high or labels.crowd_index == high == 1
        assert len(people) <= max(count, 2)
        assert (labels.areas > 0).all()


def test_a_range_that_moves_do_not_reach_is_reached_by_a_pair() -> None:
    """Two people of fixed size meet a narrow range only by luck, until their distance is scanned."""
    fixed = PeopleSettings(image_size=(160, 120), people=(2, 2), person_height=(0.8, 0.8))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        people = SceneBuilder(rng, fixed, CROWDPOSE, Kinematics()).crowded_people(2, 0.5, 0.6)
        labels = label_people(people, find_owners(people, (160, 120)), CROWDPOSE, self_occlusion=False)
        assert 0.5 - 0.08 <= labels.crowd_index <= 0.6 + 0.08
