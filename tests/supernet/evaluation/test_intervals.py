"""Intervals over images: what they are made of, and how often they hold the AP of all images there could be."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import t as student_t

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.intervals import Rate, ResampledAP
from litepose_ofa.supernet.evaluation.matching import Matches

THRESHOLDS = np.array([0.7])


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


def worse(matches: Matches, share: float, seed: int) -> Matches:
    """The same images and people, some of the found ones missed."""
    missed = np.random.default_rng(seed).random(matches.correct.shape) < share
    return dataclasses.replace(matches, correct=matches.correct & ~missed, wrong=matches.wrong | missed)


def two_networks(num_images: int, seed: int, skill: float) -> tuple[Matches, Matches]:
    """A network and a better one on images that are hard or easy for both, with false positives beside the people."""
    rng = np.random.default_rng(seed)
    people = rng.integers(1, 4, num_images)
    images = np.repeat(np.arange(num_images), people)
    ease = rng.normal(size=num_images)[images] + rng.normal(size=len(images))
    ghosts = rng.integers(num_images, size=num_images // 4)
    found = []
    for better in (0.0, 0.5):
        similarity = 1 / (1 + np.exp(-(skill + better + ease + rng.normal(size=len(images)))))
        scores = np.concatenate([similarity + 0.2 * rng.normal(size=len(images)), rng.uniform(0.2, 0.8, len(ghosts))])
        order = np.argsort(-scores)
        right = np.concatenate([similarity, np.zeros(len(ghosts))])[order] > THRESHOLDS[:, None]
        where, pairs = np.concatenate([images, ghosts])[order], np.zeros((2, 0), np.int64)
        found.append(Matches(scores[order], where, right, ~right, people, pairs))
    return found[0], found[1]


def test_equal_images_have_no_interval_and_empty_draws_are_left_out() -> None:
    drawn = ResampledAP.of(matches_of([0.9, 0.8], [0, 1], [True, True], [1, 1, 0, 0]), resamples=200)
    assert 150 < len(drawn.draws) < 200
    assert (drawn.interval().low, drawn.interval().high) == pytest.approx((1, 1), abs=1e-12)


def test_an_interval_is_as_wide_as_the_draws_vary() -> None:
    networks = [population(40, seed=1), worse(population(40, seed=1), 0.2, seed=2)]
    rng = np.random.default_rng(3)
    draws = [np.bincount(rng.integers(40, size=40), minlength=40) for _ in range(50)]
    aps = np.array([[each.average_precision(times) for times in draws] for each in networks])
    ours, theirs = (ResampledAP.of(each, resamples=50, seed=3) for each in networks)
    np.testing.assert_allclose([ours.draws, theirs.draws], aps, atol=1e-6)
    difference, found = ours.minus(theirs, 0.9)
    assert difference == networks[0].average_precision() - networks[1].average_precision()
    half = student_t.ppf(0.95, 39) * np.std(aps[0] - aps[1], ddof=1) * np.sqrt(40 / 39)
    assert (found.low, found.high) == pytest.approx((difference - half, difference + half), abs=1e-5)
    assert (found.confidence, found.resamples) == (0.9, 50)
    alone, ap = ours.interval(0.9), ours.ap
    half = student_t.ppf(0.95, 39) * np.std(aps[0], ddof=1) * np.sqrt(40 / 39) / (ap * (1 - ap))
    log_odds = np.log(ap / (1 - ap)) + np.array([-half, half])
    assert (alone.low, alone.high) == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-5)


def test_pairing_narrows_the_interval_and_a_network_equals_itself() -> None:
    ours, theirs = (ResampledAP.of(each) for each in (population(60, 4), worse(population(60, 4), 0.05, seed=5)))
    paired = ours.minus(theirs)[1]
    assert paired.high - paired.low < min(each.interval().high - each.interval().low for each in (ours, theirs))
    difference, same = ours.minus(ours)
    assert (difference, same.low, same.high) == (0, 0, 0)
    assert ResampledAP(**json.loads(json.dumps(dataclasses.asdict(ours)))).minus(ours)[0] == 0


def test_other_images_or_draws_cannot_be_paired() -> None:
    ours = ResampledAP.of(population(30, 4), resamples=20)
    for other in ({"resamples": 20, "seed": 1}, {"resamples": 30}):
        with pytest.raises(InputError, match="of other images, or other draws"):
            ours.minus(ResampledAP.of(population(30, 4), **other))
    with pytest.raises(InputError, match="of other images, or other draws"):
        ours.minus(ResampledAP.of(population(30, 5), resamples=20))


def test_intervals_of_an_ap_and_of_a_difference_hold_what_all_images_give() -> None:
    skill = 1.0
    truth = [network.average_precision() for network in two_networks(20_000, 1_000_000, skill)]
    covered = []
    for seed in range(1000):
        poor, good = (ResampledAP.of(each, resamples=25, seed=seed) for each in two_networks(60, seed, skill))
        alone, (_, paired) = poor.interval(), good.minus(poor)
        covered.append((alone.low <= truth[0] <= alone.high, paired.low <= truth[1] - truth[0] <= paired.high))
    assert np.mean(covered, axis=0) == pytest.approx([0.95, 0.95], abs=0.025)


@pytest.mark.parametrize("most", [1.0, 20.0])
def test_a_rate_is_a_ratio_of_sums_on_draws_of_the_images_that_count(most: float) -> None:
    """Written out: images without a total take no part, and the ends are even on the scale of log odds."""
    rng = np.random.default_rng(0)
    totals = rng.integers(0, 4, 50)
    parts = rng.binomial(totals, 0.3)
    rate = Rate.over_images(parts, totals, resamples=60, seed=2, most=most)
    assert rate is not None
    assert rate.interval is not None
    assert (rate.value, rate.total) == (parts.sum() / totals.sum(), totals.sum())
    parts, totals, draws = parts[totals > 0], totals[totals > 0], np.random.default_rng(2)
    images, drawn = len(totals), []
    for _ in range(60):
        chosen = draws.integers(images, size=images)
        drawn.append(parts[chosen].sum() / totals[chosen].sum())
    part = rate.value / most
    half = student_t.ppf(0.975, images - 1) * np.std(drawn, ddof=1) * np.sqrt(images / (images - 1)) / most
    log_odds = np.log(part / (1 - part)) + np.array([-half, half]) / (part * (1 - part))
    assert (rate.interval.low, rate.interval.high) == pytest.approx(most / (1 + np.exp(-log_odds)))


def test_a_rate_of_nothing_is_none_and_one_of_equal_images_has_no_width() -> None:
    nothing = np.zeros(3, np.int64)
    assert Rate.over_images(nothing, nothing, resamples=10) is None
    rate = Rate.over_images(nothing, nothing + 1, resamples=10)
    assert rate is not None
    assert rate.interval is not None
    assert (rate.value, rate.interval.low, rate.interval.high) == (0, 0, 0)
    assert Rate.over_images(nothing, nothing + 1, resamples=0) == Rate(0.0, 3, None)
