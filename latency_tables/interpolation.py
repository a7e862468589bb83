"""Latency of an operator between measured ones: inside their convex hull, piecewise linear in logarithms.

Legend: N rows, D dimensions of an operator's size (logarithms of its resolution and its three channel counts).

Rows are comparable if kind, kernel, stride and expansion agree. Among them the operator is written as the convex
combination of rows that lies nearest to it, by the mean squared distance of the rows to it. That linear programme
finds the simplex of the rows' Delaunay triangulation around the operator without triangulating, and is infeasible
exactly where the operator is outside the hull.

The error of linear interpolation on a simplex is at most half the curvature times that same mean squared distance
(Waldron, The error in linear interpolation at the vertices of a simplex, SIAM J. Numer. Anal. 35, 1998).
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables.rows import OperatorLatency, operator_order
from litepose_ofa.supernet.archs.operators import Operator

Floats = NDArray[np.float64]

DIAGONAL = 0.1
"""Share by which moving all sizes together counts as nearer: it decides between the equal simplices of a grid."""

ROUGHNESS = 0.02
"""Relative error (one sigma) between rows however close: 663 measured blocks of a Snapdragon 855 core, each left out
and interpolated between rows a few pixels away, gave 2.0 % root mean square (mit-han-lab/once-for-all @ 698a5c1)."""

HALF_CURVATURE = 0.2
"""Relative error (one sigma) per mean squared distance in natural logarithms: rows of the shipped tables, each left
out, gave 0.04 (Raspberry Pi) to 0.2 (Snapdragon 855's GPU)."""

_INSIDE = 1e-7  # HiGHS's own tolerance on a constraint


class Interpolator:
    """Interpolates between the rows of one table; remembers what it was asked."""

    def __init__(self, rows: Mapping[Operator, OperatorLatency]) -> None:
        self._rows = rows
        self._answers: dict[Operator, OperatorLatency | None] = {}

    def interpolate(self, operator: Operator) -> OperatorLatency | None:
        """Return the latency of an operator that has no row, or None if it is outside the hull of comparable rows.

        Latency and energy are weighted geometric means of the rows. The spread adds, in squares, the rows' mean
        relative spread, ``ROUGHNESS``, and ``HALF_CURVATURE`` times their mean squared distance. The answer has 0
        samples; it has an energy if all the rows have one.
        """
        if operator not in self._answers:
            self._answers[operator] = self._solve(operator)
        return self._answers[operator]

    @cached_property
    def _comparable(self) -> dict[tuple[str, int, int, int], list[Operator]]:
        groups = defaultdict(list)
        for operator in sorted(self._rows, key=operator_order):  # the order of a file must not change an answer
            groups[_family(operator)].append(operator)
        return dict(groups)

    def _solve(self, operator: Operator) -> OperatorLatency | None:
        neighbours = self._comparable.get(_family(operator), [])
        if not neighbours:
            return None
        points, query = np.array([_sizes(o) for o in neighbours]), np.array(_sizes(operator))
        weights = convex_weights(points, query)
        if weights is None:
            return None
        used = np.flatnonzero(weights)
        squared_distance = float(weights[used] @ ((points[used] - query) ** 2).sum(axis=1))
        rows, weights = [self._rows[neighbours[i]] for i in used], weights[used]
        ms = math.exp(sum(w * math.log(row.ms) for w, row in zip(weights, rows, strict=True)))
        rows_spread = sum(w * row.std_ms / row.ms for w, row in zip(weights, rows, strict=True))
        spread = math.hypot(rows_spread, ROUGHNESS, HALF_CURVATURE * squared_distance)
        known = [row.energy_mj for row in rows if row.energy_mj is not None]
        energy_mj = math.exp(float(weights @ np.log(known))) if len(known) == len(rows) else None
        return OperatorLatency(float(ms), float(ms * spread), samples=0, energy_mj=energy_mj)


def convex_weights(points: Floats, query: Floats) -> Floats | None:
    """Write a point as the nearest convex combination of others: its coordinates in their Delaunay simplex.

    Nearness is the mean of |d|^2 - ``DIAGONAL`` (sum of d)^2 over the differences d to the point, a positive form for
    up to 1 / ``DIAGONAL`` dimensions. On a grid, where |d|^2 alone leaves all corners of a cell equal, it cuts
    every cell along the diagonal from its smallest to its largest corner.

    Args:
        points: Shape (N, D); flat, repeated and few points are fine.
        query: Shape (D,).

    Returns:
        Weights of at least 0 with sum 1, shape (N,), or None if the query is outside the convex hull.
    """
    from scipy.optimize import linprog  # slow to import, and most tables are never asked to interpolate

    offsets = points - query
    if (offsets.min(axis=0) > _INSIDE).any() or (offsets.max(axis=0) < -_INSIDE).any():
        return None
    distances = (offsets**2).sum(axis=1) - DIAGONAL * offsets.sum(axis=1) ** 2
    constraints = np.vstack([offsets.T, np.ones(len(points))])
    solution = linprog(
        distances,
        A_eq=constraints,
        b_eq=[*np.zeros(len(query)), 1.0],
        method="highs-ds",
        options={"presolve": False},  # takes longer than it saves on so few constraints
    )
    return np.maximum(solution.x, 0.0) if solution.x is not None and solution.success else None


def _family(operator: Operator) -> tuple[str, int, int, int]:
    return operator.kind, operator.kernel, operator.stride, operator.expansion


def _sizes(operator: Operator) -> tuple[float, ...]:
    o = operator
    return tuple(map(math.log, (o.resolution, o.in_channels, o.mid_channels, o.out_channels)))
