"""Rank correlations and regret against scipy and counting by hand; intervals cover; ties; refusals."""

from dataclasses import asdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from litepose_ofa.search.rank_agreement import Estimate, combined_tau, format_estimate, rank_agreement, tau_with_error
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
    found = rank_agreement(x, y, top_k=top_k)
    assert found.kendall_tau.value == pytest.approx(tau_by_pairs(x, y), abs=1e-12)
    assert found.regret == regret_by_hand(x, y, top_k)
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert found.kendall_tau.value == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)
        assert found.spearman == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_the_error_is_the_jackknife_s() -> None:
    """By row sums as by taking every subnet out and calling scipy."""
    rng = np.random.default_rng(3)
    truth = rng.random(11)
    scores = np.round(truth + rng.normal(0, 0.3, 11), 1)
    left_out = [kendalltau(np.delete(scores, i), np.delete(truth, i)).statistic for i in range(11)]
    value, error = tau_with_error([(1, scores, truth)])
    assert value == pytest.approx(kendalltau(scores, truth).statistic)
    assert error == pytest.approx(np.sqrt(10 * np.var(left_out)))
    found = combined_tau([(1, scores, truth)])
    assert (found.low, found.high) == pytest.approx((value - 1.645 * error, value + 1.645 * error))


def test_within_groups_only_their_pairs_count() -> None:
    """With groups of one size and no ties: the mean of their taus."""
    rng = np.random.default_rng(3)
    scores, truth, groups = rng.random(30), rng.random(30), np.repeat([0, 1, 2], 10)
    taus = [kendalltau(scores[groups == g], truth[groups == g]).statistic for g in range(3)]
    assert combined_tau([(1, scores, truth)], groups=groups).value == pytest.approx(np.mean(taus))
    assert combined_tau([(1, scores, truth)], groups=groups).low is not None
    assert combined_tau([(1, scores, truth)], groups=np.repeat([0, 1, 2], [11, 10, 9])).low is None, "one is too small"


def test_extremes() -> None:
    truth = np.linspace(0.1, 0.6, 8)
    best = rank_agreement(truth**2, truth, top_k=1)
    assert (best.num_subnets, best.top_k) == (8, 1)
    assert (best.kendall_tau, best.spearman, best.regret) == (Estimate(1), pytest.approx(1), 0)
    worst = rank_agreement(-truth, truth, top_k=3)
    assert worst.kendall_tau.value == worst.spearman == pytest.approx(-1)
    assert worst.regret == pytest.approx(0.5 * 5 / 7)
    assert rank_agreement(-truth, truth, top_k=8).regret == 0


def test_a_perfect_order_of_few_may_be_chance() -> None:
    few, many = (combined_tau([(1, np.arange(n), np.arange(n))]) for n in (10, 100))
    assert few.low is not None
    assert many.low is not None
    assert 0.85 < few.low < 0.95 < many.low < few.high == many.high == 1


def test_equal_scores_rank_nothing_and_do_not_flatter() -> None:
    truth = np.array([0.1, 0.2, 0.3, 0.4])
    found = rank_agreement(np.full(4, 7.0), truth, top_k=2)
    assert (found.kendall_tau, found.spearman) == (Estimate(0), 0)
    assert found.regret == pytest.approx(0.2)


def test_too_few_have_a_figure_and_no_interval() -> None:
    assert format_estimate(asdict(combined_tau([(1, np.arange(9), np.arange(9))]))) == "1.00"
    assert format_estimate({"value": 0.5, "low": 0.25, "high": 0.75}, ".1f", scale=100) == "50.0 (25.0, 75.0)"


def correlated(correlation: float, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Normal pairs, of which tau is 2 / pi arcsin r."""
    x, noise = rng.normal(size=(2, n))
    return x, correlation * x + np.sqrt(1 - correlation**2) * noise


def covered(found: Estimate, expected: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= expected <= found.high


@pytest.mark.parametrize("correlation", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("n", [10, 16, 40])
def test_nine_of_ten_intervals_of_tau_cover(correlation: float, n: int) -> None:
    rng, expected = np.random.default_rng(0), 2 / np.pi * np.arcsin(correlation)
    found = [covered(combined_tau([(1, *correlated(correlation, n, rng))]), expected) for _ in range(1500)]
    assert np.mean(found) == pytest.approx(0.9, abs=0.025)


@pytest.mark.parametrize("correlation", [0.5, 0.8])
def test_nine_of_ten_intervals_of_tau_within_groups_cover(correlation: float) -> None:
    """Cost drives score and truth, what is left of them has the correlation; groups are quarters of the cost."""
    rng, groups, intervals = np.random.default_rng(1), np.repeat(np.arange(4), 15), []
    for _ in range(2000):
        cost = np.sort(rng.normal(size=60))
        x, y = correlated(correlation, 60, rng)
        intervals.append(combined_tau([(1, cost + x, cost + y)], groups=groups))
    expected = float(np.mean([found.value for found in intervals]))
    assert np.mean([covered(found, expected) for found in intervals]) == pytest.approx(0.9, abs=0.025)


@pytest.mark.parametrize(("n", "most"), [(16, 0.95), (40, 0.925)])
def test_intervals_of_differences_and_means_cover(n: int, most: float) -> None:
    """Of few subnets, the interval of a difference of taus that have the truth in common is on the wide side."""
    rng = np.random.default_rng(2)
    gains, means = [], []
    for _ in range(1500):
        truth, *noise = rng.normal(size=(5, n))
        good, poor, *seeds = (truth + share * each for share, each in zip((0.3, 1.2, 0.8, 0.8), noise, strict=True))
        gains.append(combined_tau([(1, good, truth), (-1, poor, truth)]))
        means.append(combined_tau([(0.5, truth, seed) for seed in seeds]))
    for intervals, highest in ((gains, most), (means, 0.925)):
        expected = float(np.mean([found.value for found in intervals]))
        assert 0.875 <= np.mean([covered(found, expected) for found in intervals]) <= highest


def test_a_sum_is_paired() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(12)
    scores = truth + rng.normal(0, 0.3, 12)
    assert combined_tau([(1, scores, truth), (-1, 3 * scores + 1, truth)]) == Estimate(0, 0, 0)
    assert combined_tau([(1, truth, truth), (-1, -truth, truth)]) == Estimate(2, 2, 2)
    found = combined_tau([(1, truth, truth), (-1, scores, truth)])
    assert found.value == pytest.approx(1 - kendalltau(scores, truth).statistic)
    a, b, c = rng.random((3, 9))
    mean = combined_tau([(0.5, a, b), (0.5, a, c)])
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
        rank_agreement(scores, truth, **settings)  # type: ignore[arg-type]
