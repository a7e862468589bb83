"""Keypoint sets: names, limbs, mirror pairs and OKS constants; the known ones, and any other from a mapping.

Sources: COCO keypoints (arXiv:1405.0312, sigmas from pycocotools); CrowdPose (arXiv:1812.00324, its evaluation API).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, Self, get_args

from litepose_ofa.supernet.errors import InputError, require

AreaRule = Literal["annotation", "box"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of a dataset, in the order of its annotations.

    Attributes:
        name: What messages and exported files call it.
        keypoints: K names.
        limbs: Pairs of keypoint indices from 0, for drawing.
        sigmas: K OKS constants.
        area: The OKS area of a person: the annotation's ``area``, or 0.53 x box width x height.
        flip_pairs: Pairs of keypoint indices that a mirror swaps; the others are in the middle of the body.

    Raises:
        InputError: If the parts do not fit together; the message names the field.
    """

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[Pair, ...]
    sigmas: tuple[float, ...]
    area: AreaRule
    flip_pairs: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        require(isinstance(self.name, str) and bool(self.name), "name", self.name, "a text")
        _require_names(self.keypoints)
        _require_pairs("limbs", self.limbs, self.num_keypoints)
        _require_pairs("flip_pairs", self.flip_pairs, self.num_keypoints)
        for index, count in Counter(index for pair in self.flip_pairs for index in pair).items():
            if count > 1:
                name = self.keypoints[index]
                raise InputError(f"flip_pairs: {name!r} is in {count} pairs; a keypoint must be in one at most")
        allowed = f"{self.num_keypoints} numbers above 0, one a keypoint"
        valid = len(self.sigmas) == self.num_keypoints and all(map(_is_positive, self.sigmas))
        require(valid, "sigmas", list(self.sigmas), allowed)
        require(self.area in get_args(AreaRule), "area", self.area, f"one of {', '.join(get_args(AreaRule))}")

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.keypoints)

    @cached_property
    def flip_indices(self) -> tuple[int, ...]:
        """For every keypoint the index of its mirror image (itself in the middle of the body)."""
        indices = list(range(self.num_keypoints))
        for left, right in self.flip_pairs:
            indices[left], indices[right] = right, left
        return tuple(indices)

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Build a skeleton from plain values; ``limbs`` and ``flip_pairs`` name keypoints or count them from 0.

        Raises:
            InputError: If a key is unknown or missing, or a value is impossible; the message names it.

        Example:
            >>> Skeleton.from_dict(
            ...     {
            ...         "name": "hands",
            ...         "keypoints": ["left", "right"],
            ...         "limbs": [["left", "right"]],
            ...         "flip_pairs": [["left", "right"]],
            ...         "sigmas": [0.06, 0.06],
            ...         "area": "box",
            ...     }
            ... ).flip_indices
            (1, 0)
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping):
            raise InputError(f"it is {values!r}; it must be a mapping with the keys {', '.join(known)}")
        for key in values:
            require(key in known, "a key", key, f"one of {', '.join(known)}")
        for key in known:
            if key not in values:
                raise InputError(f"the key {key!r} is missing; needed: {', '.join(known)}")
        for key in ("keypoints", "limbs", "sigmas", "flip_pairs"):
            require(isinstance(values[key], list | tuple), key, values[key], "a list")
        keypoints = tuple(values["keypoints"])
        _require_names(keypoints)
        return cls(
            name=values["name"],
            keypoints=keypoints,
            limbs=_index_pairs("limbs", values["limbs"], keypoints),
            sigmas=tuple(values["sigmas"]),
            area=values["area"],
            flip_pairs=_index_pairs("flip_pairs", values["flip_pairs"], keypoints),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values with pairs as names, as ``from_dict`` reads them."""
        return {
            "name": self.name,
            "keypoints": list(self.keypoints),
            "limbs": self._named(self.limbs),
            "flip_pairs": self._named(self.flip_pairs),
            "sigmas": list(self.sigmas),
            "area": self.area,
        }

    def _named(self, pairs: Sequence[Pair]) -> list[list[str]]:
        return [[self.keypoints[index] for index in pair] for pair in pairs]

    def difference(self, other: "Skeleton") -> str | None:
        """Say in what the keypoints of another skeleton differ from these; None if names and order are the same."""
        if other.num_keypoints != self.num_keypoints:
            return f"{other.num_keypoints} keypoints, not {self.num_keypoints}"
        for index, (own, others) in enumerate(zip(self.keypoints, other.keypoints, strict=True)):
            if own != others:
                return f"{others!r} as keypoint {index}, not {own!r}"
        return None


def _require_names(keypoints: Sequence[object]) -> None:
    named = bool(keypoints) and all(isinstance(name, str) and name for name in keypoints)
    require(named and len(set(keypoints)) == len(keypoints), "keypoints", list(keypoints), "a list of different names")


def _require_pairs(field: str, pairs: Sequence[Pair], num_keypoints: int) -> None:
    allowed = f"two different keypoints, by name or as numbers from 0 to {num_keypoints - 1}"
    for pair in pairs:
        known = all(type(index) is int and 0 <= index < num_keypoints for index in pair)
        require(known and len(set(pair)) == len(pair) == 2, f"{field}: a pair", list(pair), allowed)


def _index_pairs(field: str, pairs: Sequence[object], keypoints: tuple[str, ...]) -> tuple[Pair, ...]:
    """Turn pairs of names or indices into pairs of indices."""
    indices = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(f"{field}: a pair is {pair!r}; it must be a list of two keypoints")
        for name in pair:
            allowed = f"one of {', '.join(keypoints)}"
            require(not isinstance(name, str) or name in keypoints, f"{field}: a keypoint", name, allowed)
        first, second = (keypoints.index(name) if isinstance(name, str) else name for name in pair)
        indices.append((first, second))
    return tuple(indices)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


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
    flip_pairs=tuple((left, left + 1) for left in range(1, 17, 2)),
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
    flip_pairs=tuple((left, left + 1) for left in range(0, 12, 2)),
)

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO, CROWDPOSE)}


def get_skeleton(name: str) -> Skeleton:
    """Return a known skeleton.

    Raises:
        InputError: If the name is unknown; the message lists the known ones.
    """
    if not isinstance(name, str) or name not in SKELETONS:
        raise InputError(f"unknown skeleton {name!r}; known: {', '.join(SKELETONS)}")
    return SKELETONS[name]
