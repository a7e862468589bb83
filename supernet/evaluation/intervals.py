"""How far an AP, or the difference of two, may be trusted: intervals over the images.

The images are drawn as many times as there are, with replacement; matches within an image stay as they are, so that
nothing is matched again. How much the APs on these draws vary is the error of the AP: with the images, not with the
training. Networks that see the same draws can be compared in pairs: what makes an image hard is hard for both, so that
their difference is known better than either AP.

Source of the draws: Efron, Bootstrap Methods: Another Look at the Jackknife (Annals of Statistics, 1979). The ends of
an interval are Student's t, of an AP on the scale of log odds: percentiles of the draws lie too near to each other.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import expit, logit, stdtrit

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.matching import Matches

CONFIDENCE = 0.95
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a value may be expected on other images of the same kind, with this confidence."""

    low: float
    high: float
    confidence: float
    resamples: int


@dataclass(frozen=True, slots=True)
class ResampledAP:
    """The AP of a network on images and on draws of them: plain values, kept in records.

    Attributes:
        ap: On the images, in [0, 1].
        draws: On each draw, rounded; a draw without labelled people is left out.
        images: Number of the images.
        drawn: Short hash of the draws: of two networks with the same, the draws are the same.
    """

    ap: float
    draws: tuple[float, ...]
    images: int
    drawn: str

    @classmethod
    def of(cls, matches: Matches, *, resamples: int = 1000, seed: int = 0) -> Self:
        """Draw images, of which ``PeopleComparison.matches`` are given, at least once."""
        assert resamples >= 1  # the config's models say so
        rng, count = np.random.default_rng(seed), len(matches.labelled)
        draws = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(resamples))
        aps = tuple(round(matches.average_precision(times), DECIMALS) for times in draws if matches.labelled @ times)
        drawn = hashlib.sha256(f"{seed} {matches.labelled.tolist()}".encode()).hexdigest()[:12]
        return cls(matches.average_precision(), aps, count, drawn)

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the interval of the AP."""
        half = self._half_width(np.array(self.draws), confidence)
        if half < 10.0**-DECIMALS:  # perfect, or nothing found: every draw is like the others
            return Interval(self.ap, self.ap, confidence, len(self.draws))
        middle, half = logit(self.ap), half / (self.ap * (1 - self.ap))
        return Interval(float(expit(middle - half)), float(expit(middle + half)), confidence, len(self.draws))

    def minus(self, other: "ResampledAP", confidence: float = CONFIDENCE) -> tuple[float, Interval]:
        """Return this AP minus another network's on the same images, and the interval of that difference.

        Raises:
            InputError: If the images or their draws are not the same.
        """
        if (self.drawn, len(self.draws)) != (other.drawn, len(other.draws)):
            raise InputError("two APs are of other images, or other draws of them; only on the same they can be paired")
        difference = self.ap - other.ap
        half = self._half_width(np.subtract(self.draws, other.draws), confidence)
        return difference, Interval(max(difference - half, -1), min(difference + half, 1), confidence, len(self.draws))

    def _half_width(self, draws: "np.ndarray[tuple[int], np.dtype[np.float64]]", confidence: float) -> float:
        """Return how far the ends are from the middle; draws vary less than new images, by the root of (n - 1) / n."""
        assert 0 < confidence < 1
        if min(len(draws), self.images) < 2:
            return 0.0
        error = float(np.std(draws, ddof=1)) * math.sqrt(self.images / (self.images - 1))
        return error * float(stdtrit(self.images - 1, (1 + confidence) / 2))
