"""How far an AP, or the difference of two, may be trusted: bootstrap intervals over the images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.evaluation.matching import IntArray, Matches


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
    aps = [matches.average_precision(times) for times in _draws(matches, resamples, confidence, seed)]
    return ApInterval(matches.average_precision(), *_percentiles(aps, confidence), confidence, resamples)


@dataclass(frozen=True, slots=True)
class ApDifference:
    """How much better one network is than another on the same images.

    Attributes:
        difference: AP of the one minus AP of the other, of the images as they are.
        low: Lower end of the interval of the difference.
        high: Upper end.
        confidence: As of ``ApInterval``.
        resamples: As of ``ApInterval``.
    """

    difference: float
    low: float
    high: float
    confidence: float
    resamples: int

    def __str__(self) -> str:
        return f"{100 * self.difference:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def ap_difference(
    ours: Matches, theirs: Matches, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> ApDifference:
    """Return the difference of two APs with its paired bootstrap interval: both see every draw of images.

    What makes an image hard is hard for both, so the interval is narrower than those of the APs let expect.

    Args:
        ours: Of one network.
        theirs: Of the other, of the same images in the same order.
        resamples: As of ``ap_interval``.
        confidence: As of ``ap_interval``.
        seed: As of ``ap_interval``.

    Raises:
        InputError: If ``resamples`` or ``confidence`` is out of range, or the people to be found differ.
    """
    same = np.array_equal(ours.labelled, theirs.labelled)
    require(same, "theirs", f"of {theirs.num_images} images", f"of the same {ours.num_images} images")
    differences = [
        ours.average_precision(times) - theirs.average_precision(times)
        for times in _draws(ours, resamples, confidence, seed)
    ]
    difference = ours.average_precision() - theirs.average_precision()
    return ApDifference(difference, *_percentiles(differences, confidence), confidence, resamples)


def _draws(matches: Matches, resamples: int, confidence: float, seed: int) -> Iterator[IntArray]:
    """Yield how often each image is drawn, shape (I,), for sets in which anyone is labelled."""
    require(resamples >= 1, "resamples", resamples, "at least 1")
    require(0 < confidence < 1, "confidence", confidence, "above 0 and below 1")
    rng = np.random.default_rng(seed)
    count = matches.num_images
    draws = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(resamples))
    return (times for times in draws if matches.labelled @ times)


def _percentiles(values: list[float], confidence: float) -> tuple[float, float]:
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail]).tolist()
    return low, high
