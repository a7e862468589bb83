"""Gaussian-process regression from tens to a few thousands of samples: a linear trend and smooth deviations from it.

The linear part carries the prediction to the edges of the space, where a search goes and samples are few; the squared
exponential adds interactions.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5.
Legend: n queries, m samples, P features.
"""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.regressors.base import (
    Arrays,
    Floats,
    Kind,
    Standardisation,
    TrainingSet,
    in_chunks,
)

LENGTH_SCALES = (0.7, 1.0, 1.5, 2.5, 4.0)
DEVIATIONS = (0.1, 0.3, 1.0)
NOISES = tuple(np.logspace(-4, 1, 16).tolist())


@dataclass(frozen=True, slots=True)
class Kernel:
    """Covariance a.b / P + deviation x exp(-|a - b|^2 / (2 P length_scale^2))."""

    length_scale: float
    deviation: float

    def __call__(self, a: Floats, b: Floats) -> Floats:
        """Return the covariances of features (n, P) and (m, P), shape (n, m)."""
        products = a @ b.T
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
        distances = np.maximum(squares - 2 * products, 0)
        scale = 2 * a.shape[1] * self.length_scale**2
        covariance: Floats = products / a.shape[1] + self.deviation * np.exp(-distances / scale)
        return covariance

    def variance(self, a: Floats) -> Floats:
        """Return the covariances of features with themselves, shape (n,)."""
        variance: Floats = (a**2).sum(axis=1) / a.shape[1] + self.deviation
        return variance


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted Gaussian process.

    Attributes:
        standardisation: Of the features.
        samples: Standardised features of the samples, shape (m, P).
        mean: Mean of the samples' targets.
        weights: Dual weights, shape (m,).
        precision: Inverse of the samples' covariance with noise, over the signal variance, shape (m, m).
        signal: Signal variance.
        kernel: The covariance function.
    """

    kind: ClassVar[Kind] = "gaussian_process"

    standardisation: Standardisation
    samples: Floats
    mean: float
    weights: Floats
    precision: Floats
    signal: float
    kernel: Kernel

    @classmethod
    def fit(cls, samples: TrainingSet) -> Self:
        """Fit by maximum marginal likelihood over a fixed grid of kernels and noises."""
        return cls._fit(samples, [Kernel(*pair) for pair in itertools.product(LENGTH_SCALES, DEVIATIONS)])

    def refitted(self, samples: TrainingSet) -> Self:
        """Return this process with its kernel, fitted to other samples, their noise and signal too."""
        return self._fit(samples, [self.kernel])

    def predict_mean(self, features: Floats) -> Floats:
        """Return the posterior means for features (n, P), shape (n,)."""
        return in_chunks(
            features, lambda x: self.mean + self.kernel(self.standardisation(x), self.samples) @ self.weights
        )

    def predict_std(self, features: Floats) -> Floats:
        """Return the posterior standard deviations (without the samples' noise) for features (n, P), shape (n,)."""
        return in_chunks(features, self._std)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted arrays by name."""
        scaling = {"offset": self.standardisation.offset, "scale": self.standardisation.scale}
        return {**scaling, "samples": self.samples, "weights": self.weights, "precision": self.precision}

    def settings(self) -> dict[str, Any]:
        """Return the other fitted values, for JSON."""
        return {"mean": self.mean, "signal": self.signal, "kernel": asdict(self.kernel)}

    @classmethod
    def restore(cls, arrays: Arrays, settings: Mapping[str, Any]) -> Self:
        """Return the regressor of ``arrays()`` and ``settings()``."""
        return cls(
            Standardisation(arrays["offset"], arrays["scale"]),
            arrays["samples"],
            float(settings["mean"]),
            arrays["weights"],
            arrays["precision"],
            float(settings["signal"]),
            Kernel(**settings["kernel"]),
        )

    @classmethod
    def _fit(cls, samples: TrainingSet, kernels: list[Kernel]) -> Self:
        standardisation = Standardisation.of(samples)
        x, mean = standardisation(samples.features), float(samples.targets.mean())
        centred = samples.targets - mean
        fits = [_fit_noise(kernel, x, centred) for kernel in kernels]
        _, noise, signal, kernel = min(fits, key=lambda fit: fit[0])
        precision = np.asarray(np.linalg.inv(kernel(x, x) + noise * np.eye(len(x))), np.float64)
        return cls(standardisation, x, mean, precision @ centred, precision, signal, kernel)

    def _std(self, features: Floats) -> Floats:
        x = self.standardisation(features)
        covariance = self.kernel(x, self.samples)
        explained = np.einsum("nm,nm->n", covariance @ self.precision, covariance)
        std: Floats = np.sqrt(self.signal * np.maximum(self.kernel.variance(x) - explained, 0))
        return std


def _fit_noise(kernel: Kernel, samples: Floats, centred: Floats) -> tuple[float, float, float, Kernel]:
    """Return (negative log marginal likelihood, noise ratio, signal variance, kernel) for the best noise ratio."""
    eigenvalues, vectors = np.linalg.eigh(kernel(samples, samples))
    eigenvalues = np.maximum(eigenvalues, 0)
    projected = (vectors.T @ centred) ** 2
    best = (np.inf, NOISES[-1], 0.0, kernel)
    for noise in NOISES:
        signal = float((projected / (eigenvalues + noise)).mean())
        score = len(centred) * np.log(max(signal, 1e-300)) + float(np.log(eigenvalues + noise).sum())
        best = min(best, (score, noise, signal, kernel), key=lambda fit: fit[0])
    return best
