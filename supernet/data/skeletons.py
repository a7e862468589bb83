"""Keypoint sets: names, limbs, mirror pairs and OKS constants.

Sources: COCO keypoints (arXiv:1405.0312, sigmas from pycocotools); CrowdPose (arXiv:1812.00324, its evaluation API).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from supernet.errors import InputError


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of a dataset, in the order of its annotations.

    Attributes:
        name: Its name in configs.
        keypoints: K names; mirrored pairs are ``left_*`` and ``right_*``.
        limbs: Pairs of keypoint indices from 0, for drawing.
        sigmas: K OKS constants.
        area: The OKS area of a person: the annotation's ``area``, or 0.53 x box width x height.
    """

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    area: Literal["annotation", "box"]

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.keypoints)

    @cached_property
    def flip_indices(self) -> tuple[int, ...]:
        """For every keypoint the index of its mirror image (itself in the middle of the body)."""
        mirrored = {"left": "right", "right": "left"}
        swapped = []
        for name in self.keypoints:
            side, _, part = name.partition("_")
            swapped.append(self.keypoints.index(f"{mirrored[side]}_{part}" if side in mirrored else name))
        return tuple(swapped)


COCO = Skeleton(
    name="coco",
    keypoints=(
        "nose",
        *(f"{side}_{part}" for part in ("eye", "ear", "shoulder", "elbow", "wrist") for side in ("left", "right")),
        *(f"{side}_{part}" for part in ("hip", "knee", "ankle") for side in ("left", "right")),
    ),
    limbs=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
        *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
    area="annotation",
)

CROWDPOSE = Skeleton(
    name="crowdpose",
    keypoints=(
        *(f"{side}_{part}" for part in ("shoulder", "elbow", "wrist") for side in ("left", "right")),
        *(f"{side}_{part}" for part in ("hip", "knee", "ankle") for side in ("left", "right")),
        "head",
        "neck",
    ),
    limbs=(
        *((12, 13), (13, 0), (13, 1), (0, 2), (2, 4), (1, 3), (3, 5)),
        *((0, 6), (1, 7), (6, 7), (6, 8), (8, 10), (7, 9), (9, 11)),
    ),
    sigmas=(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
    area="box",
)

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO, CROWDPOSE)}


def get_skeleton(name: str) -> Skeleton:
    """Return a known skeleton.

    Raises:
        InputError: If the name is unknown; the message lists the known ones.
    """
    if name not in SKELETONS:
        raise InputError(f"unknown skeleton {name!r}; known: {', '.join(SKELETONS)}")
    return SKELETONS[name]
