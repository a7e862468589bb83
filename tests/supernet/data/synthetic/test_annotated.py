import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.data.synthetic.annotated import AnnotatedLayouts, AnnotatedPoses, Layout
from litepose_ofa.supernet.data.synthetic.completion import complete_body, infer_heads
from litepose_ofa.supernet.data.synthetic.poses import (
    BODY_JOINTS,
    FACE,
    JOINT,
    MIRROR,
    TORSO,
    Kinematics,
    Pose,
    SideAngles,
    joint_indices,
    upright_body,
)
from litepose_ofa.supernet.data.synthetic.scenes import PeopleSettings, render_scene
from litepose_ofa.supernet.errors import InputError

ANNOTATED = PeopleSettings(image_size=(200, 120), placement="annotated", self_occlusion=True)
STANDING = upright_body(SideAngles(), SideAngles())[:, :2]
EVERYTHING = np.ones(len(BODY_JOINTS), bool)


def assert_normalised(pose: Pose) -> None:
    points = pose.points[pose.present]
    np.testing.assert_allclose(points.min(axis=0), 0, atol=1e-12)
    assert points.max() == pytest.approx(1)
    np.testing.assert_allclose(pose.extent, points.max(axis=0))


def test_real_poses_of_crowdpose(reference_path: Callable[[str], Path]) -> None:
    poses = AnnotatedPoses.load(reference_path("data/crowdpose_val.json"), CROWDPOSE)
    assert len(poses) > 3000
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
@pytest.mark.parametrize(
    "keep", [("head", "neck"), ("left_shoulder", "right_shoulder"), ("neck", "left_hip"), tuple(BODY_JOINTS)]
)
def test_a_standing_body_is_completed_exactly(keep: tuple[str, ...], away: bool) -> None:
    """Any two trunk joints give the similarity back, and what is known is left as it is."""
    body = STANDING[MIRROR] if away else STANDING
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    truth = 50 * body @ turn + (7.0, 9.0)
    present = np.isin(BODY_JOINTS, keep)
    completed = complete_body(np.where(present[:, None], truth, -1.0), present)
    assert completed is not None
    whole, known, stature = completed
    sides_known = not away or {"left_shoulder", "right_shoulder"} <= set(keep)
    if sides_known:
        np.testing.assert_allclose(whole[known], truth[known], atol=1e-9)
        assert known[FACE].all() == (not away or "nose" in keep)
        assert stature == pytest.approx(50)
    np.testing.assert_array_equal(whole[present], truth[present])
    assert known[joint_indices(CROWDPOSE)].all()


def test_a_missing_elbow_lies_between_shoulder_and_wrist() -> None:
    points = Kinematics().sample(np.random.default_rng(3)).points
    present = EVERYTHING.copy()
    present[JOINT["left_elbow"]] = False
    completed = complete_body(points, present)
    assert completed is not None
    ends = points[[JOINT["left_shoulder"], JOINT["left_wrist"]]]
    np.testing.assert_allclose(completed[0][JOINT["left_elbow"]], ends.mean(axis=0))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_joints_in_one_place_are_nobody(count: int) -> None:
    present = np.zeros(len(BODY_JOINTS), bool)
    present[TORSO[:count]] = True
    assert complete_body(np.full((len(BODY_JOINTS), 2), 5.0), present) is None


def test_heads_of_the_faceless_are_not_invented() -> None:
    present = np.zeros((1, len(BODY_JOINTS)), bool)
    present[0, TORSO] = True
    infer_heads(np.zeros((1, len(BODY_JOINTS), 2)), present)
    assert present.sum() == 4


def write_image(folder: Path, people: list[np.ndarray]) -> Path:
    content = {
        "images": [{"id": 5, "file_name": "5.jpg", "width": 100, "height": 200}],
        "annotations": [
            {"id": number, "image_id": 5, "bbox": [0, 0, 100, 200], "keypoints": person.ravel().tolist()}
            for number, person in enumerate(people)
        ],
    }
    path = folder / "annotated.json"
    path.write_text(json.dumps(content))
    return path


def test_annotated_people_are_rendered_where_they_are(tmp_path: Path) -> None:
    body = STANDING[joint_indices(CROWDPOSE)]
    whole = np.column_stack([100 * body + (40, 50), np.full(14, 2)])
    partly = np.column_stack([40 * body + (80, 100), [2, 1, 0, 2, 0, 2, 2, 2, 1, 0, 0, 2, 2, 1]])
    dot = np.zeros((14, 3))
    dot[0] = 10, 10, 2
    images = AnnotatedLayouts.load(write_image(tmp_path, [whole, partly, dot]), CROWDPOSE)
    scene = render_scene(np.random.default_rng(0), ANNOTATED, CROWDPOSE, images)
    assert scene.source_id == 5
    assert len(scene.keypoints) == 2, "one joint is nobody"
    for rendered, annotated in zip(scene.keypoints, (partly, whole), strict=True):
        known = annotated[:, 2] > 0
        expected = annotated[known, :2] * 120 / 200 + ((200 - 60) / 2, 0)
        np.testing.assert_allclose(rendered[known, :2], expected, atol=1e-4)
        assert (rendered[:, 2] > 0).all(), "what the annotations lack is drawn and labelled too"


def test_crowdpose_images_keep_their_people(reference_path: Callable[[str], Path]) -> None:
    path = reference_path("data/crowdpose_val.json")
    images = AnnotatedLayouts.load(path, CROWDPOSE)
    content = json.loads(path.read_text())
    sizes = {picture["id"]: (picture["width"], picture["height"]) for picture in content["images"]}
    found = 0
    for seed in range(10):
        scene = render_scene(np.random.default_rng(seed), ANNOTATED, CROWDPOSE, images)
        width, height = sizes[scene.source_id or 0]
        scale = min(200 / width, 120 / height)
        shift = (np.array([200, 120]) - scale * np.array([width, height])) / 2
        for person in content["annotations"]:
            keypoints = np.reshape(person["keypoints"], (-1, 3)).astype(float)
            known = keypoints[:, 2] > 0
            if person["image_id"] == scene.source_id and known.sum() > 3:
                expected = keypoints[known, :2] * scale + shift
                distances = np.abs(scene.keypoints[:, known, :2] - expected).max(axis=(1, 2))
                assert distances.min() < 1e-3
                found += 1
    assert found > 10


joints = st.tuples(st.floats(-1e4, 1e5), st.floats(-1e4, 1e5), st.sampled_from([0, 0, 1, 2]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    keypoints=st.lists(st.lists(joints, min_size=17, max_size=17), min_size=1, max_size=4),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
)
def test_any_annotation_renders(keypoints: list[list[tuple[float, float, int]]], width: int, height: int) -> None:
    people = np.array(keypoints)
    points, present = np.zeros((len(people), len(BODY_JOINTS), 2)), np.zeros((len(people), len(BODY_JOINTS)), bool)
    points[:, joint_indices(COCO)], present[:, joint_indices(COCO)] = people[..., :2], people[..., 2] > 0
    infer_heads(points, present)
    layouts = AnnotatedLayouts([Layout(1, (width, height), points, present)])
    scene = render_scene(np.random.default_rng(0), ANNOTATED, COCO, layouts)
    assert len(scene.keypoints) <= len(people)
    inside = scene.keypoints[scene.keypoints[..., 2] > 0][:, :2]
    assert ((inside >= 0) & (inside < ANNOTATED.image_size)).all()


def test_an_annotated_file_with_nobody(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody has two joints apart"):
        AnnotatedLayouts.load(write_image(tmp_path, [np.zeros((14, 3))]), CROWDPOSE)
