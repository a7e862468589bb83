"""Calibration: known coefficients are recovered, the ridge pulls where it says, left-out errors are left out."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

calibration = import_module("calibration")
CalibrationPrior, fit_calibration = calibration.CalibrationPrior, calibration.fit_calibration
leave_one_out = calibration.leave_one_out

LOOSE = CalibrationPrior(1e-6, {"conv": 1.0, "depthwise": 1.0, "transposed": 1.0}, with_constant=True)
TRUE_MULTIPLIERS = np.array([0.7, 1.4, 3.0])


def synthetic(networks: int, constant_ms: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    class_ms = np.random.default_rng(seed).uniform(1.0, 50.0, (networks, 3))
    return class_ms, class_ms @ TRUE_MULTIPLIERS + constant_ms


def test_known_coefficients_are_recovered() -> None:
    class_ms, known_ms = synthetic(8, constant_ms=5.0)
    fit = fit_calibration(class_ms, known_ms, LOOSE)
    assert list(fit.multipliers) == ["conv", "depthwise", "transposed"]
    np.testing.assert_allclose(list(fit.multipliers.values()), TRUE_MULTIPLIERS, rtol=1e-5)
    assert fit.constant_ms == pytest.approx(5.0, rel=1e-4)
    np.testing.assert_allclose(fit.network_ms(class_ms), known_ms, rtol=1e-6)


def test_without_a_constant_there_is_none() -> None:
    class_ms, known_ms = synthetic(8, constant_ms=5.0)
    assert fit_calibration(class_ms, known_ms, replace(LOOSE, with_constant=False)).constant_ms == 0.0


def test_a_tight_ridge_gives_one_common_scale() -> None:
    class_ms, known_ms = synthetic(8, constant_ms=0.0)
    tight = CalibrationPrior(1.0, dict.fromkeys(LOOSE.multiplier_spread, 1e-4), with_constant=False)
    multipliers = np.array(list(fit_calibration(class_ms, known_ms, tight).multipliers.values()))
    relative = class_ms.sum(axis=1) / known_ms
    least_squares_scale = relative.sum() / (relative**2).sum()
    np.testing.assert_allclose(multipliers, least_squares_scale, rtol=1e-4)


def test_a_loose_class_goes_its_own_way() -> None:
    class_ms, known_ms = synthetic(8, constant_ms=0.0)
    spreads = {"conv": 0.01, "depthwise": 0.01, "transposed": 100.0}
    fit = fit_calibration(class_ms, known_ms, CalibrationPrior(0.05, spreads, with_constant=False)).multipliers
    assert fit["conv"] == pytest.approx(fit["depthwise"], rel=0.05)
    assert fit["transposed"] > 2 * fit["conv"]


def test_the_unit_of_the_models_does_not_matter() -> None:
    """A model in microseconds gives the same network latencies: the ridge is relative."""
    class_ms, known_ms = synthetic(4, constant_ms=3.0)
    known_ms *= np.array([0.9, 1.1, 0.95, 1.05])
    prior = CalibrationPrior(0.05, {"conv": 0.15, "depthwise": 0.15, "transposed": 1.0}, with_constant=True)
    in_ms, in_us = (fit_calibration(unit * class_ms, known_ms, prior) for unit in (1.0, 1e3))
    np.testing.assert_allclose(in_ms.network_ms(class_ms), in_us.network_ms(1e3 * class_ms))


def test_left_out_errors_are_those_of_the_other_networks_fit() -> None:
    class_ms, known_ms = synthetic(6, constant_ms=5.0)
    known_ms[2] *= 1.3
    result = leave_one_out(class_ms, known_ms, LOOSE)
    assert result.errors[2] == pytest.approx(1 / 1.3 - 1, rel=1e-4)
    for i in range(6):
        others = [j for j in range(6) if j != i]
        fit = fit_calibration(class_ms[others], known_ms[others], LOOSE)
        assert result.errors[i] == pytest.approx(fit.network_ms(class_ms[i : i + 1])[0] / known_ms[i] - 1)
    assert result.residual == pytest.approx(np.sqrt(np.mean(result.errors**2)))


def test_constant_spread_is_the_jackknife_error() -> None:
    """Networks of no operators make the constant a mean, whose standard error the jackknife gives exactly."""
    known_ms = np.array([9.0, 10.0, 10.0, 11.5])
    spread = leave_one_out(np.full((4, 3), 1e-9), known_ms, LOOSE).constant_spread_ms
    weights = known_ms**-2  # relative errors weigh a network by its inverse square
    means = [np.average(np.delete(known_ms, i), weights=np.delete(weights, i)) for i in range(4)]
    assert spread == pytest.approx(np.sqrt(3 / 4 * np.sum((means - np.mean(means)) ** 2)), rel=1e-3)
