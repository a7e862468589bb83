import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.data.synthetic.poses import (
    BODY_JOINTS,
    CORE,
    FACE,
    JOINT,
    MIRROR,
    STANDING,
    AnnotatedPoses,
    Kinematics,
    Pose,
    complete_body,
    joint_indices,
)
from litepose_ofa.supernet.errors import InputError


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


def test_real_poses_of_crowdpose(reference_path: Callable[[str], Path]) -> None:
    poses = AnnotatedPoses.load(reference_path("data/crowdpose_val.json"), CROWDPOSE)
    assert len(poses.points) > 3000
    rng = np.random.default_rng(0)
    for _ in range(100):
        pose = poses.sample(rng)
        assert_normalised(pose)
        assert pose.present[joint_indices(CROWDPOSE)].sum() >= 11
        assert 0 < pose.stature < 10


def write_one_person(folder: Path, skeleton: Skeleton, places: dict[str, tuple[float, float]]) -> Path:
    keypoints = [value for name in skeleton.keypoints for value in (*places.get(name, (0, 0)), 2 * (name in places))]
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 100, "height": 200}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 100, 200], "keypoints": keypoints}],
    }
    path = folder / "people.json"
    path.write_text(json.dumps(content))
    return path


def test_a_coco_person_gets_neck_and_head_and_is_mirrored(tmp_path: Path) -> None:
    height = {"shoulder": 40.0, "elbow": 60.0, "wrist": 80.0, "hip": 100.0, "knee": 130.0, "ankle": 160.0}
    sides = (("left", 60.0), ("right", 40.0))
    places = {f"{side}_{part}": (x, y) for part, y in height.items() for side, x in sides}
    poses = AnnotatedPoses.load(
        write_one_person(tmp_path, COCO, {**places, "nose": (50.0, 20.0), "left_eye": (52.0, 18.0)}), COCO
    )
    rng = np.random.default_rng(0)
    eyes_seen = set()
    for _ in range(20):
        pose = poses.sample(rng)
        assert_normalised(pose)
        crown, neck, shoulder = (pose.points[JOINT[name]][1] for name in ("head", "neck", "left_shoulder"))
        assert crown < neck < shoulder
        assert pose.points[JOINT["left_hip"], 0] > pose.points[JOINT["right_hip"], 0], "a mirror swaps the names too"
        eyes_seen.add((bool(pose.present[JOINT["left_eye"]]), bool(pose.present[JOINT["right_eye"]])))
    assert eyes_seen == {(True, False), (False, True)}


def test_a_file_without_a_usable_pose(tmp_path: Path) -> None:
    path = write_one_person(tmp_path, CROWDPOSE, {"head": (3.0, 4.0)})
    with pytest.raises(InputError, match="nobody has a torso"):
        AnnotatedPoses.load(path, CROWDPOSE)


def test_completed_poses_lack_no_limb(reference_path: Callable[[str], Path]) -> None:
    poses = AnnotatedPoses.load(reference_path("data/crowdpose_val.json"), CROWDPOSE, complete=True)
    rng = np.random.default_rng(0)
    for _ in range(50):
        pose = poses.sample(rng)
        assert_normalised(pose)
        assert pose.present[joint_indices(CROWDPOSE)].all()


@pytest.mark.parametrize("away", [False, True])
def test_a_standing_body_is_completed_exactly(away: bool) -> None:
    """Torso and head give the similarity back, and what is known is left as it is."""
    body = STANDING[MIRROR] if away else STANDING
    truth = 50 * body @ np.array([[0.6, 0.8], [-0.8, 0.6]]) + (7.0, 9.0)
    present = np.isin(np.arange(len(BODY_JOINTS)), CORE)
    whole, known = complete_body(np.where(present[:, None], truth, -1.0), present)
    np.testing.assert_allclose(whole[known], truth[known], atol=1e-9)
    np.testing.assert_array_equal(whole[present], truth[present])
    assert known[joint_indices(CROWDPOSE)].all()
    assert known[FACE].all() == (not away)


def test_a_missing_elbow_lies_between_shoulder_and_wrist() -> None:
    points = Kinematics().sample(np.random.default_rng(3)).points
    present = np.ones(len(BODY_JOINTS), bool)
    present[JOINT["left_elbow"]] = False
    whole, _ = complete_body(points, present)
    ends = points[[JOINT["left_shoulder"], JOINT["left_wrist"]]]
    np.testing.assert_allclose(whole[JOINT["left_elbow"]], ends.mean(axis=0))
