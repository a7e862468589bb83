"""Poses of people to render: drawn by kinematics of our own, or taken from a COCO-format annotation file.

Legend: N people, J joints of the body (``BODY_JOINTS``), K keypoints of a skeleton.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.coco.reader import load_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError

Points = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BODY_JOINTS = (
    *(f"{side}_{part}" for part in ("shoulder", "elbow", "wrist") for side in ("left", "right")),
    *(f"{side}_{part}" for part in ("hip", "knee", "ankle") for side in ("left", "right")),
    *("head", "neck", "nose", "left_eye", "right_eye", "left_ear", "right_ear"),
)
"""The union of what the skeletons name; "head" is the top of the head."""

JOINT = {name: index for index, name in enumerate(BODY_JOINTS)}
TORSO = [JOINT[f"{side}_{part}"] for part in ("shoulder", "hip") for side in ("left", "right")]
FACE = [JOINT[name] for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
CORE = [*TORSO, JOINT["head"], JOINT["neck"]]
LIMB_CHAINS = tuple(
    tuple(JOINT[f"{side}_{part}"] for part in parts)
    for side in ("left", "right")
    for parts in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
)

TORSO_LENGTH = 0.33
SHOULDER_WIDTH = 0.24
"""Both as fractions of a person's stature, like every length below."""

MOST_MISSING = 3
"""An annotated pose may lack this many keypoints."""

BEHIND_TORSO = 0.3
"""Share of annotated limbs that are drawn behind their torso, which nobody annotates."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """One body in the plane of the image.

    Attributes:
        points: x right, y down, shape (J, 2); the longer side of the extent is 1 and its corner is at the origin.
        present: Which joints are known, shape (J,).
        depth: Nearness to the camera, shape (J,), in the unit of the points; the torso's centre is at 0.
        stature: Standing height in the unit of the points.
    """

    points: Points
    present: Flags
    depth: Points
    stature: float

    @property
    def extent(self) -> Points:
        """Width and height that the present joints span."""
        extent: Points = self.points[self.present].max(axis=0)
        return extent


@dataclass(frozen=True, slots=True)
class Kinematics:
    """Standing, walking and waving bodies: joint angles drawn inside human ranges, seen by a distant camera.

    The settings are those of ``PeopleSettings``.
    """

    lean_degrees: float = 12.0
    yaw_degrees: float = 45.0
    from_behind: float = 0.0

    def sample(self, rng: np.random.Generator) -> Pose:
        """Draw a pose."""
        body = upright_body(left=_random_angles(rng), right=_random_angles(rng))
        yaw = math.radians(rng.uniform(-self.yaw_degrees, self.yaw_degrees) + 180 * (rng.random() < self.from_behind))
        lean = math.radians(rng.uniform(-self.lean_degrees, self.lean_degrees))
        x, y, z = body.T
        ahead = math.cos(yaw) * z - math.sin(yaw) * x
        turned = np.column_stack([math.cos(yaw) * x + math.sin(yaw) * z, y])
        rotation = np.array([[math.cos(lean), -math.sin(lean)], [math.sin(lean), math.cos(lean)]])
        present = np.ones(len(BODY_JOINTS), bool)
        present[FACE] = ahead[FACE] > -0.02  # what the head itself hides is not labelled
        return normalise_pose(turned @ rotation.T, present, ahead, stature=1.0)


def joint_indices(skeleton: Skeleton) -> list[int]:
    """Return each keypoint's place in ``BODY_JOINTS``, K numbers."""
    return [JOINT[name] for name in skeleton.keypoints]


def _mirrored(name: str) -> str:
    side, _, part = name.partition("_")
    return {"left": f"right_{part}", "right": f"left_{part}"}.get(side, name)


MIRROR = [JOINT[_mirrored(name)] for name in BODY_JOINTS]


class SideAngles(NamedTuple):
    """Joint angles of one side in degrees; abduction is away from the body, flexion forwards."""

    arm_abduction: float = 0.0
    arm_flexion: float = 0.0
    elbow_bend: float = 0.0
    forearm_turn: float = 0.0
    leg_abduction: float = 0.0
    leg_flexion: float = 0.0
    knee_bend: float = 0.0


def _random_angles(rng: np.random.Generator) -> SideAngles:
    arm = 5 + 110 * rng.random() ** 2, rng.uniform(-35, 70), rng.uniform(0, 100), rng.uniform(-30, 30)
    leg = rng.uniform(1, 22), rng.uniform(-25, 45), rng.uniform(0, 60)
    return SideAngles(*arm, *leg)


def upright_body(left: SideAngles, right: SideAngles) -> Points:
    """Return the joints of an upright body of stature 1, (J, 3): x to its left, y down from the crown, z ahead."""
    body = np.zeros((len(BODY_JOINTS), 3))
    body[JOINT["neck"]] = 0, 0.15, 0
    body[JOINT["nose"]] = 0, 0.09, 0.07
    for side, sign, angles in (("left", 1.0, left), ("right", -1.0, right)):
        abduction, flexion, bend, turn = angles[:4]
        shoulder = np.array([SHOULDER_WIDTH / 2 * sign, 0.19, 0])
        elbow = shoulder + 0.175 * _direction(flexion, abduction, sign)
        wrist = elbow + 0.165 * _direction(flexion + bend, abduction + turn, sign)
        abduction, flexion, bend = angles[4:]
        hip = np.array([0.075 * sign, 0.19 + TORSO_LENGTH, 0])
        knee = hip + 0.225 * _direction(flexion, abduction, sign)
        ankle = knee + 0.22 * _direction(flexion - bend, abduction * 0.5, sign)
        body[JOINT[f"{side}_eye"]] = 0.027 * sign, 0.065, 0.06
        body[JOINT[f"{side}_ear"]] = 0.058 * sign, 0.075, 0
        body[[JOINT[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist")]] = shoulder, elbow, wrist
        body[[JOINT[f"{side}_{part}"] for part in ("hip", "knee", "ankle")]] = hip, knee, ankle
    return body


def _direction(flexion: float, abduction: float, sign: float) -> Points:
    """Return where a hanging bone points, shape (3,), after swinging forwards and away from the body (degrees)."""
    forwards, aside = math.radians(flexion), math.radians(abduction)
    down, ahead = math.cos(aside) * math.cos(forwards), math.cos(aside) * math.sin(forwards)
    return np.array([sign * math.sin(aside), down, ahead])


STANDING = upright_body(SideAngles(), SideAngles())[:, :2]
"""A body of stature 1 that faces the camera, shape (J, 2)."""


def normalise_pose(points: Points, present: Flags, depth: Points, stature: float) -> Pose:
    """Scale and shift a body, shape (J, 2), as a ``Pose`` demands; depth and stature are in the unit of the points."""
    low = points[present].min(axis=0)
    unit = float((points[present].max(axis=0) - low).max())
    return Pose((points - low) / unit, present, depth / unit, stature / unit)


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedPoses:
    """Poses of real people, mirrored half of the time.

    Attributes:
        points: Joints of N people in any unit, shape (N, J, 2).
        present: Which joints are labelled, shape (N, J); torso, head and neck are.
        complete: Fill in the missing joints, and draw which limbs are behind the torso.
    """

    points: Points
    present: Flags
    complete: bool = False

    @classmethod
    def load(cls, annotations: Path | str, skeleton: Skeleton, *, complete: bool = False) -> Self:
        """Take the nearly complete people of a COCO-format file; its images are not needed.

        Raises:
            InputError: If the file is not COCO keypoints of this skeleton, or has nobody with torso and head labelled.
        """
        records = AnnotatedImages(load_annotations(Path(annotations), skeleton), Path())
        keypoints = np.concatenate([record.keypoints for record in records])
        points = np.zeros((len(keypoints), len(BODY_JOINTS), 2))
        present = np.zeros(points.shape[:2], bool)
        indices = joint_indices(skeleton)
        points[:, indices], present[:, indices] = keypoints[..., :2], keypoints[..., 2] > 0
        missing = skeleton.num_keypoints - present[:, indices].sum(axis=1)
        _infer_heads(points, present)
        usable = present[:, CORE].all(axis=1) & (missing <= MOST_MISSING) & (_statures(points) > 0)
        if not usable.any():
            raise InputError(f"{annotations}: nobody has a torso, a head and at most {MOST_MISSING} keypoints missing")
        return cls(points[usable], present[usable], complete=complete)

    def sample(self, rng: np.random.Generator) -> Pose:
        """Draw a pose."""
        index = int(rng.integers(len(self.points)))
        points, present = self.points[index], self.present[index]
        if rng.random() < 0.5:
            points, present = points[MIRROR] * (-1.0, 1.0), present[MIRROR]
        stature = float(_statures(points[None])[0])
        if self.complete:
            points, present = complete_body(points, present)
            return normalise_pose(points, present, _limb_order(rng) * stature, stature)
        return normalise_pose(points, present, np.zeros(len(points)), stature)


PoseSource = Kinematics | AnnotatedPoses


def complete_body(points: Points, present: Flags) -> tuple[Points, Flags]:
    """Fill in the limbs that a person lacks, hanging as those of the standing body that fits torso and head best.

    A face is filled in if none of it is known and the shoulders show that it is seen. Torso, head and neck are known.
    Takes and returns joints, shape (J, 2), and which of them are known, shape (J,).
    """
    faces_away = points[TORSO[0], 0] < points[TORSO[1], 0]
    standing = STANDING[MIRROR] if faces_away else STANDING
    turn = _turn(standing[CORE], points[CORE])
    whole, known = points.copy(), present.copy()
    for start, middle, end in LIMB_CHAINS:
        if not known[middle]:
            hanging = (standing[middle] - standing[start]) @ turn
            whole[middle] = (whole[start] + whole[end]) / 2 if known[end] else whole[start] + hanging
        if not known[end]:
            whole[end] = whole[middle] + (standing[end] - standing[middle]) @ turn
        known[[middle, end]] = True
    if not present[FACE].any() and not faces_away:
        whole[FACE] = whole[JOINT["head"]] + (standing[FACE] - standing[JOINT["head"]]) @ turn
        known[FACE] = True
    return whole, known


def _turn(source: Points, target: Points) -> Points:
    """Return turn and scale, shape (2, 2), to be multiplied from the right, that fit points best by least squares."""
    x, y = (source - source.mean(axis=0)).T
    u, v = (target - target.mean(axis=0)).T
    cosine, sine = np.array([x @ u + y @ v, x @ v - y @ u]) / (x @ x + y @ y)
    return np.array([[cosine, sine], [-sine, cosine]])


def _infer_heads(points: Points, present: Flags) -> None:
    """Give people (N, J, 2) with labelled faces a neck and a crown, which COCO does not label (in place)."""
    shoulders = points[:, TORSO[:2]].mean(axis=1)
    faces = present[:, FACE]
    middle = (points[:, FACE] * faces[..., None]).sum(axis=1) / np.maximum(faces.sum(axis=1), 1)[:, None]
    for name, along in (("neck", 0.35), ("head", 1.7)):
        inferred = ~present[:, JOINT[name]] & faces.any(axis=1) & present[:, TORSO[:2]].all(axis=1)
        points[inferred, JOINT[name]] = (shoulders + along * (middle - shoulders))[inferred]
        present[inferred, JOINT[name]] = True


def _statures(points: Points) -> Points:
    """Estimate standing heights from torsos (N, J, 2), by length or width: bending and turning shorten one of them."""
    left_shoulder, right_shoulder, left_hip, right_hip = np.moveaxis(points[:, TORSO], 1, 0)
    length = np.linalg.norm(left_shoulder + right_shoulder - left_hip - right_hip, axis=-1) / 2
    width = np.linalg.norm(left_shoulder - right_shoulder, axis=-1)
    statures: Points = np.maximum(length / TORSO_LENGTH, width / SHOULDER_WIDTH)
    return statures


def _limb_order(rng: np.random.Generator) -> Points:
    """Draw which arms are behind the torso: depths over the stature, shape (J,)."""
    depth = np.zeros(len(BODY_JOINTS))
    for side in ("left", "right"):
        nearness = -0.1 if rng.random() < BEHIND_TORSO else rng.uniform(0.0, 0.1)
        depth[[JOINT[f"{side}_elbow"], JOINT[f"{side}_wrist"]]] = nearness
        depth[[JOINT[f"{side}_knee"], JOINT[f"{side}_ankle"]]] = rng.uniform(0.0, 0.1)
    return depth
