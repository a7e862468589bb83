"""One image of rendered people with its labels: who stands where, who hides whom, how crowded it is.

Legend: N people from the farthest to the nearest, K keypoints, J joints of the body, H/W image. Places are in image
pixels, pixel i covering [i, i + 1); an extent is the (low, high) corners of someone's joints.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.geometry import inside
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.data.synthetic.drawing import Person, Pixels, add_grain, draw_background, draw_person
from litepose_ofa.supernet.data.synthetic.figures import LIES_ON, Figure, Look, plain_look, varied_look
from litepose_ofa.supernet.data.synthetic.poses import Flags, Points, Pose, PoseSource, joint_indices
from litepose_ofa.supernet.data.synthetic.settings import PeopleSettings

Owners = npt.NDArray[np.int16]

NOBODY = -1

PLACEMENT_TRIES = 20

CUT_OFF = (0.1, 0.5)
"""Least and largest share of their extent that people who stick out of the image lose."""

CROWD_SIZE = (6, 14)
"""Least and most people of an unlabelled crowd."""

MOVES = 40
"""Moves of one person after which the people are reduced to two whose distance is scanned."""

LEAVING = 4
"""After every so many moves of an image too crowded somebody leaves it instead."""

LEAST_SHOWN = 0.1
"""Share of each person's pixels that nobody else may cover."""

DISTANCES = 33
"""Distances of two people of one pose that are scanned."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What is annotated in one image.

    Attributes:
        keypoints: Shape (N, K, 3): x, y and visibility (0 not labelled, 1 hidden, 2 visible).
        boxes: Box of each whole person inside the image, hidden parts too, shape (N, 4): x, y, width, height.
        areas: Visible area of each person in square pixels, shape (N,).
        crowd: Where people are that are not labelled, shape (H, W), or None.
    """

    keypoints: Points
    boxes: Points
    areas: Points
    crowd: Flags | None = None

    @property
    def crowd_index(self) -> float:
        """How much people are in each other's way, 0 to 1, with two decimals as in annotation files.

        Source: Li et al., CrowdPose (arXiv:1812.00324): the mean of ``crowd_ratios``.
        """
        ratios = self.crowd_ratios
        return round(min(1.0, float(ratios.mean())), 2) if len(ratios) else 0.0

    @property
    def crowd_ratios(self) -> Points:
        """Other people's keypoints inside each person's box over the person's own keypoints, shape (N,)."""
        labelled = self.keypoints[..., 2] > 0
        low, size = self.boxes[:, None, None, :2], self.boxes[:, None, None, 2:]
        places = self.keypoints[None, ..., :2]
        counts = (((places >= low) & (places <= low + size)).all(axis=-1) & labelled).sum(axis=-1)
        ratios: Points = (counts.sum(axis=1) - counts.diagonal()) / np.maximum(1, labelled.sum(axis=1))
        return ratios


def render_scene(
    rng: np.random.Generator, settings: PeopleSettings, skeleton: Skeleton, poses: PoseSource
) -> tuple[Pixels, Labels]:
    """Render people in front of a background, smaller people farther back: RGB, shape (H, W, 3), and its labels."""
    size = settings.image_size
    canvas = draw_background(rng, *size, clutter=settings.clutter)
    scene = SceneBuilder(rng, settings, skeleton, poses)
    people = scene.people()
    owners = find_owners(people, size)
    crowd = None
    if settings.crowd_regions and rng.random() < settings.crowd_regions:
        crowd = _draw_crowd(canvas, scene, owners)
    for person in people:
        draw_person(canvas, person)
    labels = label_people(people, owners, skeleton, self_occlusion=settings.self_occlusion)
    return add_grain(canvas, rng, settings.grain), dataclasses.replace(labels, crowd=crowd)


def find_owners(people: Sequence[Person], image_size: tuple[int, int]) -> Owners:
    """Return whom each pixel shows, shape (H, W): the last of those who cover it, or ``NOBODY``."""
    owners = np.full(image_size[::-1], NOBODY, np.int16)
    for index, person in enumerate(people):
        owners[person.window][person.parts > 0] = index
    return owners


def label_people(people: Sequence[Person], owners: Owners, skeleton: Skeleton, *, self_occlusion: bool) -> Labels:
    """Label the people of an image, from the farthest to the nearest; ``owners`` is what ``find_owners`` returns.

    With ``self_occlusion`` a person's own parts hide joints, as other people do.
    """
    joints = joint_indices(skeleton)
    labelled = [_label(person, index, owners, joints, self_occlusion) for index, person in enumerate(people)]
    keypoints = np.reshape(labelled, (-1, skeleton.num_keypoints, 3))
    areas = np.array([np.count_nonzero(owners[person.window] == i) for i, person in enumerate(people)], np.float64)
    return Labels(keypoints, np.array([person.box for person in people], np.float64).reshape(-1, 4), areas)


def _label(person: Person, index: int, owners: Owners, joints: list[int], self_occlusion: bool) -> Points:
    """Return the keypoints of one person, shape (K, 3)."""
    points, (height, width) = person.figure.points[joints], owners.shape
    labelled = person.figure.pose.present[joints] & inside(points, (width, height))
    columns, rows = np.where(labelled[:, None], points, 0).astype(int).T
    hidden = owners[rows, columns] > index
    if self_occlusion and person.parts.size:
        bottom, right = np.array(person.parts.shape) - 1
        parts = person.parts[np.clip(rows - person.top, 0, bottom), np.clip(columns - person.left, 0, right)]
        hidden |= (parts > 0) & ~LIES_ON[joints, parts]
    return np.where(labelled[:, None], np.column_stack([points, np.where(hidden, 1, 2)]), 0.0)


@dataclass(frozen=True, slots=True)
class SceneBuilder:
    """Puts people into one image: anywhere, cut off by the border, or in a crowd of a wanted density.

    The skeleton's keypoints are those that count for the crowd index.
    """

    rng: np.random.Generator
    settings: PeopleSettings
    skeleton: Skeleton
    poses: PoseSource

    def people(self) -> list[Person]:
        """Draw the labelled people, from the farthest to the nearest."""
        count = int(self.rng.integers(*self.settings.people, endpoint=True))
        if self.settings.crowd_index:
            low, high = self.settings.crowd_index[int(self.rng.integers(len(self.settings.crowd_index)))]
            people = self.crowded_people(count, low, high)
        else:
            people = [self.in_image(figure) for figure in self.random_people(count)]
        return sorted(people, key=lambda person: person.figure.stature)

    def random_people(self, count: int) -> list[Figure]:
        """Put people where they find room beside the others; the first always does."""
        figures: list[Figure] = []
        for _ in range(count):
            for _ in range(PLACEMENT_TRIES):
                figure = self.anywhere()
                if all(_overlap(figure.extent, other.extent) <= self.settings.max_overlap for other in figures):
                    figures.append(figure)
                    break
        return figures

    def crowded_people(self, count: int, low: float, high: float) -> list[Person]:
        """Draw people of whom ``LEAST_SHOWN`` shows; ``count`` if the range allows so many, at least one.

        The crowd index is from ``low`` to below ``high``, or to 1 if that is 1; a narrow range that keypoints' steps
        jump over is missed by one step.
        """
        rng, fewest, distance = self.rng, 2 if low > 0 else 1, 0.9 - 0.6 * low
        members = [self.in_image(self.anywhere())]
        while len(members) < max(count, fewest):
            members.append(self._newcomer(members, crowded=rng.random() < (low + high) / 2, distance=distance))
        for move in range(MOVES):
            labels = self._labels(members)
            chosen, index = _buried(members, labels), labels.crowd_index
            if chosen is None and low <= index and (index < high or high == 1):
                return members
            if chosen is None:
                chosen = self._ill_placed(labels, too_low=index < low)
            left = members.pop(chosen)
            if index < low or move % LEAVING != LEAVING - 1 or len(members) < fewest:
                members.append(self._newcomer(members or [left], crowded=index < low, distance=distance))
        return self._pair(low, high) if low > 0 else [self.in_image(self.anywhere())]

    def anywhere(self) -> Figure:
        """Scale a pose and put it anywhere in the image where it fits as a whole, unless it may stick out."""
        pose, room = self.poses.sample(self.rng), self._room
        unit = min(self._height(), *(0.98 * room / np.maximum(pose.extent, 1e-6)))
        corner = self.rng.uniform(0.01 * room, np.maximum(0.99 * room - unit * pose.extent, 0.01 * room))
        if self.settings.truncated and self.rng.random() < self.settings.truncated:
            corner = self._cut_off(corner, unit * pose.extent)
        return self._figure(pose, unit, corner)

    def distant_crowd(self) -> list[Person]:
        """Put a row of small people side by side."""
        rng, (width, height) = self.rng, self.settings.image_size
        count = int(rng.integers(*CROWD_SIZE, endpoint=True))
        size = rng.uniform(0.06, 0.14) * height
        left, ground = rng.uniform(0, 0.8) * width, rng.uniform(0.2, 0.95) * height
        people = []
        for place in range(count):
            pose, unit = self.poses.sample(rng), size * rng.uniform(0.85, 1.15)
            corner = np.array([left + 0.35 * size * place, ground - unit * pose.extent[1]])
            people.append(self.in_image(self._figure(pose, unit, corner)))
        return people

    def in_image(self, figure: Figure) -> Person:
        """Find the pixels of a figure."""
        return Person.in_image(figure, self.settings.image_size)

    @property
    def _room(self) -> Points:
        return np.array(self.settings.image_size, np.float64)

    def _figure(self, pose: Pose, unit: float, corner: Points) -> Figure:
        return Figure(pose, pose.points * unit + corner, pose.stature * unit, self._look())

    def _look(self) -> Look:
        return varied_look(self.rng) if self.settings.varied_looks else plain_look(self.rng)

    def _height(self) -> float:
        """Draw someone's longer side in pixels."""
        low, high = self.settings.person_height
        logarithmic = self.settings.log_heights
        share = (
            math.exp(self.rng.uniform(math.log(low), math.log(high))) if logarithmic else self.rng.uniform(low, high)
        )
        return share * self.settings.image_size[1]

    def _cut_off(self, corner: Points, size: Points) -> Points:
        """Move someone over a side of the image, but never over the upper one alone: a body without its head."""
        axis, share = int(self.rng.integers(2)), self.rng.uniform(*CUT_OFF)
        moved = corner.copy()
        leftwards = axis == 0 and self.rng.random() < 0.5
        moved[axis] = -share * size[axis] if leftwards else self._room[axis] - (1 - share) * size[axis]
        return moved

    def _newcomer(self, members: Sequence[Person], *, crowded: bool, distance: float) -> Person:
        """Draw someone, anywhere or at most this share of a member's extent away from that member."""
        if not crowded:
            return self.in_image(self.anywhere())
        low, high = members[int(self.rng.integers(len(members)))].figure.extent
        pose, room = self.poses.sample(self.rng), self._room
        smallest, largest = (share * room[1] for share in self.settings.person_height)
        unit = float(np.clip((high - low).max() * self.rng.uniform(0.8, 1.25), smallest, largest))
        unit = min(unit, *(0.98 * room / np.maximum(pose.extent, 1e-6)))
        centre = (low + high) / 2 + self.rng.uniform(-distance, distance, 2) * (high - low)
        corner = np.clip(centre - unit * pose.extent / 2, 0.01 * room, np.maximum(0.99 * room - unit * pose.extent, 0))
        return self.in_image(self._figure(pose, unit, corner))

    def _labels(self, members: list[Person]) -> Labels:
        """Sort the people from far to near (in place) and label them."""
        members.sort(key=lambda member: member.figure.stature)
        owners = find_owners(members, self.settings.image_size)
        return label_people(members, owners, self.skeleton, self_occlusion=False)

    def _ill_placed(self, labels: Labels, *, too_low: bool) -> int:
        """Return whom to move: mostly the most lonely one of an image not crowded enough, or the most crowded one."""
        if self.rng.random() < 0.3:
            return int(self.rng.integers(len(labels.boxes)))
        return int(labels.crowd_ratios.argmin() if too_low else labels.crowd_ratios.argmax())

    def _pair(self, low: float, high: float) -> list[Person]:
        """Put two people of one pose at the largest distance that is crowded enough."""
        near = self.anywhere()
        width, look = float(np.ptp(near.extent[:, 0])), self._look()
        pairs = []
        for share in np.linspace(1.2, 0.05, DISTANCES):
            far = dataclasses.replace(near, points=near.points + np.array([share * width, 0.0]), look=look)
            pair = [self.in_image(far), self.in_image(near)]
            index = self._labels(pair).crowd_index
            pairs.append((max(low - index, index - high, 0.0), pair))
        return min(pairs, key=lambda found: found[0])[1]


def _buried(members: Sequence[Person], labels: Labels) -> int | None:
    """Return someone of whom too little shows."""
    for person, member in enumerate(members):
        too_little = labels.areas[person] <= LEAST_SHOWN * np.count_nonzero(member.parts)
        if too_little or not labels.keypoints[person, :, 2].any():
            return person
    return None


def _draw_crowd(canvas: Pixels, scene: SceneBuilder, owners: Owners) -> Flags | None:
    """Paint a distant crowd (in place) and return its region without the labelled people, None if nothing shows."""
    size = scene.settings.image_size
    crowd = scene.distant_crowd()
    for person in crowd:
        draw_person(canvas, person)
    gap = max(3, round(0.02 * size[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap))
    covered = (find_owners(crowd, size) >= 0).astype(np.uint8)
    shown: Flags = (cv2.morphologyEx(covered, cv2.MORPH_CLOSE, kernel) > 0) & (owners < 0)
    return shown if shown.any() else None


def _overlap(extent: Points, other: Points) -> float:
    """Return the shared area of two extents over the smaller one's."""
    shared = np.maximum(np.minimum(extent[1], other[1]) - np.maximum(extent[0], other[0]), 0).prod()
    smaller = min(np.prod(extent[1] - extent[0]), np.prod(other[1] - other[0]))
    return float(shared / max(smaller, 1e-6))
