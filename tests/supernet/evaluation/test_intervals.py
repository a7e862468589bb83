"""Bootstrap intervals against the APs of the draws; ``test_matching`` shows that these are those of resampled data."""

import dataclasses

import numpy as np
import pytest

from litepose_ofa.supernet.evaluation import ap_interval
from litepose_ofa.supernet.evaluation.matching import Matches


def matches_of(scores: list[float], images: list[int], correct: list[bool], labelled: list[int]) -> Matches:
    """Predictions of one threshold, in falling order of their scores."""
    order, right = np.argsort(-np.array(scores)), np.array(correct)
    right = right[None, order]
    pairs = np.zeros((2, 0), np.int64)
    return Matches(np.array(scores)[order], np.array(images)[order], right, ~right, np.array(labelled), pairs)


def population(num_images: int, seed: int) -> Matches:
    """Images of one to five people each, some images harder than others."""
    rng = np.random.default_rng(seed)
    people = rng.integers(1, 6, num_images)
    images = np.repeat(np.arange(num_images), people)
    correct = rng.random(len(images)) < rng.beta(4, 2, num_images)[images]
    return matches_of(rng.normal(correct, 1.0).tolist(), images.tolist(), correct.tolist(), people.tolist())


def test_equal_images_have_no_interval_and_empty_draws_are_left_out() -> None:
    interval = ap_interval(matches_of([0.9, 0.8], [0, 1], [True, True], [1, 1, 0, 0]), resamples=200)
    assert (interval.low, interval.high) == pytest.approx((1, 1), abs=1e-12)


def worse(matches: Matches, share: float, seed: int) -> Matches:
    """The same images and people, some of the found ones missed."""
    missed = np.random.default_rng(seed).random(matches.correct.shape) < share
    return dataclasses.replace(matches, correct=matches.correct & ~missed, wrong=matches.wrong | missed)


def test_an_interval_is_that_of_the_aps_on_every_draw() -> None:
    ours = population(40, seed=1)
    theirs = worse(ours, 0.2, seed=2)
    found = ap_interval(ours, minus=theirs, resamples=50, confidence=0.9, seed=3)
    rng = np.random.default_rng(3)
    draws = [np.bincount(rng.integers(40, size=40), minlength=40) for _ in range(50)]
    aps = np.array([[each.average_precision(times) for times in draws] for each in (ours, theirs)])
    assert [found.low, found.high] == pytest.approx(np.percentile(aps[0] - aps[1], [5, 95]).tolist(), abs=1e-12)
    alone = ap_interval(ours, resamples=50, confidence=0.9, seed=3)
    assert [alone.low, alone.high] == pytest.approx(np.percentile(aps[0], [5, 95]).tolist(), abs=1e-12)


def test_pairing_narrows_the_interval_and_a_network_equals_itself() -> None:
    ours = population(60, seed=4)
    theirs = worse(ours, 0.05, seed=5)
    paired = ap_interval(ours, minus=theirs, resamples=200)
    alone = [ap_interval(matches, resamples=200) for matches in (ours, theirs)]
    assert paired.high - paired.low < min(each.high - each.low for each in alone)
    same = ap_interval(ours, minus=ours, resamples=10)
    assert (same.low, same.high) == (0, 0)
