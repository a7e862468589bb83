"""Pareto fronts of two objectives, both minimised.

Legend: n points; a point is (x, y). One dominates another if it is nowhere greater and somewhere less.
"""

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Points, shape (n, 2)."""


def non_dominated(points: Points) -> NDArray[np.bool_]:
    """Say which points no other one dominates, shape (n,); equal points do not dominate each other."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    x, y = points[order].T
    least_before = np.minimum.accumulate(np.concatenate([[np.inf], y[:-1]]))
    front = y < least_before
    for_equal = np.concatenate([[False], (x[1:] == x[:-1]) & (y[1:] == y[:-1])])
    first_of_equal = np.maximum.accumulate(np.where(for_equal, 0, np.arange(len(points))))
    result = np.empty(len(points), np.bool_)
    result[order] = front[first_of_equal]
    return result


def non_dominated_ranks(points: Points) -> NDArray[np.intp]:
    """Sort points into fronts: rank 0 is the front, rank 1 the front of the rest, and so on; shape (n,).

    Source: Jensen, Reducing the run-time complexity of multiobjective EAs (2003), the case of two objectives: in
    order of x, a point joins the first front whose least y so far is greater than its own.
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


def crowding_distances(points: Points, ranks: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how much room each point has on its own front, shape (n,); the ends of a front have infinite room.

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
    """Return the area that the points dominate, up to a reference point; points beyond it do not count."""
    inside = points[(points < reference).all(axis=1)]
    front = inside[non_dominated(inside)]
    front = front[np.argsort(front[:, 0], kind="stable")]
    steps = np.diff(np.append(front[:, 0], reference[0]))
    return float((steps * (reference[1] - front[:, 1])).sum())
