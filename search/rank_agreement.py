"""How well scores rank subnets: rank correlations with intervals, and regret.

Legend: n subnets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from litepose_ofa.supernet.errors import InputError, require

FEWEST_SUBNETS = 3
FEWEST_OF_INTERVAL = 10
"""Of fewer subnets no interval keeps what it says, and none is given."""

CONFIDENCE = 0.9
INTERVAL_ERRORS = 1.645
"""Standard errors from the middle of a 90 % interval to its ends."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the ends of its 90 % interval, None of fewer than ``FEWEST_OF_INTERVAL`` subnets."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """How well scores rank subnets: Kendall's tau-b, Spearman's rank correlation, and regret.

    The regret is the greatest truth of all subnets minus the greatest among the ``top_k`` of highest score, in the unit
    of the truth, 0 or more.
    """

    num_subnets: int
    top_k: int
    kendall_tau: Estimate
    spearman: float
    regret: float


def rank_agreement(scores: ArrayLike, truth: ArrayLike, *, top_k: int) -> RankAgreement:
    """Compare the order of scores with that of the truth.

    A correlation with values that are all equal counts as 0: they rank nothing. Of equal scores the one with the lower
    truth is taken first, so that ties never flatter the regret.

    Args:
        scores: Higher is predicted better, shape (n,).
        truth: Higher is better, shape (n,).
        top_k: How many of the best-scored subnets the regret looks at, 1 to n.

    Example:
        >>> agreement = rank_agreement([1, 2, 3, 4], [1, 2, 4, 3], top_k=1)
        >>> round(agreement.kendall_tau.value, 3), agreement.regret
        (0.667, 1.0)
    """
    x, y = _columns(scores, truth)
    require(1 <= top_k <= len(x), "top_k", top_k, f"from 1 to {len(x)}, the number of subnets")
    rx, ry = _signs(x).sum(axis=1), _signs(y).sum(axis=1)
    chosen = np.lexsort((y, -x))[:top_k]
    return RankAgreement(
        num_subnets=len(x),
        top_k=top_k,
        kendall_tau=combined_tau([(1, x, y)]),
        spearman=float(_cosine(rx @ ry, rx @ rx, ry @ ry)),
        regret=float(y.max() - y[chosen].max()),
    )


def combined_tau(terms: Sequence[tuple[float, ArrayLike, ArrayLike]], *, groups: ArrayLike | None = None) -> Estimate:
    """Return a weighted sum of Kendall's taus, such as a difference or a mean, with an interval.

    Of few subnets, 10 to 20, that of a difference holds up to 95 % in place of 90. See ``tau_with_error`` for the
    arguments. There is no interval either if one of the groups has too few subnets.
    """
    value, error = tau_with_error(terms, groups=groups)
    _, sizes = np.unique(np.zeros(len(np.asarray(terms[0][1]))) if groups is None else groups, return_counts=True)
    if sizes.min() < FEWEST_OF_INTERVAL:
        return Estimate(value)
    reach = sum(abs(factor) for factor, _, _ in terms)
    low, high = np.clip([value - INTERVAL_ERRORS * error, value + INTERVAL_ERRORS * error], -reach, reach).tolist()
    return Estimate(value, low, high)


def tau_with_error(
    terms: Sequence[tuple[float, ArrayLike, ArrayLike]], *, groups: ArrayLike | None = None
) -> tuple[float, float]:
    """Return a weighted sum of Kendall's taus and its standard error.

    The error is the jackknife's, which needs no distribution: all taus are taken without the same subnet in turn, so
    what they have in common cancels in a difference. A perfect order has no error of its own, so that of one pair of
    neighbours in the wrong order is the least of a single tau or a mean.

    Sources: Daniels, The relation between measures of correlation (1944): tau is a cosine of matrices of signs;
    Arvesen, Jackknifing U-statistics (1969).

    Args:
        terms: A factor and two rankings each; all are of the same subnets, shape (n,).
        groups: If given, the groups of the subnets, shape (n,); only pairs within a group are compared, and the
            jackknife is that of strata.
    """
    columns = _columns(*(values for _, *pair in terms for values in pair))
    n = len(columns[0])
    labels = np.zeros(n) if groups is None else np.asarray(groups)
    within = np.equal.outer(labels, labels)
    taus, least = np.zeros(1 + n), 0.0
    for (factor, _, _), x, y in zip(terms, columns[::2], columns[1::2], strict=True):
        sx, sy = _signs(x) * within, _signs(y) * within
        of_subnets = [(a * b).sum(axis=1) for a, b in ((sx, sy), (sx, sx), (sy, sy))]
        sums = [np.append(rows.sum(), rows.sum() - 2 * rows) for rows in of_subnets]
        taus += factor * _cosine(*sums)
        least += factor * 4 * 2**0.5 / max(float(sums[1][0] * sums[2][0]) ** 0.5, 4 * 2**0.5)
    sizes, left_out = within.sum(axis=1), taus[1:]
    deviations = left_out - within @ left_out / sizes
    error = float(np.sqrt(((sizes - 1) / sizes) @ deviations**2))
    return float(taus[0]), max(error, least)


def format_estimate(estimate: Mapping[str, float | None], form: str = ".2f", *, scale: float = 1) -> str:
    """Return ``value (low, high)``, each times ``scale``, of an ``Estimate`` as a mapping; the value if that is all."""
    value, *ends = (
        f"{scale * x:{form}}" for x in (estimate["value"], estimate["low"], estimate["high"]) if x is not None
    )
    return f"{value} ({', '.join(ends)})" if ends else value


def _columns(*arrays: ArrayLike) -> list[Floats]:
    columns = [np.asarray(array, np.float64) for array in arrays]
    lengths = [len(column) for column in columns]
    require(len(set(lengths)) == 1, "the number of scores and truths", lengths, "the same")
    require(lengths[0] >= FEWEST_SUBNETS, "the number of subnets", lengths[0], f"{FEWEST_SUBNETS} or more")
    if not all(np.isfinite(column).all() for column in columns):
        raise InputError("a score or a truth is not finite; every subnet needs both")
    return columns


def _signs(values: Floats) -> Floats:
    return np.sign(values[None, :] - values[:, None])


def _cosine(inner: Floats, xx: Floats, yy: Floats) -> Floats:
    norm = np.sqrt(xx * yy)
    return np.divide(inner, norm, out=np.zeros_like(inner), where=norm > 0)
