"""Where rendered people stand: anywhere, cut off by the border, or in a crowd of a wanted density.

Legend: J joints of the body. Places are in image pixels; an extent is the (low, high) corners of someone's joints.
"""

import math
from dataclasses import dataclass

import numpy as np

from litepose_ofa.supernet.data.synthetic.looks import Look, plain_look, varied_look
from litepose_ofa.supernet.data.synthetic.poses import Points, Pose, PoseSource
from litepose_ofa.supernet.data.synthetic.settings import PeopleSettings
from litepose_ofa.supernet.data.synthetic.shapes import Figure

PLACEMENT_TRIES = 20

CUT_OFF = (0.1, 0.5)
"""Least and largest share of their extent that people who stick out of the image lose."""


@dataclass(frozen=True, slots=True)
class Placer:
    """Puts people into an image.

    Attributes:
        settings: What the images show.
        poses: Where poses come from.
    """

    settings: PeopleSettings
    poses: PoseSource

    def random_people(self, rng: np.random.Generator, count: int) -> list[Figure]:
        """Put people where they find room beside the others; the first always does."""
        figures: list[Figure] = []
        taken: list[Points] = []
        for _ in range(count):
            for _ in range(PLACEMENT_TRIES):
                figure = self.anywhere(rng)
                extent = extent_of(figure)
                if all(_overlap(extent, other) <= self.settings.max_overlap for other in taken):
                    figures.append(figure)
                    taken.append(extent)
                    break
        return figures

    def anywhere(self, rng: np.random.Generator) -> Figure:
        """Scale a pose and put it anywhere in the image where it fits as a whole, unless it may stick out."""
        pose = self.poses.sample(rng)
        room = np.array(self.settings.image_size, np.float64)
        unit = min(self._height(rng), *(0.98 * room / np.maximum(pose.extent, 1e-6)))
        corner = rng.uniform(0.01 * room, np.maximum(0.99 * room - unit * pose.extent, 0.01 * room))
        if self.settings.truncated and rng.random() < self.settings.truncated:
            corner = _cut_off(rng, corner, unit * pose.extent, room)
        return self._figure(rng, pose, unit, corner)

    def beside(self, rng: np.random.Generator, other: Figure, distance: float) -> Figure:
        """Put someone of about another's size at most this share of the other's extent away from the other."""
        pose = self.poses.sample(rng)
        room = np.array(self.settings.image_size, np.float64)
        low, high = extent_of(other)
        smallest, largest = (share * room[1] for share in self.settings.person_height)
        unit = float(np.clip((high - low).max() * rng.uniform(0.8, 1.25), smallest, largest))
        unit = min(unit, *(0.98 * room / np.maximum(pose.extent, 1e-6)))
        centre = (low + high) / 2 + rng.uniform(-distance, distance, 2) * (high - low)
        corner = np.clip(centre - unit * pose.extent / 2, 0.01 * room, np.maximum(0.99 * room - unit * pose.extent, 0))
        return self._figure(rng, pose, unit, corner)

    def look(self, rng: np.random.Generator) -> Look:
        """Draw what someone looks like."""
        return varied_look(rng) if self.settings.varied_looks else plain_look(rng)

    def _figure(self, rng: np.random.Generator, pose: Pose, unit: float, corner: Points) -> Figure:
        return Figure(pose, pose.points * unit + corner, pose.stature * unit, self.look(rng))

    def _height(self, rng: np.random.Generator) -> float:
        """Draw someone's longer side in pixels."""
        low, high = self.settings.person_height
        if self.settings.log_heights:
            return math.exp(rng.uniform(math.log(low), math.log(high))) * self.settings.image_size[1]
        return rng.uniform(low, high) * self.settings.image_size[1]


def extent_of(figure: Figure) -> Points:
    """Return the low and the high corner of someone's joints, shape (2, 2)."""
    present = figure.points[figure.pose.present]
    return np.stack([present.min(axis=0), present.max(axis=0)])


def crowd_in_the_distance(rng: np.random.Generator, placer: Placer, count: int) -> list[Figure]:
    """Put a row of small people side by side."""
    width, height = placer.settings.image_size
    size = rng.uniform(0.06, 0.14) * height
    left, ground = rng.uniform(0, 0.8) * width, rng.uniform(0.2, 0.95) * height
    figures = []
    for place in range(count):
        pose = placer.poses.sample(rng)
        unit = size * rng.uniform(0.85, 1.15)
        corner = np.array([left + 0.35 * size * place, ground - unit * pose.extent[1]])
        figures.append(Figure(pose, pose.points * unit + corner, pose.stature * unit, placer.look(rng)))
    return figures


def _cut_off(rng: np.random.Generator, corner: Points, size: Points, room: Points) -> Points:
    """Move someone over a side of the image, but never over the upper one alone: a body without its head."""
    axis, share = int(rng.integers(2)), rng.uniform(*CUT_OFF)
    moved = corner.copy()
    leftwards = axis == 0 and rng.random() < 0.5
    moved[axis] = -share * size[axis] if leftwards else room[axis] - (1 - share) * size[axis]
    return moved


def _overlap(extent: Points, other: Points) -> float:
    """Return the shared area of two (low, high) boxes over the smaller one's."""
    shared = np.maximum(np.minimum(extent[1], other[1]) - np.maximum(extent[0], other[0]), 0).prod()
    smaller = min(np.prod(extent[1] - extent[0]), np.prod(other[1] - other[0]))
    return float(shared / max(smaller, 1e-6))
