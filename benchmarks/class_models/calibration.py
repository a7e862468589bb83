"""Fitting class multipliers and a network constant to whole-network latencies, and how far the fit can be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CalibrationPrior:
    """What is believed before the networks are seen; it keeps few networks from setting many numbers.

    Attributes:
        network_error: Relative error (one sigma) expected of a whole network after the fit.
        multiplier_spread: By operator class, the relative spread of its multiplier around the common scale of all.
        with_constant: Whether a network has a cost beyond its operators.
    """

    network_error: float
    multiplier_spread: Mapping[str, float]
    with_constant: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """A network takes ``constant_ms`` + the sum over the classes of multiplier x (ms by the class models)."""

    multipliers: Mapping[str, float]
    constant_ms: float

    def network_ms(self, class_ms: Floats) -> Floats:
        """Return the latency of networks in ms from their ms by class, shape (N, C) -> (N,)."""
        latencies: Floats = class_ms @ np.array(list(self.multipliers.values())) + self.constant_ms
        return latencies


def fit_calibration(class_ms: Floats, known_ms: Floats, prior: CalibrationPrior) -> Calibration:
    """Fit multipliers and constant by non-negative least squares on relative errors, with a ridge.

    The ridge pulls every class multiplier toward a common scale that is itself fitted; its strength is the square of
    ``network_error / multiplier_spread``, so that one sigma of either costs the same.

    Args:
        class_ms: Sum of the class models over each network's operators, ms, shape (N, C); the columns are in the order
            of ``prior.multiplier_spread``.
        known_ms: Latency of the same networks as measured or published, ms, shape (N,).
        prior: Strength of the ridge, and whether to fit a constant.
    """
    networks, classes = class_ms.shape
    spreads = np.array(list(prior.multiplier_spread.values()))
    typical_scale = 1 / np.mean(class_ms.sum(axis=1) / known_ms)
    pull = np.diag(prior.network_error / spreads / typical_scale)
    constant = 1 / known_ms if prior.with_constant else np.zeros(networks)
    system = np.block(
        [
            [class_ms / known_ms[:, None], np.zeros((networks, 1)), constant[:, None]],
            [pull, -pull.sum(axis=1, keepdims=True), np.zeros((classes, 1))],
        ]
    )
    solution, _ = nnls(system, np.concatenate([np.ones(networks), np.zeros(classes)]))
    multipliers = dict(zip(prior.multiplier_spread, solution[:classes].tolist(), strict=True))
    return Calibration(multipliers, float(solution[-1]) if prior.with_constant else 0.0)


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Refits without each network in turn.

    Attributes:
        errors: Relative error, estimated / known - 1, of each network by the fit that did not see it, shape (N,).
        constant_spread_ms: Jackknife standard error of the network constant.
    """

    errors: Floats
    constant_spread_ms: float

    @property
    def residual(self) -> float:
        """Root mean square of the errors: the relative error to expect of a network that no fit has seen."""
        return float(np.sqrt(np.mean(self.errors**2)))


def leave_one_out(class_ms: Floats, known_ms: Floats, prior: CalibrationPrior) -> LeaveOneOut:
    """Fit without each network in turn and predict it; the arguments are those of ``fit_calibration``."""
    count = len(known_ms)
    fits = [fit_calibration(np.delete(class_ms, i, 0), np.delete(known_ms, i), prior) for i in range(count)]
    predicted = np.array([float(fit.network_ms(class_ms[i : i + 1])[0]) for i, fit in enumerate(fits)])
    constants = np.array([fit.constant_ms for fit in fits])
    return LeaveOneOut(predicted / known_ms - 1, float(np.sqrt((count - 1) * np.var(constants))))
