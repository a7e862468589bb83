import cv2
import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.data.synthetic.figures import SUBPIXEL_BITS, Person
from litepose_ofa.supernet.data.synthetic.labels import crowd_index, find_owners, label_people
from litepose_ofa.supernet.data.synthetic.placement import Placer
from litepose_ofa.supernet.data.synthetic.poses import JOINT, Kinematics, joint_indices
from litepose_ofa.supernet.data.synthetic.settings import PeopleSettings
from litepose_ofa.supernet.data.synthetic.shapes import (
    LIMBS,
    SHADES,
    Shape,
    limb_part,
)

SETTINGS = PeopleSettings(
    image_size=(120, 90), person_height=(0.3, 0.9), truncated=0.3, varied_looks=True, self_occlusion=True
)
POSES = Kinematics(yaw_degrees=90, from_behind=0.4)


def draw_people(seed: int, count: int) -> list[Person]:
    rng = np.random.default_rng(seed)
    people = [Person.in_image(Placer(SETTINGS, POSES).anywhere(rng), SETTINGS.image_size) for _ in range(count)]
    return sorted(people, key=lambda person: person.figure.stature)


def covered_by(shape: Shape) -> np.ndarray:
    """Which pixels of the whole image a shape covers, by itself."""
    width, height = SETTINGS.image_size
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
    width, height = SETTINGS.image_size
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


def test_shapes_are_painted_from_far_to_near() -> None:
    for person in draw_people(1, 30):
        depth, order = person.figure.pose.depth, [shape.part for shape in person.shapes]
        middles = {
            limb_part(bone, side): depth[[JOINT[f"{side}_{limb.start}"], JOINT[f"{side}_{limb.end}"]]].mean()
            for bone, limb in enumerate(LIMBS)
            for side in SHADES
        }
        painted = list(dict.fromkeys(part for part in order if part in middles))
        assert [middles[part] for part in painted] == sorted(middles.values())
        assert all((order.index(part) < order.index(1)) == (middle < 0) for part, middle in middles.items())


def test_boxes_and_areas_are_those_of_the_pixels() -> None:
    for seed in range(8):
        people = draw_people(seed, 3)
        owners = find_owners(people, SETTINGS.image_size)
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
    assert crowd_index(keypoints, boxes) == pytest.approx((3 / 3 + 1 / 4 + 0) / 3)
    assert crowd_index(keypoints[:1], boxes[:1]) == 0
    together = np.repeat(keypoints[1:2], 5, axis=0)
    assert crowd_index(together, np.repeat(boxes[:1] + 3, 5, axis=0)) == 1
