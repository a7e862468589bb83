"""Pareto fronts of points whose coordinates are all minimised.

Legend: n points, M coordinates. One point dominates another if it is nowhere greater and somewhere less.
"""

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Points, shape (n, M)."""


def non_dominated(points: Points) -> NDArray[np.bool_]:
    """Say which points, shape (n, 2), no other dominates, shape (n,); equal points do not dominate each other."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    x, y = points[order].T
    least_before = np.minimum.accumulate(np.concatenate([[np.inf], y[:-1]]))
    for_equal = np.concatenate([[False], (x[1:] == x[:-1]) & (y[1:] == y[:-1])])
    first_of_equal = np.maximum.accumulate(np.where(for_equal, 0, np.arange(len(points))))
    result = np.empty(len(points), np.bool_)
    result[order] = (y < least_before)[first_of_equal]
    return result


def non_dominated_ranks(points: Points) -> NDArray[np.intp]:
    """Sort points into fronts: rank 0 is the front, rank 1 the front of the rest, and so on; shape (n,)."""
    return _ranks_of_pairs(points) if points.shape[1] == 2 else _ranks_by_peeling(points)


def crowding_distances(points: Points, ranks: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the crowding distance of each point on its own front, shape (n,); infinite at the ends of a front.

    Source: Deb et al., NSGA-II (2002); the differences are relative to the extent of the front.
    """
    distances = np.zeros(len(points))
    for column in points.T:
        order = np.lexsort((column, ranks))
        values, fronts = column[order], ranks[order]
        starts = np.flatnonzero(np.diff(fronts, prepend=-1))
        ends = np.flatnonzero(np.diff(fronts, append=-1))
        extent = np.repeat(values[ends] - values[starts], ends - starts + 1)
        gaps = np.zeros(len(points))
        gaps[1:-1] = values[2:] - values[:-2]
        gaps = np.divide(gaps, extent, out=np.zeros(len(points)), where=extent > 0)
        gaps[starts] = gaps[ends] = np.inf
        distances[order] += gaps
    return distances


def hypervolume(points: Points, reference: tuple[float, float]) -> float:
    """Return the area that points, shape (n, 2), dominate up to a reference point; points beyond it do not count."""
    stairs = _stairs(points, reference)
    steps = np.diff(np.append(stairs[:, 0], reference[0]))
    return float((steps * (reference[1] - stairs[:, 1])).sum())


def hypervolume_gains(points: Points, front: Points, reference: tuple[float, float]) -> NDArray[np.float64]:
    """Return by how much each point, shape (n, 2), would raise the hypervolume of a front (m, 2), shape (n,)."""
    stairs = _stairs(front, reference)
    lefts = np.concatenate([[-np.inf], stairs[:, 0]])
    rights = np.append(stairs[:, 0], reference[0])
    tops = np.concatenate([[reference[1]], stairs[:, 1]])
    widths = np.maximum(rights - np.maximum(lefts, points[:, :1]), 0)
    gains: NDArray[np.float64] = (widths * np.maximum(tops - points[:, 1:], 0)).sum(axis=1)
    return gains


def _stairs(points: Points, reference: tuple[float, float]) -> Points:
    """Return the distinct front of the points within the reference, the least first coordinate first."""
    inside = points[(points < reference).all(axis=1)]
    return np.unique(inside[non_dominated(inside)], axis=0)


def _ranks_of_pairs(points: Points) -> NDArray[np.intp]:
    """Rank points of two coordinates: in order of x, a point joins the first front whose least y exceeds its own.

    Source: Jensen, Reducing the run-time complexity of multiobjective EAs (2003).
    """
    ranks = np.empty(len(points), np.intp)
    least: list[float] = []
    previous, rank = (np.nan, np.nan), 0
    order = np.lexsort((points[:, 1], points[:, 0]))
    for index, point in zip(order.tolist(), map(tuple, points[order].tolist()), strict=True):
        if point != previous:
            rank = bisect_right(least, point[1])
            least[rank : rank + 1] = [point[1]]
            previous = point
        ranks[index] = rank
    return ranks


def _ranks_by_peeling(points: Points) -> NDArray[np.intp]:
    """Rank points of any number of coordinates by comparing all pairs: the population of a study, not a pool."""
    no_greater = np.all(points[:, None] <= points, axis=2)
    dominates = no_greater & ~no_greater.T
    ranks = np.zeros(len(points), np.intp)
    left, rank = np.arange(len(points)), 0
    while len(left):
        dominated = dominates[np.ix_(left, left)].any(axis=0)
        ranks[left[~dominated]] = rank
        left, rank = left[dominated], rank + 1
    return ranks
