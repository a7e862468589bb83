"""Keypoint sets: names, limbs, mirror pairs and OKS constants; the known ones, and any other from a mapping.

Sources: COCO keypoints (arXiv:1405.0312, sigmas from pycocotools); CrowdPose (arXiv:1812.00324, its evaluation API).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.validation import Allowed, Checked, Positive, settings, validate

BOX_AREA_SHARE = 0.53
"""Area of a person in a box of area 1, by CrowdPose."""

AreaRule = Literal["annotation", "box"]
Pair = tuple[int, int]
Name = Annotated[str, Field(min_length=1), Allowed("a text")]


class _PlainSkeleton(Checked):
    """A skeleton in a file; pairs are of names or of numbers from 0."""

    name: Name
    keypoints: list[Name]
    limbs: list[list[str | int]]
    flip_pairs: list[list[str | int]]
    sigmas: list[Positive]
    area: AreaRule


@settings
class Skeleton:
    """The keypoints of a dataset, in the order of its annotations.

    Attributes:
        name: The name in messages and exported files.
        keypoints: K names.
        limbs: Pairs of keypoint indices from 0, for drawing.
        sigmas: K OKS constants.
        area: The OKS area of a person: the annotation's ``area``, or 0.53 x box width x height.
        flip_pairs: Pairs of keypoint indices that a mirror swaps; the others are in the middle of the body.
    """

    name: Name
    keypoints: tuple[Name, ...]
    limbs: tuple[Pair, ...]
    sigmas: tuple[Positive, ...]
    area: AreaRule
    flip_pairs: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        _check(self.keypoints, self.sigmas, {"limbs": self.limbs, "flip_pairs": self.flip_pairs})

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
        """
        if isinstance(values, Mapping):  # pydantic takes no tuples for lists
            values = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        plain = validate(_PlainSkeleton, values, "")
        _require_names(plain.keypoints)
        pairs = {name: _index_pairs(name, getattr(plain, name), plain.keypoints) for name in ("limbs", "flip_pairs")}
        _check(plain.keypoints, plain.sigmas, pairs)
        return cls(plain.name, tuple(plain.keypoints), sigmas=tuple(plain.sigmas), area=plain.area, **pairs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values with pairs as names, as ``from_dict`` reads them."""
        return {
            "name": self.name,
            "keypoints": list(self.keypoints),
            "limbs": [[self.keypoints[index] for index in pair] for pair in self.limbs],
            "flip_pairs": [[self.keypoints[index] for index in pair] for pair in self.flip_pairs],
            "sigmas": list(self.sigmas),
            "area": self.area,
        }

    def shared_with(self, other: "Skeleton") -> "Skeleton":
        """Return these keypoints without those that another skeleton does not have, by name.

        Raises:
            InputError: If it has none of them.
        """
        kept = [index for index, name in enumerate(self.keypoints) if name in other.keypoints]
        if not kept:
            raise InputError(f"the skeletons {self.name} and {other.name} share no keypoint")
        limbs, flip_pairs = (
            tuple((kept.index(a), kept.index(b)) for a, b in pairs if a in kept and b in kept)
            for pairs in (self.limbs, self.flip_pairs)
        )
        keypoints, sigmas = tuple(self.keypoints[index] for index in kept), tuple(self.sigmas[index] for index in kept)
        return Skeleton(self.name, keypoints, limbs, sigmas, self.area, flip_pairs)

    def difference(self, other: "Skeleton") -> str | None:
        """Say in what the keypoints of another skeleton differ from these; None if names and order are the same."""
        if other.num_keypoints != self.num_keypoints:
            return f"{other.num_keypoints} keypoints, not {self.num_keypoints}"
        for index, (own, others) in enumerate(zip(self.keypoints, other.keypoints, strict=True)):
            if own != others:
                return f"{others!r} as keypoint {index}, not {own!r}"
        return None


def _require_names(keypoints: Sequence[str]) -> None:
    require(0 < len(keypoints) == len(set(keypoints)), "keypoints", list(keypoints), "a list of different names")


def _check(keypoints: Sequence[str], sigmas: Sequence[float], pairs: Mapping[str, Sequence[Pair]]) -> None:
    """Refuse parts that do not fit together."""
    _require_names(keypoints)
    require(len(sigmas) == len(keypoints), "sigmas", list(sigmas), f"{len(keypoints)} numbers above 0, one a keypoint")
    allowed = f"two different keypoints, by name or as numbers from 0 to {len(keypoints) - 1}"
    for field, several in pairs.items():
        for pair in several:
            known = all(0 <= index < len(keypoints) for index in pair)
            require(known and len(set(pair)) == 2, f"{field}: a pair", list(pair), allowed)
    for index, count in Counter(index for pair in pairs["flip_pairs"] for index in pair).items():
        if count > 1:
            name = keypoints[index]
            raise InputError(f"flip_pairs: {name!r} is in {count} pairs; a keypoint must be in one at most")


def _index_pairs(field: str, pairs: Sequence[Sequence[str | int]], keypoints: Sequence[str]) -> tuple[Pair, ...]:
    """Turn pairs of names or indices into pairs of indices."""
    for pair in pairs:
        require(len(pair) == 2, f"{field}: a pair", list(pair), "a list of two keypoints")
        for name in pair:
            known = not isinstance(name, str) or name in keypoints
            require(known, f"{field}: a keypoint", name, f"one of {', '.join(keypoints)}")
    indexed = [[keypoints.index(name) if isinstance(name, str) else name for name in pair] for pair in pairs]
    return tuple((first, second) for first, second in indexed)


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
    """Return a known skeleton."""
    if not isinstance(name, str) or name not in SKELETONS:
        raise InputError(f"unknown skeleton {name!r}; known: {', '.join(SKELETONS)}")
    return SKELETONS[name]


def require_keypoints(
    what: str, count: int, skeleton: Skeleton, *, where: str = "dataset.skeleton", known: Skeleton | None = None
) -> None:
    """Refuse a network of ``count`` keypoints, or of the skeleton ``known``, unless they are those of ``skeleton``.

    The message begins with ``what``, the network, and says ``where`` the skeleton is stated.
    """
    if count != skeleton.num_keypoints:
        raise InputError(f"{what} of {count} keypoints; {where} {skeleton.name} has {skeleton.num_keypoints}")
    difference = None if known is None else skeleton.difference(known)
    if known is not None and difference is not None:
        raise InputError(f"{what} of the skeleton {known.name}, which has {difference}")
