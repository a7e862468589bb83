"""The regressors that the accuracy predictor chooses among, simplest first."""

from search.regressors.base import Kind, Regressor, TrainingSet
from search.regressors.boosting import BoostedTrees
from search.regressors.gaussian_process import GaussianProcess
from search.regressors.mlp_ensemble import MlpEnsemble
from search.regressors.ridge import RidgeRegression

REGRESSORS: dict[Kind, type[Regressor]] = {
    "ridge": RidgeRegression,
    "gaussian_process": GaussianProcess,
    "boosting": BoostedTrees,
    "mlp_ensemble": MlpEnsemble,
}

__all__ = ["REGRESSORS", "Kind", "Regressor", "TrainingSet"]
