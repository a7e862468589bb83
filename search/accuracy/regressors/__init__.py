"""The regressors that the accuracy predictor chooses among, simplest first."""

from search.accuracy.regressors.base import Kind, Regressor, TrainingSet
from search.accuracy.regressors.boosting import BoostedTrees
from search.accuracy.regressors.gaussian_process import GaussianProcess
from search.accuracy.regressors.mlp_ensemble import MlpEnsemble
from search.accuracy.regressors.ridge import RidgeRegression

REGRESSORS: dict[Kind, type[Regressor]] = {
    "ridge": RidgeRegression,
    "gaussian_process": GaussianProcess,
    "boosting": BoostedTrees,
    "mlp_ensemble": MlpEnsemble,
}

__all__ = ["REGRESSORS", "Kind", "Regressor", "TrainingSet"]
