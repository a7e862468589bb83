"""Latency as a sum of amounts times non-negative costs, fitted to relative errors and checked on held-out groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        ms: Measured latency.
        amounts: What was done, by the name of the cost that it is multiplied by; a cost that is absent has amount 0.
        group: What the sample is held out with.
    """

    ms: float
    amounts: Mapping[str, float]
    group: str


@dataclass(frozen=True, slots=True)
class Regression:
    """Costs fitted to samples, and their errors.

    Attributes:
        costs: Milliseconds per amount, in the order in which the samples first name them.
        samples: Number of samples.
        groups: Number of groups.
        fit_mape: Mean absolute relative error on the samples.
        held_out_mape: The same when each group in turn is estimated by the costs that the other groups give.
    """

    costs: Mapping[str, float]
    samples: int
    groups: int
    fit_mape: float
    held_out_mape: float


def fit_relative(samples: Sequence[Sample]) -> Regression:
    """Fit costs by non-negative least squares on relative errors; every group is held out once."""
    names = list(dict.fromkeys(name for sample in samples for name in sample.amounts))
    relative = np.array([[sample.amounts.get(name, 0.0) / sample.ms for name in names] for sample in samples])
    groups = np.unique([sample.group for sample in samples], return_inverse=True)[1]
    costs = _costs(relative)
    held_out = np.empty(len(samples))
    for group in range(groups.max() + 1):
        rows = groups == group
        held_out[rows] = relative[rows] @ _costs(relative[~rows])
    return Regression(
        costs=dict(zip(names, costs.tolist(), strict=True)),
        samples=len(samples),
        groups=int(groups.max()) + 1,
        fit_mape=_mape(relative @ costs),
        held_out_mape=_mape(held_out),
    )


def _costs(relative: Floats) -> Floats:
    costs: Floats = nnls(relative, np.ones(len(relative)))[0]
    return costs


def _mape(relative: Floats) -> float:
    return float(np.mean(np.abs(relative - 1)))
