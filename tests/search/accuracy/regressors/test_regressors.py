"""Every kind of regressor: it learns, its file form predicts the same, and its arrays say what its fit says."""

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.ensemble import GradientBoostingRegressor

from litepose_ofa.search.accuracy.regressors import (
    REGRESSORS,
    Kind,
    Regressor,
    TrainingSet,
)
from litepose_ofa.search.accuracy.regressors import boosting as boosting_module
from litepose_ofa.search.accuracy.regressors.boosting import BoostedTrees
from litepose_ofa.search.accuracy.regressors.gaussian_process import GaussianProcess, Kernel
from litepose_ofa.search.accuracy.regressors.ridge import RidgeRegression


def smooth_samples(rows: int, seed: int = 0) -> TrainingSet:
    x = np.random.default_rng(seed).normal(size=(rows, 4))
    return TrainingSet(x, x[:, 0] - 0.5 * x[:, 1] + 0.3 * x[:, 2] ** 2, np.ones(4))


@pytest.fixture(scope="module")
def fitted() -> dict[Kind, Regressor]:
    return {kind: regressor.fit(smooth_samples(60)) for kind, regressor in REGRESSORS.items()}


@pytest.mark.parametrize("kind", list(REGRESSORS))
def test_held_out_values_are_ranked(fitted: dict[Kind, Regressor], kind: Kind) -> None:
    unseen = smooth_samples(300, seed=1)
    assert fitted[kind].kind == kind
    assert kendalltau(fitted[kind].predict_mean(unseen.features), unseen.targets).statistic > 0.6


@pytest.mark.parametrize("kind", list(REGRESSORS))
def test_arrays_and_settings_are_all_there_is(fitted: dict[Kind, Regressor], kind: Kind) -> None:
    x = smooth_samples(50, seed=2).features
    ours = fitted[kind]
    restored = REGRESSORS[kind].restore(ours.arrays(), ours.settings())
    np.testing.assert_array_equal(restored.predict_mean(x), ours.predict_mean(x))
    np.testing.assert_array_equal(restored.predict_std(x), ours.predict_std(x))


@pytest.mark.parametrize("kind", list(REGRESSORS))
def test_a_row_is_predicted_the_same_alone_and_in_any_batch(fitted: dict[Kind, Regressor], kind: Kind) -> None:
    x = np.tile(smooth_samples(60, seed=3).features, (100, 1))
    for predict in (fitted[kind].predict_mean, fitted[kind].predict_std):
        values = predict(x)
        assert values.shape == (6000,)
        np.testing.assert_allclose(values[[7, 5999]], [predict(x[7:8])[0], predict(x[5999:])[0]], rtol=1e-5, atol=1e-9)
    assert (fitted[kind].predict_std(x) >= 0).all()
    assert len(fitted[kind].predict_mean(x[:0])) == 0


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
    regressor = REGRESSORS[kind].fit(flat)
    np.testing.assert_allclose(regressor.predict_mean(flat.features), 0.5, atol=1e-4)
    assert np.isfinite(regressor.predict_std(flat.features)).all()


def test_ridge_is_the_normal_equations_and_chooses_by_leaving_one_out() -> None:
    samples = smooth_samples(25)
    ridge = RidgeRegression.fit(samples)
    x, y = ridge.standardisation(samples.features), samples.targets - samples.targets.mean()

    def solve(rows: np.ndarray, penalty: float) -> np.ndarray:  # type: ignore[type-arg]
        return np.linalg.solve(x[rows].T @ x[rows] + penalty * np.eye(4), x[rows].T @ y[rows])

    everything = np.arange(25)
    penalties = np.logspace(-3, 3, 19)
    matching = [p for p in penalties if np.allclose(solve(everything, p), ridge.coefficients)]
    assert len(matching) == 1
    errors = [np.mean([(y[i] - x[i] @ solve(np.delete(everything, i), p)) ** 2 for i in everything]) for p in penalties]
    assert errors[list(penalties).index(matching[0])] <= 1.05 * min(errors)


def test_ridge_uncertainty_is_the_posterior_and_grows_outwards() -> None:
    samples = smooth_samples(25)
    ridge = RidgeRegression.fit(samples)
    covariance = ridge.root @ ridge.root.T
    x = ridge.standardisation(samples.features)
    scaled = np.linalg.inv(covariance) - np.linalg.inv(covariance)[0, 1] / (x.T @ x)[0, 1] * (x.T @ x)
    np.testing.assert_allclose(scaled, scaled[0, 0] * np.eye(4), atol=1e-6 * abs(scaled[0, 0]))
    np.testing.assert_allclose(ridge.predict_std(samples.features), np.sqrt(np.einsum("np,pq,nq->n", x, covariance, x)))


def test_boosted_trees_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[GradientBoostingRegressor] = []
    fit = GradientBoostingRegressor.fit

    def remembered(model: GradientBoostingRegressor, *args: object) -> GradientBoostingRegressor:
        models.append(fit(model, *args))
        return models[-1]

    monkeypatch.setattr(GradientBoostingRegressor, "fit", remembered)
    samples = smooth_samples(30)
    samples = TrainingSet(samples.features.round(1), samples.targets, samples.feature_weights)
    trees = BoostedTrees.fit(samples)
    queries = np.concatenate([samples.features, smooth_samples(300, seed=9).features.round(1)])
    expected = [start + model.predict(queries) for start, model in zip(trees.starts, models, strict=True)]
    assert len(models) == boosting_module.MEMBERS
    np.testing.assert_allclose(trees.predict_mean(queries), np.mean(expected, axis=0), rtol=1e-12)
    np.testing.assert_allclose(trees.predict_std(queries), np.std(expected, axis=0, ddof=1), rtol=1e-9, atol=1e-12)


def fitted_process() -> tuple[GaussianProcess, TrainingSet]:
    samples = smooth_samples(40)
    return GaussianProcess.fit(samples), samples


def test_kernel_is_its_formula() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    kernel = Kernel(length_scale=1.5, deviation=0.3)
    expected = [[u @ v / 5 + 0.3 * np.exp(-((u - v) ** 2).sum() / (2 * 5 * 1.5**2)) for v in b] for u in a]
    np.testing.assert_allclose(kernel(a, b), expected)
    np.testing.assert_allclose(kernel.variance(a), np.diag(kernel(a, a)))


def test_posterior_is_that_of_the_normal_equations() -> None:
    process, samples = fitted_process()
    x, y = samples.features, samples.targets
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    covariance = np.linalg.inv(process.precision)
    noise = covariance - process.kernel(z, z)
    np.testing.assert_allclose(noise, noise[0, 0] * np.eye(len(x)), atol=1e-6)
    np.testing.assert_allclose(
        process.predict_mean(x), y.mean() + process.kernel(z, z) @ np.linalg.solve(covariance, y - y.mean())
    )


def test_a_straight_line_is_continued_beyond_the_samples() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    process = GaussianProcess.fit(TrainingSet(x, 3 * x[:, 0] + 1, np.ones(1)))
    np.testing.assert_allclose(process.predict_mean(np.array([[-2.0], [2.0]])), [-5, 7], atol=0.1)


def test_uncertainty_grows_away_from_the_samples() -> None:
    process, samples = fitted_process()
    assert process.predict_std(samples.features).max() < process.predict_std(samples.features + 5).min()


def test_features_that_never_vary_do_not_matter() -> None:
    _, samples = fitted_process()
    constant = np.concatenate([samples.features, np.full((40, 1), 7.3)], axis=1)
    process = GaussianProcess.fit(TrainingSet(constant, samples.targets, np.ones(5)))
    changed = constant + np.array([0, 0, 0, 0, 100.0])
    np.testing.assert_array_equal(process.predict_mean(changed), process.predict_mean(constant))
