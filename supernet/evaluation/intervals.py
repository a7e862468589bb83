"""How far an AP, or the difference of two, may be trusted: bootstrap intervals over the images."""

from dataclasses import dataclass

import numpy as np

from litepose_ofa.supernet.evaluation.matching import Matches


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a value may be expected on other images of the same kind, with this confidence."""

    low: float
    high: float
    confidence: float
    resamples: int


def ap_interval(
    matches: Matches, *, minus: Matches | None = None, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the percentile bootstrap interval of an AP, or of one network's AP minus another's.

    The images are drawn as many times as there are, with replacement; matches within an image stay as they are, so
    that nothing is matched again. It says how the AP varies with the images, not with the training. A difference is
    paired: both networks see every draw of images, and what makes an image hard is hard for both, so its interval is
    narrower than those of the APs suggest.

    Source: Efron, Bootstrap Methods: Another Look at the Jackknife (Annals of Statistics, 1979).

    Args:
        matches: Of the images, as ``PeopleComparison.matches``.
        minus: Of another network on the same images in the same order.
        resamples: How many sets of images are drawn, at least 1; a set without labelled people is left out.
        confidence: Fraction of the resampled values inside the interval, in (0, 1).
        seed: Seed of the draws.
    """
    assert resamples >= 1  # the config's models say so
    assert 0 < confidence < 1
    assert minus is None or np.array_equal(matches.labelled, minus.labelled), "the people to be found differ"
    rng, count = np.random.default_rng(seed), len(matches.labelled)
    draws = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(resamples))
    values = [
        matches.average_precision(times) - (0 if minus is None else minus.average_precision(times))
        for times in draws
        if matches.labelled @ times
    ]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail]).tolist()
    return Interval(low, high, confidence, resamples)
