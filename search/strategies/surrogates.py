"""Models that the inner loop of a search predicts accuracies with, as they follow what the outer loop measures.

Legend: n genomes, G genes, m evaluations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.evaluators import AccuracyModel, ApModel
from litepose_ofa.search.accuracy.features import GenomeFeatures
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.regressors import GaussianProcess, Regressor, TrainingSet
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.problem.history import History
from litepose_ofa.supernet.archs.space import SearchSpace


class Surrogate(Protocol):
    """Gives the model that fits a history."""

    def after(self, history: History) -> ApModel:
        """Return the model to propose with after some evaluations, at least one; deterministic."""

    def describe(self) -> Mapping[str, Any]:
        """Return what the models depend on beside the history, as plain JSON values."""


class FixedSurrogate:
    """One model throughout: nothing is learned from evaluations, as these are the model's own predictions.

    Args:
        model: A fitted predictor, or the surrogate of the published figures.
    """

    def __init__(self, model: AccuracyModel) -> None:
        self._model = model

    def after(self, history: History) -> ApModel:
        """Return the model."""
        return self._model

    def describe(self) -> Mapping[str, Any]:
        """Return the model's digest."""
        return {"predictor": self._model.digest}


class RefittedSurrogate:
    """A fitted predictor that takes in what the search measures.

    Args:
        predictor: Fitted on subnets of the same supernet and split.
    """

    def __init__(self, predictor: AccuracyPredictor) -> None:
        self._predictor = predictor

    def after(self, history: History) -> ApModel:
        """Return the predictor fitted to its own samples and the history."""
        return self._predictor.refitted(history.genomes, history.ap)

    def describe(self) -> Mapping[str, Any]:
        """Return the digest of the predictor before the search."""
        return {"predictor": self._predictor.digest, "refitted": True}


class LearnedSurrogate:
    """A Gaussian process of the search's own evaluations, for a search that starts without a predictor.

    Its kernel is chosen anew each time the evaluations have doubled, and kept in between.

    Args:
        space: The search space.
        num_keypoints: K of the networks.
        most_samples: Evaluations that it is fitted to at most: the best ones, and others evenly in time.
    """

    def __init__(self, space: SearchSpace, *, num_keypoints: int = 14, most_samples: int = 800) -> None:
        self._features = GenomeFeatures(space, num_keypoints=num_keypoints)
        self._most_samples = most_samples

    def after(self, history: History) -> ApModel:
        """Return the regression of the history."""
        chosen_at = 1 << (len(history).bit_length() - 1)
        regressor: Regressor = GaussianProcess(self._samples(history.rows(np.arange(chosen_at))))
        if chosen_at < len(history):
            regressor = regressor.refitted(self._samples(history))
        return _RegressedAp(self._features, regressor)

    def describe(self) -> Mapping[str, Any]:
        """Return the kind of regressor, and how many samples it sees."""
        return {"learned": "gaussian_process", "most_samples": self._most_samples}

    def _samples(self, history: History) -> TrainingSet:
        rows = np.arange(len(history))
        if len(rows) > self._most_samples:
            best = np.argsort(-history.ap, kind="stable")[: self._most_samples // 2]
            rest = np.setdiff1d(rows, best)
            spread = np.linspace(0, len(rest) - 1, self._most_samples - len(best)).round().astype(np.intp)
            rows = np.sort(np.concatenate([best, rest[spread]]))
        return TrainingSet(self._features(history.genomes[rows]), history.ap[rows], self._features.weights)


@dataclass(frozen=True)
class _RegressedAp:
    features: GenomeFeatures
    regressor: Regressor

    def predict(self, genomes: Genomes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        features = self.features(genomes)
        return np.clip(self.regressor.predict_mean(features), 0, 1), self.regressor.predict_std(features)

    def predict_ap(self, genomes: Genomes) -> NDArray[np.float64]:
        return np.clip(self.regressor.predict_mean(self.features(genomes)), 0, 1)
