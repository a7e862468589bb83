"""Rows and network fit of a board whose true costs are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables.profiling.fitting import (
    LEAST_SHARE,
    fit_boundary,
    fit_networks,
    measured_rows,
)
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import SearchSpace

TINY = SearchSpace.preset("tiny")


def test_the_boundary_is_found_from_the_chained_operators(board: Any) -> None:
    measured = board.measure(TINY)
    boundary = fit_boundary(measured.chains, measured.null)
    assert boundary.call_ms == pytest.approx(board.call_ms)
    # chained operators give back as much as they take in: only the sum of both prices shows
    assert boundary.ms_per_minput + boundary.ms_per_moutput == pytest.approx(board.ms_per_minput + board.ms_per_moutput)
    assert boundary.residual == pytest.approx(0, abs=1e-9)


def test_chained_operators_are_exact_and_the_others_near(board: Any) -> None:
    measured = board.measure(TINY)
    rows = measured_rows(measured)
    assert rows.keys() == measured.singles.keys()
    for operator, row in rows.items():
        if operator in measured.chains:
            assert row.ms == pytest.approx(board.true_ms(operator), rel=1e-3)
        else:
            assert abs(row.ms - board.true_ms(operator)) < abs(board.lone_ms(operator) - board.true_ms(operator))


def test_without_chains_the_call_alone_is_taken_off(board: Any) -> None:
    boundary = fit_boundary({}, board.measure(TINY).null)
    assert boundary.ms(next(iter(board.measure(TINY).singles))) == 0.01


def test_noise_never_makes_a_row_negative(board: Any) -> None:
    rows = measured_rows(board.measure(TINY, noise=0.25))
    assert all(row.ms > 0 for row in rows.values())


def test_a_row_keeps_a_share_of_what_the_operator_took_alone(board: Any) -> None:
    measured = board.measure(TINY)
    operator = next(o for o in measured.singles if o not in measured.chains)
    single = replace(measured.singles[operator], ms=1e-4)
    row = measured_rows(replace(measured, singles={operator: single}))[operator]
    assert row.ms == pytest.approx(LEAST_SHARE * 1e-4)


def test_constant_and_scale_of_networks_are_found(board: Any) -> None:
    archs = board.sample_archs(TINY, 20, 0)
    sums = np.array([sum(map(board.true_ms, operators_of(arch))) for arch in archs])
    fit = fit_networks(sums, np.array([board.network_ms(arch) for arch in archs]))
    assert (fit.constant_ms, fit.scale) == pytest.approx((board.constant_ms, board.scale))
    assert np.abs(fit.errors).max() < 1e-9
    assert np.abs(fit.left_out_errors).max() < 1e-9
    assert fit.constant_spread_ms == pytest.approx(0, abs=1e-9)


def test_left_out_errors_are_those_of_refits(board: Any) -> None:
    rng = np.random.default_rng(0)
    sums = rng.uniform(1, 10, 12)
    known = (0.3 + 1.2 * sums) * (1 + 0.05 * rng.standard_normal(12))
    fit = fit_networks(sums, known)
    for i in (0, 5, 11):
        rest = np.arange(12) != i
        refit = fit_networks(sums[rest], known[rest])
        assert fit.left_out_errors[i] == pytest.approx((refit.constant_ms + refit.scale * sums[i]) / known[i] - 1)


def test_a_network_never_has_a_negative_constant(board: Any) -> None:
    sums = np.array([1.0, 2.0, 3.0, 4.0])
    fit = fit_networks(sums, 2 * sums - 0.5)
    assert fit.constant_ms == 0
    assert fit.scale > 0
