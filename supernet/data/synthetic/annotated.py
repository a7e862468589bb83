"""Poses to render from a COCO-format annotation file; its images are not needed.

Legend: N people, J joints of the body (``BODY_JOINTS``). Points are in pixels of the annotated image, or in any unit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from litepose_ofa.supernet.data.coco.records import read_records
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.data.synthetic.completion import complete_body, infer_heads
from litepose_ofa.supernet.data.synthetic.poses import (
    BODY_JOINTS,
    JOINT,
    MIRROR,
    TORSO,
    Flags,
    Points,
    Pose,
    estimate_statures,
    joint_indices,
    normalise_pose,
)
from litepose_ofa.supernet.errors import InputError

MOST_MISSING = 3
"""A pose to be put anywhere may lack this many keypoints."""

BEHIND_TORSO = 0.3
"""Share of annotated limbs that are drawn behind their torso, which nobody annotates."""

LEAST_STATURE = 6.0
"""Annotated people below this height in pixels are left out."""


class AnnotatedPoses:
    """Poses of real people, mirrored half of the time.

    Args:
        points: Joints of N people in any unit, shape (N, J, 2).
        present: Which joints are labelled, shape (N, J).
        complete: Fill in the missing joints, and draw which limbs are behind the torso.
    """

    def __init__(self, points: Points, present: Flags, *, complete: bool = False) -> None:
        self.points = points
        self.present = present
        self.complete = complete

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def load(cls, annotations: Path | str, skeleton: Skeleton, *, complete: bool = False) -> "AnnotatedPoses":
        """Take the nearly complete people of a COCO-format file.

        Raises:
            InputError: If the file is not COCO keypoints of this skeleton, or has nobody with torso and head labelled.
        """
        records = read_records(Path(annotations), Path(), skeleton)
        points, present = _bodies(np.concatenate([record.keypoints for record in records]), skeleton)
        missing = skeleton.num_keypoints - present[:, joint_indices(skeleton)].sum(axis=1)
        infer_heads(points, present)
        usable = present[:, [*TORSO, JOINT["head"], JOINT["neck"]]].all(axis=1) & (missing <= MOST_MISSING)
        usable &= estimate_statures(points) > 0
        if not usable.any():
            raise InputError(f"{annotations}: nobody has a torso, a head and at most {MOST_MISSING} keypoints missing")
        return cls(points[usable], present[usable], complete=complete)

    def sample(self, rng: np.random.Generator) -> Pose:
        """Draw a pose."""
        index = int(rng.integers(len(self)))
        points, present = self.points[index], self.present[index]
        if rng.random() < 0.5:
            points, present = points[MIRROR] * (-1.0, 1.0), present[MIRROR]
        stature = float(estimate_statures(points[None])[0])
        if self.complete:
            completed = complete_body(points, present)
            assert completed is not None, "the torso is labelled"
            points, present, _ = completed
            return normalise_pose(points, present, _limb_order(rng) * stature, stature)
        return normalise_pose(points, present, np.zeros(len(points)), stature)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The people of one annotated image.

    Attributes:
        id: Its id in the annotations.
        size: Width and height in pixels.
        points: Joints of N people in its pixels, shape (N, J, 2).
        present: Which joints are labelled, shape (N, J).
    """

    id: int
    size: tuple[int, int]
    points: Points
    present: Flags

    def place(self, rng: np.random.Generator, image_size: tuple[int, int]) -> list[tuple[Pose, Points, float]]:
        """Complete the people and scale them into an image of another size, centred, the aspect ratio kept.

        Returns:
            Each one's pose, joints in pixels of the new image, shape (J, 2), and stature in them. Whoever is too small
            to draw or has no two joints apart is left out.
        """
        scale = min(image_size[0] / self.size[0], image_size[1] / self.size[1])
        shift = (np.array(image_size) - scale * np.array(self.size)) / 2
        placed = []
        for points, present in zip(self.points, self.present, strict=True):
            completed = complete_body(points, present)
            if completed is None or not LEAST_STATURE <= scale * completed[2] <= 20 * max(image_size):
                continue
            whole, known, stature = completed
            depth = _limb_order(rng) * stature
            placed.append((normalise_pose(whole, known, depth, stature), whole * scale + shift, stature * scale))
        return placed


class AnnotatedLayouts:
    """Images whose people are to be rendered where they are.

    Args:
        images: The images, each with somebody in it.
    """

    def __init__(self, images: list[Layout]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def load(cls, annotations: Path | str, skeleton: Skeleton) -> Self:
        """Take the images of a COCO-format file with somebody who can be drawn.

        Raises:
            InputError: If the file is not COCO keypoints of this skeleton, or has nobody with two joints apart.
        """
        images = []
        for record in read_records(Path(annotations), Path(), skeleton):
            points, present = _bodies(record.keypoints, skeleton)
            infer_heads(points, present)
            drawable = [complete_body(*person) is not None for person in zip(points, present, strict=True)]
            if any(drawable):
                size = record.width, record.height
                images.append(Layout(record.id, size, points[drawable], present[drawable]))
        if not images:
            raise InputError(f"{annotations}: nobody has two joints apart")
        return cls(images)

    def sample(self, rng: np.random.Generator) -> Layout:
        """Draw an image."""
        return self.images[int(rng.integers(len(self)))]


def _bodies(keypoints: np.ndarray, skeleton: Skeleton) -> tuple[Points, Flags]:
    """Return the labelled joints of people (N, K, 3) as points, shape (N, J, 2), and flags, shape (N, J)."""
    points = np.zeros((len(keypoints), len(BODY_JOINTS), 2))
    present = np.zeros(points.shape[:2], bool)
    indices = joint_indices(skeleton)
    points[:, indices], present[:, indices] = keypoints[..., :2], keypoints[..., 2] > 0
    return points, present


def _limb_order(rng: np.random.Generator) -> Points:
    """Draw which arms are behind the torso: depths over the stature, shape (J,)."""
    depth = np.zeros(len(BODY_JOINTS))
    for side in ("left", "right"):
        nearness = -0.1 if rng.random() < BEHIND_TORSO else rng.uniform(0.0, 0.1)
        depth[[JOINT[f"{side}_elbow"], JOINT[f"{side}_wrist"]]] = nearness
        depth[[JOINT[f"{side}_knee"], JOINT[f"{side}_ankle"]]] = rng.uniform(0.0, 0.1)
    return depth
