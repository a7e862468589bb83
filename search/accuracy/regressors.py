"""The regressions that the accuracy predictor chooses among: three of scikit-learn's and a Gaussian process.

Legend: n queries, m samples, P features, B weightings, E members.
"""

import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Kind = Literal["ridge", "gaussian_process", "boosting", "mlp_ensemble"]
Floats = NDArray[np.float64]

CHUNK = 4096
"""Queries worked on at a time: arrays stay in the processor's cache, and memory is bounded."""

MEMBERS = 5
LENGTH_SCALES = (0.5, 0.8, 1.3, 2.1, 3.4, 5.5)
DEVIATIONS = (0.1, 0.3, 1.0, 3.0)
NOISES = tuple(np.logspace(-4, 1, 16).tolist())
CHOSEN = 4
"""Numbers that a Gaussian process chooses by the samples beside its variance: mean, length scale, deviation, noise.

The weighting is not counted: it is one of two."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Samples to fit to: features (m, P), targets (m,), and how much each standardised feature counts (B, P).

    A Gaussian process takes the weighting that the samples make likeliest, every other regression the first.
    """

    features: Floats
    targets: Floats
    feature_weights: Floats

    def rows(self, rows: NDArray[np.intp]) -> "TrainingSet":
        """Return some of the samples."""
        return TrainingSet(self.features[rows], self.targets[rows], self.feature_weights)


class Regressor(ABC):
    """A regression fitted to samples, with a standard deviation; fitting is deterministic.

    Attributes:
        noise_std: Standard deviation of measurements around what can be learned. ``predict_std`` lacks it: a further
            measurement is off by both.
    """

    noise_std: float

    def __init__(self, samples: TrainingSet) -> None:
        offset, std = samples.features.mean(axis=0), samples.features.std(axis=0)
        self._varying = np.flatnonzero(std > 1e-9 * np.maximum(np.abs(offset), 1))
        self._offset, self._deviation = offset[self._varying], std[self._varying]
        self._feature_weights = samples.feature_weights[:, self._varying]
        self._weighting = 0
        self._mean, self._std = float(samples.targets.mean()), max(float(samples.targets.std()), 1e-6)

    def refitted(self, samples: TrainingSet) -> Self:
        """Return this regression fitted to other samples; settings that take long to choose may be kept."""
        return type(self)(samples)

    def predict_mean(self, features: Floats) -> Floats:
        """Return the predictions for features (n, P), shape (n,)."""
        return self._in_chunks(features, self._predict_mean)

    def predict_std(self, features: Floats) -> Floats:
        """Return the standard deviations of the predictions, without the noise of a measurement, shape (n,)."""
        return self._in_chunks(features, self._predict_std)

    @abstractmethod
    def _predict_mean(self, x: Floats) -> Floats: ...

    @abstractmethod
    def _predict_std(self, x: Floats) -> Floats: ...

    def _in_chunks(self, features: Floats, predict: Callable[[Floats], Floats]) -> Floats:
        starts = range(0, len(features), CHUNK)
        parts = [predict(self._standardised(features[start : start + CHUNK])) for start in starts]
        return np.concatenate([np.zeros(0), *parts])

    def _standardised(self, features: Floats) -> Floats:
        """Return the features that vary, with mean 0 and deviation 1 over the samples, times their weights."""
        weights = self._feature_weights[self._weighting] / self._deviation
        return np.asarray((features[:, self._varying] - self._offset) * weights, np.float64)


class Ridge(Regressor):
    """Bayesian ridge regression."""

    def __init__(self, samples: TrainingSet) -> None:
        from sklearn.linear_model import BayesianRidge  # takes a second

        super().__init__(samples)
        targets = (samples.targets - self._mean) / self._std
        self._model: Any = BayesianRidge().fit(self._standardised(samples.features), targets)
        self.noise_std = self._std / float(np.sqrt(self._model.alpha_))

    def _predict_mean(self, x: Floats) -> Floats:
        return np.asarray(self._mean + self._std * self._model.predict(x), np.float64)

    def _predict_std(self, x: Floats) -> Floats:
        std = self._model.predict(x, return_std=True)[1]
        return np.asarray(self._std * np.sqrt(np.maximum(std**2 - 1 / self._model.alpha_, 0)), np.float64)


class Ensemble(Regressor):
    """Estimators of scikit-learn, each fitted to a bootstrap of the samples; their mean and standard deviation."""

    def __init__(self, samples: TrainingSet) -> None:
        from sklearn.exceptions import ConvergenceWarning

        super().__init__(samples)
        x, targets = self._standardised(samples.features), (samples.targets - self._mean) / self._std
        draws = np.random.default_rng(0).integers(len(x), size=(MEMBERS, len(x)))  # not by weights, which may all be 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last per mille of a loss is not waited for
            self._models = [self._estimator(seed).fit(x[rows], targets[rows]) for seed, rows in enumerate(draws)]
        unseen = np.array([~np.isin(np.arange(len(x)), rows) for rows in draws])
        self.noise_std = self._out_of_bag_noise(np.where(unseen, self._predict_members(x), np.nan), samples.targets)

    @abstractmethod
    def _estimator(self, seed: int) -> Any: ...

    def _predict_mean(self, x: Floats) -> Floats:
        return np.asarray(self._predict_members(x).mean(axis=0), np.float64)

    def _predict_std(self, x: Floats) -> Floats:
        return np.asarray(self._predict_members(x).std(axis=0, ddof=1), np.float64)

    def _out_of_bag_noise(self, members: Floats, targets: Floats) -> float:
        """Return the noise by the errors for targets (m,) that at least two members, shape (E, m), did not see."""
        number = np.isfinite(members).sum(axis=0)
        rows = number > 1
        if not rows.any():
            return 0.0
        mean, variance = np.nanmean(members[:, rows], axis=0), np.nanvar(members[:, rows], axis=0, ddof=1)
        explained = variance * (1 + 1 / number[rows] - 1 / MEMBERS)  # a mean of fewer members is further off
        return float(np.sqrt(max(((targets[rows] - mean) ** 2 - explained).mean(), 0)))

    def _predict_members(self, x: Floats) -> Floats:
        return np.asarray(self._mean + self._std * np.stack([model.predict(x) for model in self._models]), np.float64)


class Boosting(Ensemble):
    """Gradient boosting of regression trees."""

    def _estimator(self, seed: int) -> Any:
        from sklearn.ensemble import GradientBoostingRegressor

        return GradientBoostingRegressor(subsample=0.7, max_features=0.3, random_state=seed)


class MlpEnsemble(Ensemble):
    """Perceptrons with one small hidden layer."""

    def _estimator(self, seed: int) -> Any:
        from sklearn.neural_network import MLPRegressor

        return MLPRegressor(
            hidden_layer_sizes=(24,), solver="lbfgs", alpha=1.0, tol=1e-3, max_iter=1000, random_state=seed
        )


@dataclass(frozen=True, slots=True)
class Kernel:
    """Covariance a.b + deviation x exp(-|a - b|^2 / (2 length_scale^2)): a linear trend, and interactions.

    The linear part carries the prediction to the edges of the space, where a search goes and samples are few.

    Attributes:
        weighting: Which row of feature weights scales the features it is given.
    """

    length_scale: float
    deviation: float
    weighting: int = 0

    def __call__(self, a: Floats, b: Floats) -> Floats:
        """Return the covariances of features (n, P) and (m, P), shape (n, m)."""
        products = a @ b.T
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
        distances = np.maximum(squares - 2 * products, 0)
        return np.asarray(products + self.deviation * np.exp(distances / (-2 * self.length_scale**2)), np.float64)

    def variance(self, a: Floats) -> Floats:
        """Return the covariances of features with themselves, shape (n,)."""
        return np.asarray((a**2).sum(axis=1) + self.deviation, np.float64)


class GaussianProcess(Regressor):
    """A Gaussian process with the weighting, kernel and noise of maximum marginal likelihood on a fixed grid.

    Features are scaled so that the mean square length of a sample is 1. The variance is such that the errors of leaving
    out each sample are as large as predicted.

    scikit-learn's has the same accuracy here, and predicts half as fast: it works out distances pair by pair.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5.
    """

    def __init__(self, samples: TrainingSet, kernels: Sequence[Kernel] = ()) -> None:
        super().__init__(samples)
        centred = samples.targets - self._mean
        if not kernels:
            weightings = range(len(samples.feature_weights))
            kernels = [Kernel(*values) for values in itertools.product(LENGTH_SCALES, DEVIATIONS, weightings)]
        fits = []
        for kernel in kernels:
            self._weighting = kernel.weighting
            fits.append(_fit_noise(kernel, self._standardised(samples.features), centred))
        _, noise, self._kernel = min(fits, key=lambda fit: fit[0])
        self._weighting = self._kernel.weighting
        self._samples = self._standardised(samples.features)
        covariance = self._kernel(self._samples, self._samples)
        self._precision = np.asarray(np.linalg.inv(covariance + noise * np.eye(len(centred))), np.float64)
        self._weights = self._precision @ centred
        squares = self._weights**2 / np.diag(self._precision)  # of errors of leaving one out, each over its variance
        self._signal = float(squares.sum()) / max(len(centred) - CHOSEN, 1)
        self.noise_std = float(np.sqrt(self._signal * noise))

    def _standardised(self, features: Floats) -> Floats:
        length = float(np.linalg.norm(self._feature_weights[self._weighting]))
        return super()._standardised(features) / max(length, 1e-9)

    def refitted(self, samples: TrainingSet) -> Self:
        """Return this process with its weighting and kernel, fitted to other samples, their noise and signal too."""
        return type(self)(samples, [self._kernel])

    def _predict_mean(self, x: Floats) -> Floats:
        return np.asarray(self._mean + self._kernel(x, self._samples) @ self._weights, np.float64)

    def _predict_std(self, x: Floats) -> Floats:
        covariance = self._kernel(x, self._samples)
        explained = np.einsum("nm,nm->n", covariance @ self._precision, covariance)
        return np.asarray(np.sqrt(self._signal * np.maximum(self._kernel.variance(x) - explained, 0)), np.float64)


REGRESSORS: dict[Kind, type[Regressor]] = {
    "ridge": Ridge,
    "gaussian_process": GaussianProcess,
    "boosting": Boosting,
    "mlp_ensemble": MlpEnsemble,
}
"""Simplest first."""


def _fit_noise(kernel: Kernel, samples: Floats, centred: Floats) -> tuple[float, float, Kernel]:
    """Return (negative log marginal likelihood, noise relative to the signal, kernel) for the likeliest noise."""
    eigenvalues, vectors = np.linalg.eigh(kernel(samples, samples))
    eigenvalues = np.maximum(eigenvalues, 0)
    projected = (vectors.T @ centred) ** 2
    scores = []
    for noise in NOISES:
        signal = float((projected / (eigenvalues + noise)).mean())
        scores.append(len(centred) * np.log(max(signal, 1e-300)) + float(np.log(eigenvalues + noise).sum()))
    return min(scores), NOISES[int(np.argmin(scores))], kernel
