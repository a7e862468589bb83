"""Models that the inner loop of a search predicts accuracies with, as they follow what the outer loop measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from litepose_ofa.search.accuracy.evaluators import AccuracyModel, ApModel
from litepose_ofa.search.accuracy.features import GenomeFeatures
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor, RegressedAp
from litepose_ofa.search.accuracy.regressors import GaussianProcess, Regressor, TrainingSet
from litepose_ofa.search.problem.problem import History
from litepose_ofa.supernet.archs.space import SearchSpace


class Surrogate(Protocol):
    """Gives the model that fits a history."""

    def after(self, history: History) -> ApModel:
        """Return the model to propose with after some evaluations, at least one; deterministic."""

    def describe(self) -> Mapping[str, Any]:
        """Return what the models depend on beside the history, as plain JSON values."""


@dataclass(frozen=True)
class FixedSurrogate:
    """One model throughout: nothing is learned from evaluations, as these are the model's own predictions."""

    model: AccuracyModel

    def after(self, history: History) -> ApModel:
        """Return the model."""
        return self.model

    def describe(self) -> Mapping[str, Any]:
        """Return the model's digest."""
        return {"predictor": self.model.digest}


@dataclass(frozen=True)
class RefittedSurrogate:
    """A predictor, fitted on subnets of the same supernet and split, that takes in what the search measures."""

    predictor: AccuracyPredictor

    def after(self, history: History) -> ApModel:
        """Return the predictor fitted to its own samples and the history."""
        return self.predictor.refitted(history.genomes, history.ap)

    def describe(self) -> Mapping[str, Any]:
        """Return the digest of the predictor before the search."""
        return {"predictor": self.predictor.digest, "refitted": True}


class LearnedSurrogate:
    """A Gaussian process of the search's own evaluations, for a search that starts without a predictor.

    Its kernel is chosen anew each time the evaluations have doubled, and kept in between. It is fitted to
    ``most_samples`` evaluations at most: the best ones, and others evenly in time.
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
        return RegressedAp(self._features, regressor)

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
        return self._features.training_set(history.genomes[rows], history.ap[rows])
