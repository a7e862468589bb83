"""Plain decoding of one image: the rules one after the other, every pixel for every question, in plain floats.

Legend: K keypoints, H/W map, L tags a pixel. A person is a dict from joint to (x, y, score), pixel indices.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Array = npt.NDArray[Any]
Joint = tuple[int, int, float]
Person = dict[int, Joint]

ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10)


def plain_decode(
    heatmaps: Array,
    tags: Array,
    refine: bool = True,
    *,
    max_people: int = 30,
    threshold: float = 0.1,
    tag_threshold: float = 1.0,
) -> tuple[Array, Array]:
    """Return people, shape (N, K, 3), and scores, shape (N,), of heatmaps (K, H, W) and tags (K, H, W, L)."""
    threshold = float(heatmaps.dtype.type(threshold))  # 0.1 is not above 0.1, in single precision either
    heatmaps, tags = heatmaps.astype(np.float64), tags.astype(np.float64)
    largest = float(np.finfo(np.float32).max)
    broken = ~(abs(heatmaps) <= largest) | ~(abs(tags) <= largest).all(axis=3)
    heatmaps[broken], tags[broken] = 0, 0  # where a response or a tag is not finite in single precision
    people: list[Person] = []
    for joint in [*(joint for joint in ORDER if joint < len(heatmaps)), *range(13, len(heatmaps))]:
        candidates = peaks(heatmaps[joint], threshold)[:max_people]
        add_joint(people, joint, candidates, tags, tag_threshold)
    scores = [sum(score for _, _, score in person.values()) / len(heatmaps) for person in people]
    by_score = sorted(range(len(people)), key=lambda i: -scores[i])
    found = np.zeros((len(people), len(heatmaps), 3), np.float32)
    for row, i in enumerate(by_score):
        for joint, place in joints_of(people[i], heatmaps, tags, refine).items():
            found[row, joint] = sub_pixel(heatmaps[joint], *place)
    return found, np.array([scores[i] for i in by_score], np.float32)


def peaks(heatmap: Array, threshold: float) -> list[Joint]:
    """Pixels above the threshold that are the highest of the 5 x 5 around them, best first, then in reading order."""
    height, width = heatmap.shape
    padded = np.pad(heatmap, 2, constant_values=-np.inf)
    highest = np.max([padded[y : y + height, x : x + width] for y in range(5) for x in range(5)], axis=0)
    found = [
        (x, y, float(heatmap[y, x]))
        for y, x in zip(*np.nonzero((heatmap == highest) & (heatmap > threshold)), strict=True)
    ]
    return sorted(found, key=lambda peak: -peak[2])


def add_joint(people: list[Person], joint: int, candidates: Sequence[Joint], tags: Array, tag_threshold: float) -> None:
    """Match candidates to the people so far by least cost; who is too far off or left over begins a new person."""
    before = list(people)
    means = [mean_tag(person, tags) for person in before]
    distances = [[distance(tags[joint, y, x], mean) for mean in means] for x, y, _ in candidates]
    cost = np.array(
        [[round(d) * 100 - score for d in row] for row, (_, _, score) in zip(distances, candidates, strict=True)]
    )
    pairs = zip(*linear_sum_assignment(cost), strict=True) if before and candidates else ()
    owner = {row: column for row, column in pairs if distances[row][column] < tag_threshold}
    for row, candidate in enumerate(candidates):
        if row in owner:
            before[owner[row]][joint] = candidate
        else:
            people.append({joint: candidate})


def mean_tag(person: Person, tags: Array) -> list[float]:
    """Mean over the joints that the person has so far."""
    found = [tags[joint, y, x].tolist() for joint, (x, y, _) in person.items()]
    return [sum(values) / len(found) for values in zip(*found, strict=True)]


def distance(tag: Array, mean: Sequence[float]) -> float:
    return math.sqrt(sum((a - b) * (a - b) for a, b in zip(tag.tolist(), mean, strict=True)))


def joints_of(person: Person, heatmaps: Array, tags: Array, refine: bool) -> Person:
    """The joints of a person, with ``refine`` also the missing ones that the heatmaps answer at all."""
    if not refine:
        return person
    mean, filled = mean_tag(person, tags), dict(person)
    for joint in set(range(len(heatmaps))) - set(person):
        squares = sum((tags[joint, :, :, i] - mean[i]) * (tags[joint, :, :, i] - mean[i]) for i in range(len(mean)))
        fitness = heatmaps[joint] - np.round(np.sqrt(squares))
        y, x = np.unravel_index(np.argmax(fitness), fitness.shape)
        if heatmaps[joint, y, x] > 0:
            filled[joint] = (int(x), int(y), float(heatmaps[joint, y, x]))
    return filled


def sub_pixel(heatmap: Array, x: int, y: int, score: float) -> tuple[float, float, float]:
    """The middle of the pixel, a quarter toward the higher of its neighbours; beyond the edge is the edge."""
    height, width = heatmap.shape
    right = heatmap[y, min(x + 1, width - 1)] > heatmap[y, max(x - 1, 0)]
    below = heatmap[min(y + 1, height - 1), x] > heatmap[max(y - 1, 0), x]
    return x + 0.5 + (0.25 if right else -0.25), y + 0.5 + (0.25 if below else -0.25), score
