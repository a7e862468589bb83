"""Labels of rendered people: who covers whom, which joints show, how crowded an image is.

Legend: N people from the farthest to the nearest, K keypoints, H/W image. Places are in image pixels, pixel i covering
[i, i + 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.data.synthetic.figures import LIES_ON, Person
from litepose_ofa.supernet.data.synthetic.poses import joint_indices

Floats = npt.NDArray[np.float64]
Owners = npt.NDArray[np.int16]

NOBODY = -1


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What is annotated in one image.

    Attributes:
        keypoints: Shape (N, K, 3): x, y and visibility (0 not labelled, 1 hidden, 2 visible).
        boxes: Box of each whole person inside the image, hidden parts too, shape (N, 4): x, y, width, height.
        areas: Visible area of each person in square pixels, shape (N,).
    """

    keypoints: Floats
    boxes: Floats
    areas: Floats


def find_owners(people: Sequence[Person], image_size: tuple[int, int]) -> Owners:
    """Return whom each pixel shows, shape (H, W): the last of those who cover it, or ``NOBODY``."""
    owners = np.full(image_size[::-1], NOBODY, np.int16)
    for index, person in enumerate(people):
        owners[person.window][person.parts > 0] = index
    return owners


def label_people(people: Sequence[Person], owners: Owners, skeleton: Skeleton, *, self_occlusion: bool) -> Labels:
    """Label the people of an image.

    Args:
        people: From the farthest to the nearest.
        owners: Whom each pixel shows, shape (H, W).
        skeleton: The keypoints to label.
        self_occlusion: Whether a person's own parts hide joints, as other people do.
    """
    keypoints = np.zeros((len(people), skeleton.num_keypoints, 3))
    areas = np.zeros(len(people))
    joints = joint_indices(skeleton)
    for index, person in enumerate(people):
        keypoints[index] = _label(person, index, owners, joints, self_occlusion)
        areas[index] = np.count_nonzero(owners[person.window] == index)
    boxes = np.array([person.box for person in people], np.float64).reshape(-1, 4)
    return Labels(keypoints, boxes, areas)


def crowd_index(keypoints: Floats, boxes: Floats) -> float:
    """Return how much people are in each other's way, 0 to 1.

    Source: Li et al., CrowdPose (arXiv:1812.00324): the mean over people of other people's keypoints inside the
    person's box, over the person's own keypoints.

    Args:
        keypoints: Shape (N, K, 3).
        boxes: Shape (N, 4): x, y, width, height.
    """
    ratios = crowd_ratios(keypoints, boxes)
    return min(1.0, float(ratios.mean())) if len(ratios) else 0.0


def crowd_ratios(keypoints: Floats, boxes: Floats) -> Floats:
    """Return other people's keypoints inside each person's box over the person's own keypoints, shape (N,)."""
    labelled = keypoints[..., 2] > 0
    low, high = boxes[:, None, None, :2], boxes[:, None, None, :2] + boxes[:, None, None, 2:]
    places = keypoints[None, ..., :2]
    inside = (((places >= low) & (places <= high)).all(axis=-1) & labelled).sum(axis=-1)
    others = inside.sum(axis=1) - inside.diagonal()
    ratios: Floats = others / np.maximum(1, labelled.sum(axis=1))
    return ratios


def _label(person: Person, index: int, owners: Owners, joints: list[int], self_occlusion: bool) -> Floats:
    """Return the keypoints of one person, shape (K, 3)."""
    points, height, width = person.figure.points[joints], *owners.shape
    inside = ((points >= 0) & (points < (width, height))).all(axis=1)
    labelled = person.figure.pose.present[joints] & inside
    columns, rows = np.where(labelled[:, None], points, 0).astype(int).T
    hidden = owners[rows, columns] > index
    if self_occlusion and person.parts.size:
        bottom, right = np.array(person.parts.shape) - 1
        parts = person.parts[np.clip(rows - person.top, 0, bottom), np.clip(columns - person.left, 0, right)]
        hidden |= (parts > 0) & ~LIES_ON[joints, parts]
    visibility = np.where(hidden, 1, 2)
    return np.where(labelled[:, None], np.column_stack([points, visibility]), 0.0)
