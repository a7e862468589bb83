"""Poses of people to render, and kinematics of our own that draw them.

Legend: J joints of the body (``BODY_JOINTS``), K keypoints of a skeleton.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.skeletons import Skeleton

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

TORSO_LENGTH = 0.33
SHOULDER_WIDTH = 0.24
"""Both as fractions of a person's stature, like every length below."""


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
    depth: npt.NDArray[np.float64]
    stature: float

    @property
    def extent(self) -> Points:
        """Width and height that the present joints span."""
        extent: Points = self.points[self.present].max(axis=0)
        return extent


class PoseSource(Protocol):
    """Where poses come from."""

    def sample(self, rng: np.random.Generator) -> Pose:
        """Draw a pose."""


@dataclass(frozen=True, slots=True)
class Kinematics:
    """Standing, walking and waving bodies: joint angles drawn inside human ranges, seen by a distant camera.

    Attributes:
        lean_degrees: Largest sideways lean.
        yaw_degrees: Largest turn away from facing the camera, or from facing away from it.
        from_behind: Probability of facing away.
    """

    lean_degrees: float = 12.0
    yaw_degrees: float = 45.0
    from_behind: float = 0.0

    def sample(self, rng: np.random.Generator) -> Pose:
        """Draw a pose."""
        body = upright_body(left=_random_angles(rng), right=_random_angles(rng))
        yaw = math.radians(rng.uniform(-self.yaw_degrees, self.yaw_degrees) + 180 * (rng.random() < self.from_behind))
        lean = math.radians(rng.uniform(-self.lean_degrees, self.lean_degrees))
        turned = np.column_stack(
            [
                math.cos(yaw) * body[:, 0] + math.sin(yaw) * body[:, 2],
                body[:, 1],
                math.cos(yaw) * body[:, 2] - math.sin(yaw) * body[:, 0],
            ]
        )
        rotation = np.array([[math.cos(lean), -math.sin(lean)], [math.sin(lean), math.cos(lean)]])
        present = np.ones(len(BODY_JOINTS), bool)
        present[FACE] = turned[FACE, 2] > -0.02  # what the head itself hides is not labelled
        return normalise_pose(turned[:, :2] @ rotation.T, present, turned[:, 2], stature=1.0)


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
    return np.array(
        [sign * math.sin(aside), math.cos(aside) * math.cos(forwards), math.cos(aside) * math.sin(forwards)]
    )


def normalise_pose(points: Points, present: Flags, depth: npt.NDArray[np.float64], stature: float) -> Pose:
    """Scale and shift a body, shape (J, 2), as a ``Pose`` demands; depth and stature are in the unit of the points."""
    low = points[present].min(axis=0)
    unit = float((points[present].max(axis=0) - low).max())
    return Pose((points - low) / unit, present, depth / unit, stature / unit)


def estimate_statures(points: Points) -> npt.NDArray[np.float64]:
    """Estimate standing heights from torsos (N, J, 2), by length or width: bending and turning shorten one of them."""
    left_shoulder, right_shoulder, left_hip, right_hip = np.moveaxis(points[:, TORSO], 1, 0)
    length = np.linalg.norm(left_shoulder + right_shoulder - left_hip - right_hip, axis=-1) / 2
    width = np.linalg.norm(left_shoulder - right_shoulder, axis=-1)
    statures: npt.NDArray[np.float64] = np.maximum(length / TORSO_LENGTH, width / SHOULDER_WIDTH)
    return statures
