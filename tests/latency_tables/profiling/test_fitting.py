"""Rows and network fit of a board whose true costs are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.fitting import (
    LEAST_SHARE,
    fit_boundary,
    fit_networks,
    fit_rows,
    measured_rows,
)
from litepose_ofa.latency_tables.profiling.plan import LEAST_OF_A_KIND, spread_out_sample
from litepose_ofa.latency_tables.rows import OperatorLatency
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

TINY = SearchSpace.preset("tiny")
RELEASED = SearchSpace.preset("litepose_released")


def test_the_boundary_is_found_from_the_chained_operators(simulated: Any) -> None:
    measured = simulated.measure(TINY)
    boundary = fit_boundary(measured.chains, measured.null)
    assert boundary.call_ms == pytest.approx(simulated.call_ms)
    # chained operators give back as much as they take in: only the sum of both prices shows
    assert boundary.ms_per_minput + boundary.ms_per_moutput == pytest.approx(
        simulated.ms_per_minput + simulated.ms_per_moutput
    )
    assert boundary.residual == pytest.approx(0, abs=1e-9)
    assert fit_boundary({}, measured.null).ms(next(iter(measured.singles))) == 0.01, "without chains a call alone"


def test_chained_operators_are_exact_and_the_others_near(simulated: Any) -> None:
    measured = simulated.measure(TINY)
    rows = measured_rows(measured)
    assert rows.keys() == measured.singles.keys()
    for operator, row in rows.items():
        if operator in measured.chains:
            assert row.ms == pytest.approx(simulated.true_ms(operator), rel=1e-3)
        else:
            assert abs(row.ms - simulated.true_ms(operator)) < abs(
                simulated.lone_ms(operator) - simulated.true_ms(operator)
            )


def test_a_row_keeps_a_share_of_what_the_operator_took_alone(simulated: Any) -> None:
    assert all(row.ms > 0 for row in measured_rows(simulated.measure(TINY, noise=0.25)).values())
    measured = simulated.measure(TINY)
    operator = next(o for o in measured.singles if o not in measured.chains)
    single = replace(measured.singles[operator], ms=1e-4)
    row = measured_rows(replace(measured, singles={operator: single}))[operator]
    assert row.ms == pytest.approx(LEAST_SHARE * 1e-4)


def test_constant_and_scale_of_networks_are_found(simulated: Any) -> None:
    archs = simulated.sample_archs(TINY, 20, 0)
    sums = np.array([sum(map(simulated.true_ms, operators_of(arch))) for arch in archs])
    fit = fit_networks(sums, np.array([simulated.network_ms(arch) for arch in archs]))
    assert (fit.constant_ms, fit.scale) == pytest.approx((simulated.constant_ms, simulated.scale))
    assert np.abs(fit.errors).max() < 1e-9
    assert np.abs(fit.left_out_errors).max() < 1e-9
    assert fit.constant_spread_ms == pytest.approx(0, abs=1e-9)


def test_left_out_errors_are_those_of_refits(simulated: Any) -> None:
    rng = np.random.default_rng(0)
    sums = rng.uniform(1, 10, 12)
    known = (0.3 + 1.2 * sums) * (1 + 0.05 * rng.standard_normal(12))
    fit = fit_networks(sums, known)
    for i in (0, 5, 11):
        rest = np.arange(12) != i
        refit = fit_networks(sums[rest], known[rest])
        assert fit.left_out_errors[i] == pytest.approx((refit.constant_ms + refit.scale * sums[i]) / known[i] - 1)


def test_a_network_never_has_a_negative_constant() -> None:
    sums = np.array([1.0, 2.0, 3.0, 4.0])
    fit = fit_networks(sums, 2 * sums - 0.5)
    assert fit.constant_ms == 0 < fit.scale


def test_what_was_not_timed_is_fitted_as_well_as_it_says(simulated: Any) -> None:
    wanted = space_operators(RELEASED)
    sample = spread_out_sample(wanted, 0.2)
    rows = {o: OperatorLatency(simulated.true_ms(o), 0.0, 50) for o in sample}
    fitted, error = fit_rows(rows, wanted, np.random.default_rng(0))
    assert fitted.keys() == wanted - rows.keys()
    assert all(row.samples == 0 and row.std_ms > 0 for row in fitted.values())
    errors = np.array([row.ms / simulated.true_ms(operator) - 1 for operator, row in fitted.items()])
    assert np.abs(errors).mean() < 2 * error
    assert error < 0.08


def test_too_few_timed_operators_are_refused(simulated: Any) -> None:
    heads, blocks = ([o for o in space_operators(TINY) if o.kind == kind] for kind in ("head", "bottleneck"))
    for timed, wanted, message in (
        (heads[: LEAST_OF_A_KIND - 1], heads, f"^{LEAST_OF_A_KIND - 1} operators of kind head were timed; at least"),
        (
            [o for o in blocks if o.kernel != 7],
            blocks,
            "^0 timed operators .* have a depthwise convolution of kernel 7",
        ),
    ):
        rows = dict.fromkeys(timed, OperatorLatency(1.0, 0.0, 50))
        with pytest.raises(InputError, match=message):
            fit_rows(rows, wanted, np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(4))
def test_the_least_sample_of_a_kit_is_fitted_whatever_the_folds(simulated: Any, seed: int) -> None:
    wanted = {o for o in space_operators(SearchSpace.preset("litepose")) if o.resolution in (32, 64)}
    rows = {o: OperatorLatency(simulated.true_ms(o), 0.0, 50) for o in spread_out_sample(wanted, 0.001)}
    fitted, error = fit_rows(rows, wanted, np.random.default_rng(seed))
    assert fitted.keys() == wanted - rows.keys()
    assert 0 < error < 1


def test_the_only_operator_with_a_kernel_is_fitted_from_and_not_held_out(simulated: Any) -> None:
    bottlenecks = [o for o in space_operators(SearchSpace.preset("tiny")) if o.kind == "bottleneck"]
    (only, *_), others = [o for o in bottlenecks if o.kernel == 7], [o for o in bottlenecks if o.kernel != 7]
    rows = {o: OperatorLatency(simulated.true_ms(o), 0.0, 50) for o in [only, *others[::2]]}
    fitted, _ = fit_rows(rows, [only, *others], np.random.default_rng(0))
    assert fitted.keys() == {*others} - rows.keys()
