"""One image of rendered people with its labels: who stands where, who hides whom.

Legend: N people, K keypoints, H/W image. Places are in image pixels, pixel i covering [i, i + 1).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from supernet.data.skeletons import Skeleton
from supernet.data.synthetic_drawing import Figure, add_grain, draw_background, draw_person, random_look
from supernet.data.synthetic_poses import Pose, PoseSource, joint_indices
from supernet.errors import InputError

Floats = npt.NDArray[np.float64]

PLACEMENT_TRIES = 20


@dataclass(frozen=True, slots=True)
class PeopleSettings:
    """What the images show.

    Attributes:
        image_size: Width and height in pixels.
        people: Least and most people an image; one who finds no room is left out, but never the first.
        person_height: Least and largest longer side of a person's keypoint extent, over the image's height.
        max_overlap: Most that two people's extents share, over the smaller extent.
        from_behind: Probability that someone faces away, for poses of kinematics.
        grain: Noise on the finished image, up to this many grey levels either way.
        jpeg_quality: 1 to 100.

    Raises:
        InputError: If a value is impossible; the message names the field.
    """

    image_size: tuple[int, int] = (160, 160)
    people: tuple[int, int] = (1, 2)
    person_height: tuple[float, float] = (0.6, 0.95)
    max_overlap: float = 0.4
    from_behind: float = 0.0
    grain: int = 6
    jpeg_quality: int = 92

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build settings from a config: lists are pairs, and one number for ``image_size`` means a square.

        Raises:
            InputError: If a key is unknown or a value is impossible.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise InputError(f"people settings have the unknown key {key!r}; the keys are {', '.join(known)}")
        plain: dict[str, Any] = {}
        for key, value in values.items():
            listed = isinstance(value, Sequence) and not isinstance(value, str)
            plain[key] = tuple(value) if listed else value
        if isinstance(plain.get("image_size"), int):
            plain["image_size"] = (plain["image_size"], plain["image_size"])
        return cls(**plain)

    def __post_init__(self) -> None:
        _require_pair("image_size", self.image_size, 32, 8192)
        _require_pair("people", self.people, 1, 100, ascending=True)
        _require_pair("person_height", self.person_height, 0.05, 1.0, ascending=True)
        _require_between("max_overlap", self.max_overlap, 0.0, 1.0)
        _require_between("from_behind", self.from_behind, 0.0, 1.0)
        _require_between("grain", self.grain, 0, 60)
        _require_between("jpeg_quality", self.jpeg_quality, 1, 100)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One rendered image.

    Attributes:
        image: RGB, shape (H, W, 3).
        keypoints: Shape (N, K, 3): x, y and visibility (0 not labelled, 1 hidden by another person, 2 visible).
        boxes: Box of each whole person, hidden parts too, shape (N, 4): x, y, width, height.
        areas: Visible area of each person in square pixels, shape (N,).
    """

    image: npt.NDArray[np.uint8]
    keypoints: Floats
    boxes: Floats
    areas: Floats


def render_scene(rng: np.random.Generator, settings: PeopleSettings, skeleton: Skeleton, poses: PoseSource) -> Scene:
    """Render people in front of a background; smaller people stand farther back."""
    width, height = settings.image_size
    canvas = draw_background(rng, width, height)
    figures = sorted(_place_people(rng, settings, poses), key=lambda figure: figure.stature)
    owner = np.full((height, width), -1, np.int16)
    boxes = np.zeros((len(figures), 4))
    for person, figure in enumerate(figures):
        silhouette = draw_person(canvas, figure)
        owner[silhouette] = person
        boxes[person] = cv2.boundingRect(silhouette.astype(np.uint8))
    keypoints = np.stack([_label(figure, person, owner, skeleton) for person, figure in enumerate(figures)])
    areas = np.array([np.count_nonzero(owner == person) for person in range(len(figures))], np.float64)
    return Scene(add_grain(canvas, rng, settings.grain), keypoints, boxes, areas)


def crowd_index(keypoints: Floats, boxes: Floats) -> float:
    """Return how much people are in each other's way, 0 to 1.

    Source: Li et al., CrowdPose (arXiv:1812.00324): the mean over people of other people's keypoints inside the
    person's box, over the person's own keypoints.

    Args:
        keypoints: Shape (N, K, 3).
        boxes: Shape (N, 4): x, y, width, height.
    """
    labelled = keypoints[..., 2] > 0
    ratios = []
    for person in range(len(boxes)):
        low, high = boxes[person, :2], boxes[person, :2] + boxes[person, 2:]
        inside = ((keypoints[..., :2] >= low) & (keypoints[..., :2] <= high)).all(axis=-1) & labelled
        others = int(np.count_nonzero(np.delete(inside, person, axis=0)))
        ratios.append(others / max(1, int(np.count_nonzero(labelled[person]))))
    return min(1.0, float(np.mean(ratios))) if ratios else 0.0


def _place_people(rng: np.random.Generator, settings: PeopleSettings, poses: PoseSource) -> list[Figure]:
    figures: list[Figure] = []
    taken: list[Floats] = []
    for _ in range(int(rng.integers(settings.people[0], settings.people[1], endpoint=True))):
        for _ in range(PLACEMENT_TRIES):
            figure = _place(rng, settings, poses.sample(rng))
            present = figure.points[figure.pose.present]
            extent = np.stack([present.min(axis=0), present.max(axis=0)])
            if all(_overlap(extent, other) <= settings.max_overlap for other in taken):
                figures.append(figure)
                taken.append(extent)
                break
    return figures


def _place(rng: np.random.Generator, settings: PeopleSettings, pose: Pose) -> Figure:
    """Scale a pose and put it anywhere in the image where it fits as a whole."""
    room = np.array(settings.image_size, np.float64)
    unit = min(rng.uniform(*settings.person_height) * room[1], *(0.98 * room / np.maximum(pose.extent, 1e-6)))
    corner = rng.uniform(0.01 * room, np.maximum(0.99 * room - unit * pose.extent, 0.01 * room))
    return Figure(pose, pose.points * unit + corner, pose.stature * unit, random_look(rng))


def _overlap(extent: Floats, other: Floats) -> float:
    """Return the shared area of two (low, high) boxes over the smaller one's."""
    shared = np.maximum(np.minimum(extent[1], other[1]) - np.maximum(extent[0], other[0]), 0).prod()
    smaller = min(np.prod(extent[1] - extent[0]), np.prod(other[1] - other[0]))
    return float(shared / max(smaller, 1e-6))


def _label(figure: Figure, person: int, owner: npt.NDArray[np.int16], skeleton: Skeleton) -> Floats:
    """Return the keypoints of one person, shape (K, 3); ``owner`` tells whom each pixel shows, later people cover."""
    indices = joint_indices(skeleton)
    points, height, width = figure.points[indices], *owner.shape
    inside = ((points >= 0) & (points < (width, height))).all(axis=1)
    labelled = figure.pose.present[indices] & inside
    columns, rows = np.where(labelled[:, None], points, 0).astype(int).T
    shown = owner[rows, columns]
    visibility = np.where(shown > person, 1, 2)
    return np.where(labelled[:, None], np.column_stack([points, visibility]), 0.0)


def _require_pair(field: str, value: object, low: float, high: float, *, ascending: bool = False) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise InputError(f"{field} is {value!r}; it must be a pair of numbers")
    for number in value:
        _require_between(field, number, low, high)
    if ascending and value[0] > value[1]:
        raise InputError(f"{field} is {value!r}; the first must not exceed the second")


def _require_between(field: str, value: object, low: float, high: float) -> None:
    """Refuse what is not a number in the range, or not an integer where the bounds are integers."""
    whole = isinstance(low, int)
    if not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        raise InputError(
            f"{field} is {value!r}; it must be {'an integer' if whole else 'a number'} from {low} to {high}"
        )
