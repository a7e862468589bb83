"""How far an AP, or the difference of two, may be trusted: bootstrap intervals over the images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.evaluation.matching import IntArray, Matches


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a value may be expected on other images of the same kind.

    Attributes:
        low: Lower end.
        high: Upper end.
        confidence: Fraction of such intervals that hold the value of all images of the kind.
        resamples: How many resampled sets of images it comes from.
    """

    low: float
    high: float
    confidence: float
    resamples: int


def ap_interval(matches: Matches, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Return the percentile bootstrap interval of an AP.

    The images are drawn as many times as there are, with replacement; matches within an image stay as they are, so
    that nothing is matched again. It says how the AP varies with the images, not with the training.

    Source: Efron, Bootstrap Methods: Another Look at the Jackknife (Annals of Statistics, 1979).

    Args:
        matches: Of the images, as ``PeopleComparison.matches``.
        resamples: How many sets of images are drawn; a set without labelled people is left out.
        confidence: Fraction of the resampled APs inside the interval, in (0, 1).
        seed: Seed of the draws.

    Raises:
        InputError: If ``resamples`` or ``confidence`` is out of range.
    """
    return _bootstrap(matches.average_precision, matches, resamples, confidence, seed)


def ap_difference(
    ours: Matches, theirs: Matches, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the paired bootstrap interval of one network's AP minus another's: both see every draw of images.

    What makes an image hard is hard for both, so the interval is narrower than those of the APs suggest. The arguments
    are those of ``ap_interval``, for two networks on the same images in the same order.

    Raises:
        InputError: If ``resamples`` or ``confidence`` is out of range, or the people to be found differ.
    """
    same = np.array_equal(ours.labelled, theirs.labelled)
    require(same, "theirs", f"of {len(theirs.labelled)} images", f"of the same {len(ours.labelled)} images")
    return _bootstrap(
        lambda times: ours.average_precision(times) - theirs.average_precision(times),
        ours,
        resamples,
        confidence,
        seed,
    )


def _bootstrap(
    statistic: Callable[[IntArray], float], matches: Matches, resamples: int, confidence: float, seed: int
) -> Interval:
    """Return the interval of a statistic of how often each image is drawn, shape (I,)."""
    require(resamples >= 1, "resamples", resamples, "at least 1")
    require(0 < confidence < 1, "confidence", confidence, "above 0 and below 1")
    rng, count = np.random.default_rng(seed), len(matches.labelled)
    draws = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(resamples))
    values = [statistic(times) for times in draws if matches.labelled @ times]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail]).tolist()
    return Interval(low, high, confidence, resamples)
