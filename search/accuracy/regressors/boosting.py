"""Bagged gradient boosting of regression trees: fitted by scikit-learn, kept and evaluated as plain arrays.

Source: Friedman, Stochastic gradient boosting (2002); Breiman, Bagging predictors (1996).
Legend: n queries, m samples, P features, E members, T trees of a member, L leaves of a tree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.regressors.base import (
    CHUNK,
    Arrays,
    Ensemble,
    Floats,
    Kind,
    TrainingSet,
)

MEMBERS = 5
TREES = 100
DEPTH = 3
LEARNING_RATE = 0.1
SUBSAMPLE = 0.7
FEATURE_SHARE = 0.3
"""Share of the features that a split may choose among: many of them say nearly the same."""


@dataclass(frozen=True)
class BoostedTrees(Ensemble):
    """A fitted ensemble; every tree is a complete binary tree, its nodes level by level.

    Attributes:
        starts: What each member's trees add to, shape (E,).
        split_features: Feature of every inner node, shape (E, T, L - 1).
        thresholds: Queries whose feature is greater go right, shape (E, T, L - 1).
        leaves: What a leaf adds, shape (E, T, L).
    """

    kind: ClassVar[Kind] = "boosting"

    starts: Floats
    split_features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    leaves: Floats

    @classmethod
    def fit(cls, samples: TrainingSet) -> Self:
        """Fit each member to a bootstrap of the samples."""
        rng = np.random.default_rng(0)
        rows = rng.integers(0, len(samples.targets), size=(MEMBERS, len(samples.targets)))
        members = [_fit_member(samples.rows(drawn), seed) for seed, drawn in enumerate(rows)]
        starts, features, thresholds, leaves = zip(*members, strict=True)
        return cls(np.array(starts), np.stack(features), np.stack(thresholds), np.stack(leaves))

    def refitted(self, samples: TrainingSet) -> Self:
        """Return an ensemble fitted to other samples."""
        return self.fit(samples)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted arrays by name."""
        return {name: getattr(self, name) for name in ("starts", "split_features", "thresholds", "leaves")}

    def settings(self) -> dict[str, Any]:
        """Return the other fitted values, for JSON."""
        return {}

    @classmethod
    def restore(cls, arrays: Arrays, settings: Mapping[str, Any]) -> Self:
        """Return the regressor of ``arrays()`` and ``settings()``."""
        return cls(*(arrays[name] for name in ("starts", "split_features", "thresholds", "leaves")))

    def _predict_members(self, features: Floats) -> Floats:
        """Return every member's predictions for features (n, P), shape (E, n)."""
        predicted = np.empty((len(self.starts), len(features)))
        for start in range(0, len(features), CHUNK):
            columns = np.ascontiguousarray(features[start : start + CHUNK].T, np.float32)
            for member, trees in enumerate(zip(self.split_features, self.thresholds, self.leaves, strict=True)):
                total = np.full(columns.shape[1], self.starts[member])
                for tree in zip(*trees, strict=True):
                    total += _evaluate_tree(columns, *tree)
                predicted[member, start : start + CHUNK] = total
        return predicted


def _evaluate_tree(
    columns: NDArray[np.float32],
    split_features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    leaves: Floats,
) -> Floats:
    """Return a tree's values for features (P, n): every node's question for all queries beats following each query."""
    right = columns[split_features] > thresholds[:, None]
    leaf = right[0].astype(np.intp)
    for level in range(1, len(leaves).bit_length() - 1):
        first = 2**level - 1
        leaf = 2 * leaf + np.choose(leaf, right[first : 2 * first + 1])
    value: Floats = leaves[leaf]
    return value


def _fit_member(samples: TrainingSet, seed: int) -> tuple[float, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the start, and the split features, thresholds and leaves of all trees, of one member."""
    from sklearn.ensemble import GradientBoostingRegressor  # takes a second

    start = float(samples.targets.mean())
    model = GradientBoostingRegressor(
        init="zero",
        n_estimators=TREES,
        max_depth=DEPTH,
        learning_rate=LEARNING_RATE,
        subsample=SUBSAMPLE,
        max_features=FEATURE_SHARE,
        random_state=seed,
    ).fit(samples.features, samples.targets - start)
    trees = [_complete(estimator.tree_) for estimator in model.estimators_[:, 0]]
    features, thresholds, leaves = (np.stack(arrays) for arrays in zip(*trees, strict=True))
    return start, features, thresholds, LEARNING_RATE * leaves


def _complete(tree: Any) -> tuple[NDArray[np.int32], NDArray[np.float32], Floats]:
    """Return a scikit-learn tree as a complete one: below a leaf that comes early every query goes left."""
    features = np.zeros(2**DEPTH - 1, np.int32)
    thresholds = np.full(2**DEPTH - 1, np.inf, np.float32)
    leaves = np.zeros(2**DEPTH)
    places = [(0, 0)]
    for place, node in places:
        ends = tree.children_left[node] < 0
        if place >= len(features):
            leaves[place - len(features)] = tree.value[node, 0, 0]
        elif ends:
            places.append((2 * place + 1, node))
        else:
            features[place] = tree.feature[node]
            # queries are compared as float32: the greatest of them that is not above the threshold parts them alike
            thresholds[place] = _float32_below(tree.threshold[node])
            places += [(2 * place + 1, tree.children_left[node]), (2 * place + 2, tree.children_right[node])]
    return features, thresholds, leaves


def _float32_below(value: float) -> np.float32:
    rounded = np.float32(value)
    return rounded if rounded <= value else np.nextafter(rounded, np.float32(-np.inf))
