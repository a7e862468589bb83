"""Rank correlations and regret against scipy and counting by hand; intervals cover; ties; refusals."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from litepose_ofa.search.rank_agreement import Estimate, combined_tau, rank_agreement
from litepose_ofa.supernet.errors import InputError

Floats = NDArray[np.float64]


def tau_by_pairs(x: Floats, y: Floats) -> float:
    """Tau-b, pair by pair."""
    concordant = untied_x = untied_y = 0.0
    for i, j in combinations(range(len(x)), 2):
        concordant += np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
        untied_x += x[i] != x[j]
        untied_y += y[i] != y[j]
    return float(concordant / np.sqrt(untied_x * untied_y)) if untied_x and untied_y else 0.0


def regret_by_hand(scores: Floats, truth: Floats, top_k: int) -> float:
    ranked = sorted(zip(-scores, truth, strict=True))
    return float(truth.max() - max(value for _, value in ranked[:top_k]))


tied_values = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12)


@given(tied_values, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_figures_are_those_of_the_definitions(pairs: list[tuple[int, int]], top_k: int) -> None:
    x, y = np.array(pairs, np.float64).T
    found = rank_agreement(x, y, top_k=top_k, rng=np.random.default_rng(0), resamples=1)
    assert found.kendall_tau.value == pytest.approx(tau_by_pairs(x, y), abs=1e-12)
    assert found.regret.value == regret_by_hand(x, y, top_k)
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert found.kendall_tau.value == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)
        assert found.spearman.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_every_resample_has_the_figures_of_its_subnets() -> None:
    """The interval from weighted sums equals the one from drawing the subnets and calling scipy on each draw."""
    rng = np.random.default_rng(3)
    truth = rng.random(7)
    scores = np.round(truth + rng.normal(0, 0.3, 7), 1)
    n, resamples, top_k = 7, 60, 2
    found = rank_agreement(scores, truth, top_k=top_k, rng=np.random.default_rng(5), resamples=resamples)
    counts = np.random.default_rng(5).multinomial(n, np.full(n, 1 / n), size=resamples)
    drawn = [np.repeat(np.arange(n), row) for row in counts]
    taus = [kendalltau(scores[rows], truth[rows]).statistic for rows in drawn]
    rhos = [spearmanr(scores[rows], truth[rows]).statistic for rows in drawn]
    regrets = [regret_by_hand(scores[rows], truth[rows], top_k) for rows in drawn]
    for estimate, statistics in ((found.kendall_tau, taus), (found.spearman, rhos), (found.regret, regrets)):
        expected = np.quantile(statistics, [0.05, 0.95])
        np.testing.assert_allclose((estimate.low, estimate.high), expected, atol=1e-12)


def test_extremes() -> None:
    truth = np.linspace(0.1, 0.6, 8)
    rng = np.random.default_rng(0)
    best = rank_agreement(truth**2, truth, top_k=1, rng=rng)
    assert (best.num_subnets, best.top_k) == (8, 1)
    assert (best.kendall_tau, best.spearman, best.regret) == (Estimate(1, 1, 1), Estimate(1, 1, 1), Estimate(0, 0, 0))
    worst = rank_agreement(-truth, truth, top_k=3, rng=rng)
    assert worst.kendall_tau.value == worst.spearman.value == -1
    assert worst.regret.value == pytest.approx(0.5 * 5 / 7)
    assert rank_agreement(-truth, truth, top_k=8, rng=rng).regret.value == 0


def test_equal_scores_rank_nothing_and_do_not_flatter() -> None:
    truth = np.array([0.1, 0.2, 0.3, 0.4])
    found = rank_agreement(np.full(4, 7.0), truth, top_k=2, rng=np.random.default_rng(0))
    assert (found.kendall_tau, found.spearman) == (Estimate(0, 0, 0), Estimate(0, 0, 0))
    assert found.regret.value == pytest.approx(0.2)


def test_intervals_cover_the_truth() -> None:
    """For normal pairs of correlation r, tau is 2 / pi arcsin r: about nine of ten intervals hold it."""
    rng = np.random.default_rng(0)
    correlation, n = 0.7, 30
    expected = 2 / np.pi * np.arcsin(correlation)
    covered = []
    for _ in range(200):
        x, noise = rng.normal(size=(2, n))
        y = correlation * x + np.sqrt(1 - correlation**2) * noise
        tau = rank_agreement(x, y, top_k=1, rng=rng, resamples=300).kendall_tau
        covered.append(tau.low <= expected <= tau.high)
    assert 0.82 < np.mean(covered) < 0.96


def test_a_sum_is_paired() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(12)
    scores = truth + rng.normal(0, 0.3, 12)
    same = combined_tau([(1, scores, truth), (-1, 3 * scores + 1, truth)], rng=rng)
    assert same == Estimate(0, 0, 0)
    gain = combined_tau([(1, truth, truth), (-1, -truth, truth)], rng=rng)
    assert gain == Estimate(2, 2, 2)
    found = combined_tau([(1, truth, truth), (-1, scores, truth)], rng=rng)
    assert found.value == pytest.approx(1 - kendalltau(scores, truth).statistic)
    assert 0 <= found.low < found.value < found.high
    a, b, c = rng.random((3, 9))
    mean = combined_tau([(0.5, a, b), (0.5, a, c)], rng=rng)
    assert mean.value == pytest.approx((kendalltau(a, b).statistic + kendalltau(a, c).statistic) / 2)


@pytest.mark.parametrize(
    ("scores", "truth", "options", "message"),
    [
        ([1, 2], [1, 2], {}, "number of subnets is 2; it must be 3 or more"),
        ([1, 2, 3], [1, 2], {}, r"scores and truths is \[3, 2\]; it must be the same"),
        ([1, 2, 3], [1, np.inf, 3], {}, "not finite"),
        ([1, 2, 3], [1, 2, 3], {"top_k": 4}, "top_k is 4; it must be from 1 to 3"),
    ],
)
def test_refusals(scores: list[float], truth: list[float], options: dict[str, float], message: str) -> None:
    settings = {"top_k": 1, **options}
    with pytest.raises(InputError, match=message):
        rank_agreement(scores, truth, rng=np.random.default_rng(0), **settings)  # type: ignore[arg-type]
