"""How far an AP may be trusted: its bootstrap interval over the images."""

from dataclasses import dataclass

import numpy as np

from supernet.errors import require
from supernet.evaluation.matching import Matches


@dataclass(frozen=True, slots=True)
class ApInterval:
    """An AP and where it may be expected on other images of the same kind.

    Attributes:
        ap: Of the images as they are, in [0, 1].
        low: Lower end of the interval.
        high: Upper end.
        confidence: Share of such intervals that hold the AP of all images of the kind.
        resamples: How many resampled sets of images it comes from.
    """

    ap: float
    low: float
    high: float
    confidence: float
    resamples: int

    def __str__(self) -> str:
        return f"{100 * self.ap:.1f} ({100 * self.low:.1f}-{100 * self.high:.1f})"


def ap_interval(matches: Matches, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> ApInterval:
    """Return the AP with its percentile bootstrap interval.

    The images are drawn as many times as there are, with replacement; matches within an image stay as they are, so
    that nothing is matched again. It says how the AP varies with the images, not with the training.

    Source: Efron, Bootstrap Methods: Another Look at the Jackknife (Annals of Statistics, 1979).

    Args:
        matches: Of the images, as ``PeopleComparison.matches``.
        resamples: How many sets of images are drawn; a set without labelled people is left out.
        confidence: Share of the resampled APs inside the interval, in (0, 1).
        seed: Seed of the draws.

    Raises:
        InputError: If ``resamples`` or ``confidence`` is out of range.
    """
    require(resamples >= 1, "resamples", resamples, "at least 1")
    require(0 < confidence < 1, "confidence", confidence, "above 0 and below 1")
    rng = np.random.default_rng(seed)
    count = matches.num_images
    draws = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(resamples))
    aps = [matches.average_precision(times) for times in draws if matches.labelled @ times]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(aps, [tail, 100 - tail]).tolist()
    return ApInterval(matches.average_precision(), low, high, confidence, resamples)
