"""Relative regression: known costs are recovered, held-out groups are held out, costs are never negative."""

import numpy as np
import pytest
from regression import Sample, fit_relative
from scipy.optimize import nnls

TRUE = {"overhead": 0.5, "work": 2.0, "bytes": 0.25}


def samples(count: int, noise: float, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        amounts = {"overhead": 1.0, "work": rng.uniform(0.1, 10), "bytes": rng.uniform(0.1, 10)}
        ms = sum(TRUE[name] * amount for name, amount in amounts.items()) * (1 + noise * rng.standard_normal())
        made.append(Sample(ms, amounts, group=str(i % 4)))
    return made


def test_known_costs_are_recovered() -> None:
    fit = fit_relative(samples(20, noise=0.0))
    assert fit.costs == pytest.approx(TRUE)
    assert (fit.samples, fit.groups) == (20, 4)
    assert fit.fit_mape == pytest.approx(0, abs=1e-9)
    assert fit.held_out_mape == pytest.approx(0, abs=1e-9)


def test_errors_are_those_of_fits_made_by_hand() -> None:
    noisy = samples(24, noise=0.2)
    fit = fit_relative(noisy)
    names = list(TRUE)
    system = np.array([[sample.amounts[name] / sample.ms for name in names] for sample in noisy])
    held_out = []
    for i, sample in enumerate(noisy):
        others = [j for j, other in enumerate(noisy) if other.group != sample.group]
        held_out.append(abs(system[i] @ nnls(system[others], np.ones(len(others)))[0] - 1))
    assert fit.held_out_mape == pytest.approx(np.mean(held_out))
    assert fit.fit_mape == pytest.approx(np.mean(np.abs(system @ np.array([fit.costs[name] for name in names]) - 1)))
    assert fit.held_out_mape > fit.fit_mape


def test_errors_are_relative() -> None:
    """Two samples of one cost: the fit minimises the squares of relative errors, not of milliseconds."""
    fit = fit_relative([Sample(1.0, {"work": 1.0}, "a"), Sample(300.0, {"work": 100.0}, "b")])
    ratios = np.array([1.0, 1 / 3])
    assert fit.costs["work"] == pytest.approx(ratios.sum() / (ratios**2).sum())
    assert fit.held_out_mape == pytest.approx(np.mean([3.0 - 1, 1 - 1 / 3]))


def test_costs_are_never_negative() -> None:
    falling = [Sample(10.0 - work, {"overhead": 1.0, "work": work}, str(work)) for work in (1.0, 2.0, 3.0, 4.0)]
    assert fit_relative(falling).costs["work"] == 0.0


def test_a_cost_that_a_sample_does_not_name_has_no_part_in_it() -> None:
    fit = fit_relative(
        [Sample(2.0, {"a": 1.0}, "0"), Sample(2.0, {"a": 1.0}, "1"), Sample(5.0, {"a": 1.0, "b": 1.0}, "2")]
    )
    assert fit.costs == pytest.approx({"a": 2.0, "b": 3.0})
