import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.data.synthetic.poses import (
    BODY_JOINTS,
    JOINT,
    Kinematics,
    Pose,
    joint_indices,
)


def length(pose: Pose, start: str, end: str) -> float:
    """Length of a bone in three dimensions, over the stature."""
    ends = [JOINT[start], JOINT[end]]
    (dx, dy), dz = np.ptp(pose.points[ends], axis=0), np.ptp(pose.depth[ends])
    return float(np.sqrt(dx**2 + dy**2 + dz**2) / pose.stature)


def assert_normalised(pose: Pose) -> None:
    points = pose.points[pose.present]
    np.testing.assert_allclose(points.min(axis=0), 0, atol=1e-12)
    assert points.max() == pytest.approx(1)
    np.testing.assert_allclose(pose.extent, points.max(axis=0))


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_the_body_has_every_keypoint(skeleton: Skeleton) -> None:
    assert [BODY_JOINTS[index] for index in joint_indices(skeleton)] == list(skeleton.keypoints)


def test_bones_keep_their_lengths_whatever_the_pose() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        pose = Kinematics().sample(rng)
        assert_normalised(pose)
        for side in ("left", "right"):
            assert length(pose, f"{side}_shoulder", f"{side}_elbow") == pytest.approx(0.175)
            assert length(pose, f"{side}_elbow", f"{side}_wrist") == pytest.approx(0.165)
            assert length(pose, f"{side}_hip", f"{side}_knee") == pytest.approx(0.225)
            assert length(pose, f"{side}_knee", f"{side}_ankle") == pytest.approx(0.22)


def test_the_face_is_labelled_where_the_camera_sees_it() -> None:
    rng = np.random.default_rng(0)
    shoulders = [JOINT["left_shoulder"], JOINT["right_shoulder"]]
    for _ in range(30):
        facing, turned = Kinematics(from_behind=0).sample(rng), Kinematics(from_behind=1).sample(rng)
        assert facing.present[JOINT["nose"]]
        assert not turned.present[[JOINT["nose"], JOINT["left_eye"], JOINT["right_eye"]]].any()
        # who faces the camera has the left hand on its right side
        assert facing.points[shoulders[0], 0] > facing.points[shoulders[1], 0]
        assert turned.points[shoulders[0], 0] < turned.points[shoulders[1], 0]
