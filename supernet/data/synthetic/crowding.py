"""People brought together or apart until an image is as crowded as is wanted.

Legend: N people. The crowd index is ``synthetic_labels.crowd_index``, rounded as it stands in annotation files.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.data.synthetic.figures import Person
from litepose_ofa.supernet.data.synthetic.labels import (
    Labels,
    crowd_index,
    crowd_ratios,
    find_owners,
    label_people,
)
from litepose_ofa.supernet.data.synthetic.placement import Placer, extent_of
from litepose_ofa.supernet.data.synthetic.shapes import Figure

CROWD_INDEX_DECIMALS = 2

MOVES = 40
"""Moves of one person after which the people are reduced to two whose distance is scanned."""

LEAVING = 4
"""After every so many moves of an image too crowded somebody leaves it instead."""

LEAST_SHOWN = 0.1
"""Share of each person's pixels that nobody else may cover."""

DISTANCES = 33
"""Distances of such a pair that are tried."""


@dataclass(frozen=True, slots=True)
class Crowding:
    """Arranges people so that an image's crowd index is in a range.

    Attributes:
        placer: Puts people into the image.
        skeleton: The keypoints that count.
        low: Least crowd index.
        high: The crowd index is below it, or equal if it is 1.
    """

    placer: Placer
    skeleton: Skeleton
    low: float
    high: float

    def people(self, rng: np.random.Generator, count: int) -> list[Person]:
        """Draw people of whom ``LEAST_SHOWN`` shows; as many as wanted if the range allows so many, at least one.

        A narrow range that keypoints' steps jump over is missed by one step.
        """
        members = [self._person(self.placer.anywhere(rng))]
        while len(members) < max(count, self._fewest):
            members.append(self._newcomer(rng, members, crowded=rng.random() < (self.low + self.high) / 2))
        for move in range(MOVES):
            labels = self._labels(members)
            buried, index = self._buried(members, labels), self._index(labels)
            if buried is None and self.low <= index and (index < self.high or self.high == 1):
                return members
            chosen = self._ill_placed(rng, labels, too_low=index < self.low) if buried is None else buried
            left = members.pop(chosen)
            if index < self.low or move % LEAVING != LEAVING - 1 or len(members) < self._fewest:
                members.append(self._newcomer(rng, members or [left], crowded=index < self.low))
        return self._pair(rng) if self.low > 0 else [self._person(self.placer.anywhere(rng))]

    @property
    def _fewest(self) -> int:
        return 2 if self.low > 0 else 1

    def _newcomer(self, rng: np.random.Generator, members: Sequence[Person], *, crowded: bool) -> Person:
        if not crowded:
            return self._person(self.placer.anywhere(rng))
        other = members[int(rng.integers(len(members)))].figure
        return self._person(self.placer.beside(rng, other, distance=0.9 - 0.6 * self.low))

    def _person(self, figure: Figure) -> Person:
        return Person.in_image(figure, self.placer.settings.image_size)

    def _labels(self, members: list[Person]) -> Labels:
        """Sort the people from far to near (in place) and label them."""
        members.sort(key=lambda member: member.figure.stature)
        owners = find_owners(members, self.placer.settings.image_size)
        return label_people(members, owners, self.skeleton, self_occlusion=False)

    def _index(self, labels: Labels) -> float:
        return round(crowd_index(labels.keypoints, labels.boxes), CROWD_INDEX_DECIMALS)

    def _buried(self, members: Sequence[Person], labels: Labels) -> int | None:
        """Return someone of whom too little shows."""
        for person, member in enumerate(members):
            pixels = np.count_nonzero(member.parts)
            if labels.areas[person] <= LEAST_SHOWN * pixels or not labels.keypoints[person, :, 2].any():
                return person
        return None

    def _ill_placed(self, rng: np.random.Generator, labels: Labels, *, too_low: bool) -> int:
        """Return whom to move: mostly the most lonely one of an image not crowded enough, or the most crowded one."""
        if rng.random() < 0.3:
            return int(rng.integers(len(labels.boxes)))
        ratios = crowd_ratios(labels.keypoints, labels.boxes)
        return int(ratios.argmin() if too_low else ratios.argmax())

    def _pair(self, rng: np.random.Generator) -> list[Person]:
        """Put two people of one pose at the largest distance that is crowded enough."""
        near = self.placer.anywhere(rng)
        width = float(np.ptp(extent_of(near)[:, 0]))
        look = self.placer.look(rng)
        best: tuple[float, list[Person]] | None = None
        for share in np.linspace(1.2, 0.05, DISTANCES):
            far = dataclasses.replace(near, points=near.points + np.array([share * width, 0.0]), look=look)
            pair = [self._person(far), self._person(near)]
            index = self._index(self._labels(pair))
            miss = max(self.low - index, index - self.high, 0.0)
            if best is None or miss < best[0]:
                best = miss, pair
        assert best is not None
        return best[1]
