"""Ridge regression: a straight line in the features, its penalty chosen by leave-one-out error.

Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning (2009), sections 3.4 and 7.10.
Legend: n queries, m samples, P features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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

PENALTIES = tuple(np.logspace(-3, 3, 19).tolist())


@dataclass(frozen=True)
class RidgeRegression:
    """A fitted ridge regression, and its posterior deviation as a Bayesian linear model.

    Attributes:
        standardisation: Of the features.
        mean: Mean of the samples' targets.
        coefficients: Shape (P,).
        root: Its square times the standardised features squared is the variance, shape (P, P).
    """

    kind: ClassVar[Kind] = "ridge"

    standardisation: Standardisation
    mean: float
    coefficients: Floats
    root: Floats

    @classmethod
    def fit(cls, samples: TrainingSet) -> Self:
        """Fit with the penalty of least leave-one-out error."""
        standardisation = Standardisation.of(samples)
        x, mean = standardisation(samples.features), float(samples.targets.mean())
        left, singular, right = np.linalg.svd(x, full_matrices=False)
        projected = left.T @ (samples.targets - mean)
        fits = [_leave_one_out(left, singular, projected, samples.targets - mean, p) for p in PENALTIES]
        variance, penalty = min(zip(fits, PENALTIES, strict=True))
        shrunk = singular / (singular**2 + penalty)
        # the posterior covariance is variance (x'x + penalty)^-1: less than the prior's along the right vectors alone
        deviations = np.sqrt(variance / (singular**2 + penalty)) - np.sqrt(variance / penalty)
        root = np.sqrt(variance / penalty) * np.eye(x.shape[1]) + (right.T * deviations) @ right
        return cls(standardisation, mean, right.T @ (shrunk * projected), root)

    def refitted(self, samples: TrainingSet) -> Self:
        """Return this regression fitted to other samples, its penalty too."""
        return self.fit(samples)

    def predict_mean(self, features: Floats) -> Floats:
        """Return the predictions for features (n, P), shape (n,)."""
        mean: Floats = self.mean + self.standardisation(features) @ self.coefficients
        return mean

    def predict_std(self, features: Floats) -> Floats:
        """Return the posterior standard deviations for features (n, P), shape (n,)."""
        return in_chunks(features, lambda x: np.linalg.norm(self.standardisation(x) @ self.root, axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted arrays by name."""
        scaling = {"offset": self.standardisation.offset, "scale": self.standardisation.scale}
        return {**scaling, "coefficients": self.coefficients, "root": self.root}

    def settings(self) -> dict[str, Any]:
        """Return the other fitted values, for JSON."""
        return {"mean": self.mean}

    @classmethod
    def restore(cls, arrays: Arrays, settings: Mapping[str, Any]) -> Self:
        """Return the regressor of ``arrays()`` and ``settings()``."""
        scaling = Standardisation(arrays["offset"], arrays["scale"])
        return cls(scaling, float(settings["mean"]), arrays["coefficients"], arrays["root"])


def _leave_one_out(left: Floats, singular: Floats, projected: Floats, centred: Floats, penalty: float) -> float:
    """Return the mean squared error of predicting each sample by a fit to the others (the mean kept)."""
    kept = singular**2 / (singular**2 + penalty)
    residual = centred - left @ (kept * projected)
    leverage = (left**2 @ kept) + 1 / len(centred)
    return float(np.mean((residual / np.maximum(1 - leverage, 1e-6)) ** 2))
