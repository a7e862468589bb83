"""Which of many candidates to evaluate next, when only predictions of their AP are known.

Legend: m candidates, G genes.
"""

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.pareto import hypervolume_gains
from litepose_ofa.search.problem.problem import History, SearchProblem, View
from litepose_ofa.supernet.validation import Fraction, NonNegative, settings

REFERENCE_MARGIN = 0.05
"""How far the corner of hypervolumes lies beyond the budget, as a share of a front's extent in cost: without it a
candidate just within the budget would gain nothing."""


@settings
class BatchSettings:
    """How a batch is chosen.

    Attributes:
        best_fraction: Share of the batch that goes for the greatest AP within the budget alone, not for the front.
        best_of_several: The same where the search is after several fronts: the bests of many budgets are a front.
        unsure_fraction: Share of the batch that is judged by its upper confidence bound, not by the mean.
        confidence: How many standard deviations that bound is above the mean.
    """

    best_fraction: Fraction = 0.25
    best_of_several: Fraction = 0.75
    unsure_fraction: Fraction = 0.25
    confidence: NonNegative = 2.0


def choose_batch(
    problem: SearchProblem,
    history: History,
    pool: Genomes,
    prediction: tuple[NDArray[np.float64], NDArray[np.float64]],
    size: int,
    shares: BatchSettings,
) -> NDArray[np.intp]:
    """Return the indices of the ``size`` candidates, or fewer, that promise most, the most promising first.

    One candidate after another is taken that raises the hypervolume most, each counted as evaluated by those after it,
    so that a batch spreads along the front. Where the search is after several fronts, these take turns, over the
    batches of a search too, and neighbours among them play different parts in a round; so each front gets its shares
    even where a batch has but one candidate for it.

    Args:
        problem: What is searched.
        history: What is evaluated, with the AP that the model believes it has: by measurements with noise the luckiest
            would keep better ones from the batch.
        pool: Distinct candidates that the history lacks, shape (m, G); of equal promise the first is taken.
        prediction: Their AP and its standard deviation, each of shape (m,).
        size: Greatest number of indices.
        shares: How the batch is divided.
    """
    if not len(pool):
        return np.zeros(0, np.intp)
    mean, std = prediction
    by_mean = problem.views(problem.evaluated(pool, mean))
    by_upper_bound = problem.views(problem.evaluated(pool, np.minimum(mean + shares.confidence * std, 1)))
    known = problem.views(history)
    fronts = [_GrowingFront(*views) for views in zip(known, by_mean, by_upper_bound, strict=True)]
    taken: list[int] = []
    begin, best_fraction = (len(history), shares.best_of_several) if len(fronts) > 1 else (0, shares.best_fraction)
    for turn in range(begin, begin + size):
        round_, number = divmod(turn, len(fronts))
        front, round_ = fronts[number], round_ + number
        index = front.most_promising(
            np.array(taken, np.intp),
            best=_is_due(round_, best_fraction, first=True),
            unsure=_is_due(round_, shares.unsure_fraction, first=False),
        )
        if index is not None:
            taken.append(index)
            for each in fronts:
                each.take(index)
    return np.array(taken, np.intp)


class _GrowingFront:
    """One front of the search: what is evaluated, and what is taken into the batch."""

    def __init__(self, known: View, by_mean: View, by_upper_bound: View) -> None:
        self._feasible = by_mean.excess == 0
        self._by_mean, self._by_upper_bound = by_mean.points, by_upper_bound.points
        self._front = known.points[known.front]
        least = np.min([*by_mean.points[self._feasible, 1], *self._front[:, 1], by_mean.reference[1]])
        budget = by_mean.reference[1]
        self._reference = (by_mean.reference[0], float(budget + REFERENCE_MARGIN * (budget - least)))

    def most_promising(self, taken: NDArray[np.intp], *, best: bool, unsure: bool) -> int | None:
        """Return the free candidate to take next, or None if none keeps the constraints."""
        free = self._feasible.copy()
        free[taken] = False
        if not free.any():
            return None
        if best:
            points = self._by_upper_bound if unsure else self._by_mean
            return int(np.where(free, points[:, 0], np.inf).argmin())
        for points in (self._by_upper_bound,) if unsure else (self._by_mean, self._by_upper_bound):
            gains = np.where(free, hypervolume_gains(points, self._front, self._reference), -1)
            if gains.max() > 0:
                return int(gains.argmax())
        return int(free.argmax())

    def take(self, index: int) -> None:
        """Count a candidate as evaluated, with its mean AP."""
        if self._feasible[index]:
            self._front = np.concatenate([self._front, self._by_mean[index : index + 1]])


def _is_due(round_: int, fraction: float, *, first: bool) -> bool:
    """Say whether a share of all rounds has its turn in this one, in the first round already or after 1 / fraction."""
    start = round_ if first else round_ + 1
    return int(start * fraction) > int((start - 1) * fraction) or (first and round_ == 0 and fraction > 0)
