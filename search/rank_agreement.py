"""How well scores rank subnets: rank correlations and regret, with bootstrap intervals.

Legend: n subnets, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from litepose_ofa.supernet.errors import InputError, require

FEWEST_SUBNETS = 3
RESAMPLES = 2000
CONFIDENCE = 0.9

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its percentile bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """How well scores rank subnets: Kendall's tau-b, Spearman's rank correlation, and regret.

    The regret is the greatest truth of all subnets minus the greatest among the ``top_k`` of highest score, in the unit
    of the truth, 0 or more.
    """

    num_subnets: int
    top_k: int
    kendall_tau: Estimate
    spearman: Estimate
    regret: Estimate


def rank_agreement(
    scores: ArrayLike, truth: ArrayLike, *, top_k: int, rng: np.random.Generator, resamples: int = RESAMPLES
) -> RankAgreement:
    """Compare the order of scores with that of the truth.

    Intervals are percentile bootstrap over subnets, all resamples at once: ``scipy.stats.bootstrap`` would call a
    correlation for each. A subnet drawn twice is tied with itself, and tau-b leaves tied pairs out. A correlation with
    values that are all equal counts as 0: they rank nothing. Of equal scores the one with the lower truth is taken
    first, so that ties never flatter the regret.

    Args:
        scores: Higher is predicted better, shape (n,).
        truth: Higher is better, shape (n,).
        top_k: How many of the best-scored subnets the regret looks at, 1 to n.
        rng: Draws the resamples.
        resamples: B.

    Example:
        >>> agreement = rank_agreement([1, 2, 3, 4], [1, 2, 4, 3], top_k=1, rng=np.random.default_rng(0))
        >>> round(agreement.kendall_tau.value, 3), agreement.regret.value
        (0.667, 1.0)
    """
    x, y = _columns(scores, truth)
    require(1 <= top_k <= len(x), "top_k", top_k, f"from 1 to {len(x)}, the number of subnets")
    weights = _resample(len(x), rng, resamples)
    return RankAgreement(
        num_subnets=len(x),
        top_k=top_k,
        kendall_tau=_estimate(_kendall_tau(x, y, weights)),
        spearman=_estimate(_spearman(x, y, weights)),
        regret=_estimate(_regret(x, y, weights, top_k)),
    )


def combined_tau(
    terms: Sequence[tuple[float, ArrayLike, ArrayLike]], *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """Return a weighted sum of Kendall's taus, such as a difference or a mean.

    The bootstrap is paired: all taus are of the same resample, so what the subnets have in common cancels. A term is a
    factor and two rankings; all are of the same subnets, shape (n,).
    """
    columns = _columns(*(values for _, *pair in terms for values in pair))
    weights = _resample(len(columns[0]), rng, resamples)
    total = np.zeros(len(weights))
    for (factor, _, _), x, y in zip(terms, columns[::2], columns[1::2], strict=True):
        total += factor * _kendall_tau(x, y, weights)
    return _estimate(total)


def _columns(*arrays: ArrayLike) -> list[Floats]:
    columns = [np.asarray(array, np.float64) for array in arrays]
    lengths = [len(column) for column in columns]
    require(len(set(lengths)) == 1, "the number of scores and truths", lengths, "the same")
    require(lengths[0] >= FEWEST_SUBNETS, "the number of subnets", lengths[0], f"{FEWEST_SUBNETS} or more")
    if not all(np.isfinite(column).all() for column in columns):
        raise InputError("a score or a truth is not finite; every subnet needs both")
    return columns


def _resample(n: int, rng: np.random.Generator, resamples: int) -> Floats:
    """Return how often each resample holds each subnet, shape (1 + B, n); in the first each is there once."""
    return np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), size=resamples)])


def _estimate(statistic: Floats) -> Estimate:
    low, high = np.quantile(statistic[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(statistic[0]), float(low), float(high))


def _kendall_tau(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Return tau-b of weighted subnets, shape (B,).

    Source: Daniels, The relation between measures of correlation (1944): Kendall's and Spearman's coefficients are both
    cosines of sign matrices, of the matrices themselves and of their row sums.
    """
    sx, sy = _signs(x), _signs(y)
    return _cosine(*((weights @ signs * weights).sum(axis=1) for signs in (sx * sy, sx * sx, sy * sy)))


def _spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Return the correlation of the mean ranks of weighted subnets, shape (B,); see ``_kendall_tau``."""
    rx, ry = weights @ _signs(x), weights @ _signs(y)
    return _cosine(*((weights * a * b).sum(axis=1) for a, b in ((rx, ry), (rx, rx), (ry, ry))))


def _regret(scores: Floats, truth: Floats, weights: Floats, top_k: int) -> Floats:
    order = np.lexsort((truth, -scores))
    values, counts = truth[order], weights[:, order]
    before = np.cumsum(counts, axis=1) - counts
    drawn = counts > 0
    best = np.where(drawn, values, -np.inf).max(axis=1)
    best_taken = np.where(drawn & (before < top_k), values, -np.inf).max(axis=1)
    return np.asarray(best - best_taken, np.float64)


def _signs(values: Floats) -> Floats:
    return np.sign(values[None, :] - values[:, None])


def _cosine(inner: Floats, xx: Floats, yy: Floats) -> Floats:
    norm = np.sqrt(xx * yy)
    return np.divide(inner, norm, out=np.zeros_like(inner), where=norm > 0)
