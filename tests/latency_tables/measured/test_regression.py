"""Rows of operators that were not timed."""

from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.fitting import measured_rows
from litepose_ofa.latency_tables.profiling.regression import OperatorRegression, fit_rows
from litepose_ofa.latency_tables.profiling.sampling import LEAST_OF_A_KIND, spread_out_sample
from litepose_ofa.latency_tables.rows import OperatorLatency
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

RELEASED = SearchSpace.preset("litepose_released")


def test_what_was_not_timed_is_fitted_as_well_as_it_says(board: Any) -> None:
    wanted = space_operators(RELEASED)
    sample = spread_out_sample(wanted, 0.2)
    rows = {o: OperatorLatency(board.true_ms(o), 0.0, 50) for o in sample}
    fitted = fit_rows(rows, wanted, np.random.default_rng(0))
    assert fitted.rows.keys() == wanted - rows.keys()
    assert all(row.samples == 0 and row.spread_ms > 0 for row in fitted.rows.values())
    errors = np.array([row.ms / board.true_ms(operator) - 1 for operator, row in fitted.rows.items()])
    assert np.abs(errors).mean() < 2 * fitted.error
    assert fitted.error < 0.08


def test_timed_operators_are_followed_closely(board: Any) -> None:
    operators = sorted((o for o in space_operators(RELEASED) if o.kind == "bottleneck"), key=str)
    ms = np.array([board.true_ms(o) for o in operators])
    predicted = OperatorRegression(operators[::2], ms[::2]).predict(operators[1::2])
    assert np.abs(predicted / ms[1::2] - 1).mean() < 0.03


def test_nothing_wanted_nothing_fitted(board: Any) -> None:
    rows = measured_rows(board.measure(RELEASED, chosen=lambda o: o.resolution == 64))
    fitted = fit_rows(rows, list(rows), np.random.default_rng(0))
    assert (dict(fitted.rows), fitted.error) == ({}, 0.0)


def test_too_few_timed_operators_are_refused_by_kind(board: Any) -> None:
    operators = sorted((o for o in space_operators(RELEASED) if o.kind == "head"), key=str)
    rows = {o: OperatorLatency(1.0, 0.0, 50) for o in operators[: LEAST_OF_A_KIND - 1]}
    with pytest.raises(
        InputError, match=f"{LEAST_OF_A_KIND - 1} operators of kind head were timed; at least {LEAST_OF_A_KIND}"
    ):
        fit_rows(rows, operators, np.random.default_rng(0))


def test_a_kernel_that_nobody_timed_is_refused(board: Any) -> None:
    tiny = SearchSpace.preset("tiny")
    rows = {o: OperatorLatency(1.0, 0.0, 50) for o in space_operators(tiny) if o.kind == "bottleneck" and o.kernel != 7}
    with pytest.raises(
        InputError,
        match="0 timed operators of kind bottleneck have a depthwise convolution of kernel 7; at least 2 are",
    ):
        fit_rows(rows, [o for o in space_operators(tiny) if o.kind == "bottleneck"], np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(4))
def test_the_least_sample_of_a_kit_is_fitted_whatever_the_folds(board: Any, seed: int) -> None:
    wanted = {o for o in space_operators(SearchSpace.preset("litepose")) if o.resolution in (32, 64)}
    rows = {o: OperatorLatency(board.true_ms(o), 0.0, 50) for o in spread_out_sample(wanted, 0.001)}
    fitted = fit_rows(rows, wanted, np.random.default_rng(seed))
    assert fitted.rows.keys() == wanted - rows.keys()
    assert 0 < fitted.error < 1


def test_the_only_operator_with_a_kernel_is_fitted_from_and_not_held_out(board: Any) -> None:
    bottlenecks = [o for o in space_operators(SearchSpace.preset("tiny")) if o.kind == "bottleneck"]
    (only, *_), others = [o for o in bottlenecks if o.kernel == 7], [o for o in bottlenecks if o.kernel != 7]
    rows = {o: OperatorLatency(board.true_ms(o), 0.0, 50) for o in [only, *others[::2]]}
    fitted = fit_rows(rows, [only, *others], np.random.default_rng(0))
    assert fitted.rows.keys() == {*others} - rows.keys()
