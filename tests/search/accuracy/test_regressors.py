"""Every kind of regressor learns and is deterministic; the Gaussian process is its formulas."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from litepose_ofa.search.accuracy.regressors import REGRESSORS, GaussianProcess, Kernel, Kind, Regressor, TrainingSet


def smooth_samples(rows: int, seed: int = 0) -> TrainingSet:
    x = np.random.default_rng(seed).normal(size=(rows, 4))
    return TrainingSet(x, x[:, 0] - 0.5 * x[:, 1] + 0.3 * x[:, 2] ** 2, np.ones((1, 4)))


@pytest.fixture(scope="module")
def fitted() -> dict[Kind, Regressor]:
    return {kind: regressor(smooth_samples(60)) for kind, regressor in REGRESSORS.items()}


@pytest.mark.parametrize("kind", list(REGRESSORS))
def test_held_out_values_are_ranked(fitted: dict[Kind, Regressor], kind: Kind) -> None:
    unseen = smooth_samples(300, seed=1)
    assert kendalltau(fitted[kind].predict_mean(unseen.features), unseen.targets).statistic > 0.6


@pytest.mark.parametrize("kind", list(REGRESSORS))
def test_a_row_is_predicted_the_same_alone_and_in_any_batch(fitted: dict[Kind, Regressor], kind: Kind) -> None:
    x = np.tile(smooth_samples(60, seed=3).features, (100, 1))
    for predict in (fitted[kind].predict_mean, fitted[kind].predict_std):
        values = predict(x)
        assert values.shape == (6000,)
        np.testing.assert_allclose(values[[7, 5999]], [predict(x[7:8])[0], predict(x[5999:])[0]], rtol=1e-5, atol=1e-9)
    assert (fitted[kind].predict_std(x) >= 0).all()


@pytest.mark.parametrize("kind", list(REGRESSORS))
def test_a_refit_is_deterministic_and_learns_the_new_samples(fitted: dict[Kind, Regressor], kind: Kind) -> None:
    more, unseen = smooth_samples(120, seed=4), smooth_samples(300, seed=5)
    first, second = fitted[kind].refitted(more), fitted[kind].refitted(more)
    np.testing.assert_array_equal(first.predict_mean(unseen.features), second.predict_mean(unseen.features))

    def error(regressor: Regressor) -> float:
        return float(np.abs(regressor.predict_mean(unseen.features) - unseen.targets).mean())

    assert error(first) < 1.1 * error(fitted[kind])


@pytest.mark.parametrize("kind", list(REGRESSORS))
def test_equal_targets_and_features_that_never_vary_do_no_harm(kind: Kind) -> None:
    samples = smooth_samples(20)
    flat = TrainingSet(samples.features * [1, 1, 0, 0] + 3, np.full(20, 0.5), samples.feature_weights)
    regressor = REGRESSORS[kind](flat)
    np.testing.assert_allclose(regressor.predict_mean(flat.features), 0.5, atol=1e-4)
    assert np.isfinite(regressor.predict_std(flat.features)).all()


@pytest.mark.parametrize("kind", ["ridge", "gaussian_process"])
def test_uncertainty_grows_away_from_the_samples(fitted: dict[Kind, Regressor], kind: Kind) -> None:
    x = smooth_samples(60).features
    assert fitted[kind].predict_std(x).max() < fitted[kind].predict_std(x + 5).min()


def test_a_straight_line_is_certain_where_there_is_no_noise() -> None:
    samples = smooth_samples(40)
    straight = TrainingSet(samples.features, samples.features @ [1.0, 2.0, 0.0, -1.0], samples.feature_weights)
    ridge = REGRESSORS["ridge"](straight)
    np.testing.assert_allclose(ridge.predict_mean(samples.features + 1), straight.targets + 2, atol=1e-3)
    assert ridge.predict_std(samples.features).max() < 1e-3


def test_kernel_is_its_formula() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    kernel = Kernel(length_scale=1.5, deviation=0.3)
    expected = [[u @ v + 0.3 * np.exp(-((u - v) ** 2).sum() / (2 * 1.5**2)) for v in b] for u in a]
    np.testing.assert_allclose(kernel(a, b), expected)
    np.testing.assert_allclose(kernel.variance(a), np.diag(kernel(a, a)))


def test_posterior_is_that_of_the_normal_equations() -> None:
    samples = smooth_samples(40)
    process = GaussianProcess(samples)
    x, y = samples.features, samples.targets
    z = (x - x.mean(axis=0)) / x.std(axis=0) / np.sqrt(x.shape[1])
    covariance = np.linalg.inv(process._precision)
    noise = covariance - process._kernel(z, z)
    np.testing.assert_allclose(noise, noise[0, 0] * np.eye(len(x)), atol=1e-6)
    np.testing.assert_allclose(
        process.predict_mean(x), y.mean() + process._kernel(z, z) @ np.linalg.solve(covariance, y - y.mean())
    )


def test_a_straight_line_is_continued_beyond_the_samples() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    process = GaussianProcess(TrainingSet(x, 3 * x[:, 0] + 1, np.ones((1, 1))))
    np.testing.assert_allclose(process.predict_mean(np.array([[-2.0], [2.0]])), [-5, 7], atol=0.1)


@pytest.mark.parametrize("taken", [0, 1])
def test_a_process_takes_the_weighting_by_which_the_targets_follow(taken: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 8))
    halves = np.repeat([[1, 0], [0, 1]], 4, axis=1)
    weightings = np.where(halves > 0, 1.0, 0.1)
    samples = TrainingSet(x, x @ halves[taken] + rng.normal(0, 0.3, 60), weightings)
    process = GaussianProcess(samples.rows(np.arange(30)))
    assert process._kernel.weighting == taken
    alone = GaussianProcess(
        TrainingSet(samples.features, samples.targets, weightings[[taken]]), [replace(process._kernel, weighting=0)]
    )
    assert process.refitted(samples).predict_mean(x) == pytest.approx(alone.predict_mean(x))


@pytest.mark.parametrize("rows", [2, 5, 9])
@pytest.mark.parametrize("kind", REGRESSORS)
def test_few_samples_are_enough(kind: Kind, rows: int) -> None:
    model = REGRESSORS[kind](smooth_samples(rows))
    unseen = smooth_samples(50, seed=1).features
    assert np.isfinite(model.predict_mean(unseen)).all()
    assert np.isfinite(model.predict_std(unseen)).all()


@pytest.mark.parametrize("kind", list(REGRESSORS))
def test_errors_are_as_large_as_said(kind: Kind) -> None:
    """Standardised errors on held-out samples, of smooth, kinked and stepped values, with noise."""
    squares = []
    for seed, shape in enumerate([np.square, np.abs, np.round]):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(420, 6))
        values = x @ rng.uniform(0.3, 1, 6) + shape(x[:, :3]).sum(axis=1) + rng.normal(0, 0.5, 420)
        samples = TrainingSet(x, values, np.ones((1, 6)))
        regressor = REGRESSORS[kind](samples.rows(np.arange(120)))
        std = np.hypot(regressor.predict_std(x[120:]), regressor.noise_std)
        squares.append((((values[120:] - regressor.predict_mean(x[120:])) / std) ** 2).mean())
    assert 0.9 < np.sqrt(np.mean(squares)) < 1.1


@pytest.mark.parametrize("kind", ["ridge", "gaussian_process"])
def test_the_noise_is_that_of_the_measurements(kind: Kind) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 4))
    regressor = REGRESSORS[kind](TrainingSet(x, x @ [1.0, 2.0, 0.0, -1.0] + rng.normal(0, 0.4, 300), np.ones((1, 4))))
    assert regressor.noise_std == pytest.approx(0.4, rel=0.15)
    assert np.median(regressor.predict_std(x)) < 0.2


def test_the_variance_is_that_of_leaving_each_sample_out() -> None:
    samples = smooth_samples(30)
    process = GaussianProcess(samples)
    covariance, centred = np.linalg.inv(process._precision), samples.targets - samples.targets.mean()
    squares = 0.0
    for left in range(30):
        others = np.delete(np.arange(30), left)
        solved = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, left])
        error, variance = (
            centred[left] - solved @ centred[others],
            covariance[left, left] - solved @ covariance[others, left],
        )
        squares += error**2 / variance
    noise = float(np.diag(covariance - process._kernel(process._samples, process._samples)).mean())
    assert process.noise_std**2 == pytest.approx(noise * squares / (30 - 4), rel=1e-3)
