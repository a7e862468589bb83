"""How far an AP, the difference of two, or a rate may be trusted: intervals over the images.

The images are drawn as many times as there are, with replacement; matches within an image stay as they are, so that
nothing is matched again. How much the APs on these draws vary is the error of the AP: with the images, not with the
training. Networks that see the same draws can be compared in pairs: what makes an image hard is hard for both, so that
their difference is known better than either AP.

Source of the draws: Efron, Bootstrap Methods: Another Look at the Jackknife (Annals of Statistics, 1979). The ends of
an interval are Student's t, of an AP on the scale of log odds: percentiles of the draws lie too near to each other.

Legend: I images.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import expit, logit, stdtrit

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.matching import FloatArray, IntArray, Matches

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
        count = len(matches.labelled)
        draws = (times for times in _draws(count, resamples, seed) if matches.labelled @ times)
        aps = tuple(round(matches.average_precision(times), DECIMALS) for times in draws)
        drawn = hashlib.sha256(f"{seed} {matches.labelled.tolist()}".encode()).hexdigest()[:12]
        return cls(matches.average_precision(), aps, count, drawn)

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the interval of the AP."""
        return _interval(self.ap, np.array(self.draws), self.images, confidence)

    def minus(self, other: "ResampledAP", confidence: float = CONFIDENCE) -> tuple[float, Interval]:
        """Return this AP minus another network's on the same images, and the interval of that difference.

        Raises:
            InputError: If the images or their draws are not the same.
        """
        if (self.drawn, len(self.draws)) != (other.drawn, len(other.draws)):
            raise InputError("two APs are of other images, or other draws of them; only on the same they can be paired")
        difference = self.ap - other.ap
        half = _half_width(np.subtract(self.draws, other.draws), self.images, confidence)
        return difference, Interval(max(difference - half, -1), min(difference + half, 1), confidence, len(self.draws))


@dataclass(frozen=True, slots=True)
class Rate:
    """A count by another, such as of found people by people: plain values, kept in records.

    Attributes:
        value: Their ratio.
        total: The count below the line.
        interval: Where the ratio may be expected; None if the images were not drawn.
    """

    value: float
    total: int
    interval: Interval | None

    @classmethod
    def over_images(
        cls, parts: IntArray, totals: IntArray, *, resamples: int, seed: int = 0, most: float = 1.0
    ) -> Self | None:
        """Return the ratio of two sums over images, of which those with a total are drawn; None if there are none.

        Args:
            parts: The count above the line, by image, shape (I,).
            totals: The one below it, by image, shape (I,).
            resamples: Number of draws; 0 for no interval.
            seed: Of the draws.
            most: Greatest possible ratio: the interval is within 0 and it.
        """
        parts, totals = parts[totals > 0], totals[totals > 0]
        if not len(totals):
            return None
        value, interval = float(parts.sum() / totals.sum()), None
        if resamples:
            drawn = [(parts @ times) / (totals @ times) for times in _draws(len(totals), resamples, seed)]
            interval = _interval(value, np.array(drawn), len(totals), CONFIDENCE, most)
        return cls(value, int(totals.sum()), interval)


def _draws(images: int, resamples: int, seed: int) -> Iterator[IntArray]:
    """Yield how often each image is in a draw, shape (I,)."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(images, size=images), minlength=images)


def _interval(value: float, draws: FloatArray, images: int, confidence: float, most: float = 1.0) -> Interval:
    """Return the interval of a value in [0, ``most``] that had these values on the draws."""
    half, part = _half_width(draws, images, confidence) / most, value / most
    if half < 10.0**-DECIMALS:  # perfect, or nothing found: every draw is like the others
        return Interval(value, value, confidence, len(draws))
    middle, half = logit(part), half / (part * (1 - part))
    return Interval(float(most * expit(middle - half)), float(most * expit(middle + half)), confidence, len(draws))


def _half_width(draws: FloatArray, images: int, confidence: float) -> float:
    """Return how far the ends are from the middle; draws vary less than new images, by the root of (n - 1) / n."""
    assert 0 < confidence < 1
    if min(len(draws), images) < 2:
        return 0.0
    error = float(np.std(draws, ddof=1)) * math.sqrt(images / (images - 1))
    return error * float(stdtrit(images - 1, (1 + confidence) / 2))
