"""Pareto fronts of points whose coordinates are all minimised.

Legend: n points, M coordinates. One point dominates another if it is nowhere greater and somewhere less.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Points, shape (n, M)."""

BLOCK = 2048
"""Points compared with each other at a time: bounds the memory that a front of many takes."""


def non_dominated(points: Points) -> NDArray[np.bool_]:
    """Say which points no other one dominates, shape (n,); equal points do not dominate each other."""
    if points.shape[1] == 2:
        return _non_dominated_pairs(points)
    kept = np.zeros(0, np.intp)
    for start in range(0, len(points), BLOCK):
        rows = np.concatenate([kept, np.arange(start, min(start + BLOCK, len(points)))])
        kept = rows[_ranks_by_peeling(points[rows], most=1) == 0]
    result = np.zeros(len(points), np.bool_)
    result[kept] = True
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


def hypervolume(points: Points, reference: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the volume that the points dominate, up to a reference point; points beyond it do not count.

    Above two coordinates it adds up slices along the last one: fronts of hundreds of points, and M of 4 at most.

    Source: While et al., A faster algorithm for calculating hypervolume (2006), the slicing of objectives.
    """
    corner = np.asarray(reference, np.float64)
    inside = points[(points < corner).all(axis=1)]
    front = np.unique(inside[non_dominated(inside)], axis=0)
    if points.shape[1] == 2:
        steps = np.diff(np.append(front[:, 0], corner[0]))
        return float((steps * (corner[1] - front[:, 1])).sum())
    front = front[np.argsort(front[:, -1], kind="stable")]
    heights = np.diff(np.append(front[:, -1], corner[-1]))
    slices = (hypervolume(front[: i + 1, :-1], corner[:-1]) for i in np.flatnonzero(heights > 0))
    return float(sum(area * height for area, height in zip(slices, heights[heights > 0].tolist(), strict=True)))


def hypervolume_gains(points: Points, front: Points, reference: tuple[float, float]) -> NDArray[np.float64]:
    """Return by how much each point alone would raise the hypervolume of a front, shape (n,); M is 2.

    Args:
        points: Candidates, shape (n, 2).
        front: Any points, shape (m, 2).
        reference: The corner up to which areas count.
    """
    inside = front[(front < reference).all(axis=1)]
    stairs = np.unique(inside[non_dominated(inside)], axis=0)
    lefts = np.concatenate([[-np.inf], stairs[:, 0]])
    rights = np.append(stairs[:, 0], reference[0])
    tops = np.concatenate([[reference[1]], stairs[:, 1]])
    widths = np.maximum(rights - np.maximum(lefts, points[:, :1]), 0)
    gains: NDArray[np.float64] = (widths * np.maximum(tops - points[:, 1:], 0)).sum(axis=1)
    return gains


def _non_dominated_pairs(points: Points) -> NDArray[np.bool_]:
    order = np.lexsort((points[:, 1], points[:, 0]))
    x, y = points[order].T
    least_before = np.minimum.accumulate(np.concatenate([[np.inf], y[:-1]]))
    front = y < least_before
    for_equal = np.concatenate([[False], (x[1:] == x[:-1]) & (y[1:] == y[:-1])])
    first_of_equal = np.maximum.accumulate(np.where(for_equal, 0, np.arange(len(points))))
    result = np.empty(len(points), np.bool_)
    result[order] = front[first_of_equal]
    return result


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


def _ranks_by_peeling(points: Points, most: int | None = None) -> NDArray[np.intp]:
    """Rank points of any number of coordinates; those beyond the first ``most`` fronts get the rank ``most``.

    A row of bits a point says which others are nowhere greater: the rows of one coordinate are the prefixes of its
    order, and the coordinates' rows are combined by AND.
    """
    unique, members = np.unique(points, axis=0, return_inverse=True)
    dominators = _prefix_bits(unique[:, 0])
    for column in unique.T[1:]:
        dominators &= _prefix_bits(column)
    ranks = np.full(len(unique), len(unique) if most is None else most, np.intp)
    left, rank = np.arange(len(unique)), 0
    while len(left) and rank != most:
        # every row has the point's own bit: the front are those that no other point left over precedes
        alive = np.zeros(dominators.shape[1] * 64, np.bool_)
        alive[left] = True
        rows = np.bitwise_count(dominators[left] & _packed(alive[None])).sum(axis=1)
        ranks[left[rows == 1]] = rank
        left, rank = left[rows > 1], rank + 1
    return ranks[members.ravel()]


def _prefix_bits(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the bits of the points whose value is at most each point's, shape (n, words)."""
    n = len(values)
    order = np.argsort(values, kind="stable")
    one_hot = np.zeros((n, -(-n // 64)), np.uint64)
    one_hot[np.arange(n), order // 64] = np.uint64(1) << (order % 64).astype(np.uint64)
    prefixes = np.bitwise_or.accumulate(one_hot, axis=0)
    last_equal = np.searchsorted(values[order], values, side="right") - 1
    return prefixes[last_equal]


def _packed(flags: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack rows of flags, a multiple of 64 each, in the order of ``_prefix_bits``."""
    return np.packbits(flags, axis=1, bitorder="little").view(np.uint64)
