"""The regressors that the accuracy predictor chooses among, simplest first."""

from litepose_ofa.search.accuracy.regressors.base import Kind, Regressor, TrainingSet
from litepose_ofa.search.accuracy.regressors.boosting import BoostedTrees
from litepose_ofa.search.accuracy.regressors.gaussian_process import GaussianProcess
from litepose_ofa.search.accuracy.regressors.mlp_ensemble import MlpEnsemble
from litepose_ofa.search.accuracy.regressors.ridge import RidgeRegression

REGRESSORS: dict[Kind, type[Regressor]] = {
    "ridge": RidgeRegression,
    "gaussian_process": GaussianProcess,
    "boosting": BoostedTrees,
    "mlp_ensemble": MlpEnsemble,
}

__all__ = ["REGRESSORS", "Kind", "Regressor", "TrainingSet"]
