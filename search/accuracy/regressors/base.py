"""What the regressors of the accuracy predictor have in common.

Legend: n queries, m samples, P features.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Kind = Literal["ridge", "gaussian_process", "boosting", "mlp_ensemble"]
Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

CHUNK = 4096
"""Queries worked on at a time: working arrays stay in the processor's cache, and memory is bounded for any n."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a regressor is fitted to.

    Attributes:
        features: Shape (m, P).
        targets: Shape (m,).
        feature_weights: How much each standardised feature counts, shape (P,).
    """

    features: Floats
    targets: Floats
    feature_weights: Floats

    def rows(self, rows: NDArray[np.intp]) -> "TrainingSet":
        """Return some of the samples."""
        return TrainingSet(self.features[rows], self.targets[rows], self.feature_weights)


class Regressor(Protocol):
    """A fitted regression with a standard deviation; everything it needs to predict is arrays and plain JSON values."""

    kind: ClassVar[Kind]

    @classmethod
    def fit(cls, samples: TrainingSet) -> Self:
        """Choose the settings and fit; deterministic."""

    def refitted(self, samples: TrainingSet) -> Self:
        """Return this regressor, its settings kept as far as they are dear to choose, fitted to other samples."""

    def predict_mean(self, features: Floats) -> Floats:
        """Return the predictions for features (n, P), shape (n,)."""

    def predict_std(self, features: Floats) -> Floats:
        """Return the standard deviations of the predictions, without the noise of a measurement, shape (n,)."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted arrays by name."""

    def settings(self) -> dict[str, Any]:
        """Return the other fitted values, for JSON."""

    @classmethod
    def restore(cls, arrays: Arrays, settings: Mapping[str, Any]) -> Self:
        """Return the regressor of ``arrays()`` and ``settings()``.

        Raises:
            KeyError, TypeError, ValueError: If they are not those of this kind.
        """


class Ensemble(ABC):
    """Members that predict each for itself: their mean, and their standard deviation."""

    __slots__ = ()

    @abstractmethod
    def _predict_members(self, features: Floats) -> Floats:
        """Return every member's predictions for features (n, P), shape (E, n)."""

    def predict_mean(self, features: Floats) -> Floats:
        """Return the mean of the members' predictions for features (n, P), shape (n,)."""
        mean: Floats = self._predict_members(features).mean(axis=0)
        return mean

    def predict_std(self, features: Floats) -> Floats:
        """Return the standard deviation of the members' predictions, shape (n,)."""
        std: Floats = self._predict_members(features).std(axis=0, ddof=1)
        return std


@dataclass(frozen=True, slots=True)
class Standardisation:
    """Features of mean 0 and deviation 1 over the samples, times their weights; 0 where they did not vary.

    Attributes:
        offset, scale: Shape (P,).
    """

    offset: Floats
    scale: Floats

    @classmethod
    def of(cls, samples: TrainingSet) -> Self:
        """Return that of the samples' features."""
        offset, spread = samples.features.mean(axis=0), samples.features.std(axis=0)
        varies = spread > 1e-9 * np.maximum(np.abs(offset), 1)
        scale = np.zeros(len(spread))
        scale[varies] = samples.feature_weights[varies] / spread[varies]
        return cls(offset, scale)

    def __call__(self, features: Floats) -> Floats:
        """Return features (n, P) standardised."""
        return (features - self.offset) * self.scale


def in_chunks(features: Floats, function: Callable[[Floats], Floats]) -> Floats:
    """Return a function of features (n, P), shape (n,), worked out a chunk at a time."""
    parts = [function(features[start : start + CHUNK]) for start in range(0, len(features), CHUNK)]
    return np.concatenate([np.zeros(0), *parts])
