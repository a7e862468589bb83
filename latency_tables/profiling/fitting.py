"""From what a board timed to a table: operators' rows, and the network's constant, scale and residual.

An operator that was timed as a chain has its row straight from it. One that cannot be chained was timed alone, and
alone it also pays for the call and for taking its input from the caller and giving its output back. The chained
operators, which were timed alone too, tell what that costs; it is fitted on them and taken off the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from litepose_ofa.latency_tables.profiling.measurements import ChainTiming, Measurements, Timing
from litepose_ofa.latency_tables.rows import OperatorLatency
from litepose_ofa.supernet.archs.operators import Operator

LEAST_SHARE = 0.05
"""A row is at least this share of what its operator took alone, however dear its boundary is thought to be."""

TYPICAL_ERROR = 0.05
"""Relative error of a network from which on it counts less in the fit of constant and scale."""

_TINY = 1e-12

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BoundaryCost:
    """What a lone operator pays beyond its place in a network.

    Attributes:
        call_ms: Per call of the runtime.
        ms_per_minput: Per 10^6 elements taken in.
        ms_per_moutput: Per 10^6 elements given back.
        residual: Root mean square error of this model over the operators that it was fitted on, relative to what they
            take in a chain.
    """

    call_ms: float
    ms_per_minput: float
    ms_per_moutput: float
    residual: float

    def ms(self, operator: Operator) -> float:
        """Return the cost in ms for one operator."""
        inputs, outputs = boundary_elements(operator)
        return self.call_ms + self.ms_per_minput * inputs / 1e6 + self.ms_per_moutput * outputs / 1e6


def boundary_elements(operator: Operator) -> tuple[int, int]:
    """Return the elements that an operator reads from outside and those that it gives back."""
    channels = operator.in_channels
    if operator.kind in ("fusion_deconv", "head"):
        channels += operator.mid_channels
    return channels * operator.resolution**2, operator.out_channels * operator.out_resolution**2


def chain_ms(timing: ChainTiming) -> float:
    """Return what one copy in a chain takes, in ms."""
    return (timing.chain.ms - timing.single.ms) / (timing.copies - 1)


def fit_boundary(chains: Mapping[Operator, ChainTiming], null: Timing) -> BoundaryCost:
    """Fit the boundary's cost by non-negative least squares on errors relative to the operators.

    Args:
        chains: Operators that were timed alone and chained; with none, a call costs what the null model takes.
        null: The model that does nothing: the least that a call costs.
    """
    if not chains:
        return BoundaryCost(null.ms, 0.0, 0.0, 0.0)
    inner = np.array([max(chain_ms(timing), LEAST_SHARE * timing.single.ms) for timing in chains.values()])
    beyond = np.array([timing.single.ms for timing in chains.values()]) - inner - null.ms
    elements = np.array([boundary_elements(operator) for operator in chains]) / 1e6
    system = np.column_stack([np.ones(len(inner)), elements]) / inner[:, None]
    (call, per_input, per_output), _ = nnls(system, beyond / inner)
    errors = system @ np.array([call, per_input, per_output]) - beyond / inner
    return BoundaryCost(null.ms + float(call), float(per_input), float(per_output), float(np.sqrt(np.mean(errors**2))))


def measured_rows(measurements: Measurements) -> dict[Operator, OperatorLatency]:
    """Return the row of every operator that was timed."""
    boundary = fit_boundary(measurements.chains, measurements.null)
    rows = {}
    for operator, single in measurements.singles.items():
        chained = measurements.chains.get(operator)
        rows[operator] = _lone_row(operator, single, boundary) if chained is None else _chain_row(chained)
    return rows


def _chain_row(timing: ChainTiming) -> OperatorLatency:
    ms = max(chain_ms(timing), LEAST_SHARE * timing.single.ms)
    spread = np.hypot(timing.chain.spread_ms, timing.single.spread_ms) / (timing.copies - 1)
    return OperatorLatency(_rounded(ms), _rounded(spread), timing.chain.runs)


def _lone_row(operator: Operator, single: Timing, boundary: BoundaryCost) -> OperatorLatency:
    ms = max(single.ms - boundary.ms(operator), LEAST_SHARE * single.ms)
    return OperatorLatency(_rounded(ms), _rounded(np.hypot(single.spread_ms, boundary.residual * ms)), single.runs)


@dataclass(frozen=True, slots=True)
class NetworkFit:
    """How whole networks follow from the sums of their operators: ``constant_ms + scale x sum``.

    Attributes:
        constant_ms: At least 0.
        constant_spread_ms: Jackknife standard error of the constant.
        scale: Above 0.
        errors: Relative error, fitted / measured - 1, of each network, shape (N,).
        left_out_errors: The same by fits that did not see the network, shape (N,).
    """

    constant_ms: float
    constant_spread_ms: float
    scale: float
    errors: Floats
    left_out_errors: Floats


def fit_networks(sums_ms: Floats, known_ms: Floats) -> NetworkFit:
    """Fit constant and scale, neither below 0, to relative errors; a network that was disturbed hardly counts.

    The loss is quadratic up to errors of ``TYPICAL_ERROR`` and grows like their size beyond (soft L1).

    Args:
        sums_ms: Sum of each network's operators, ms, shape (N,), N of at least 3.
        known_ms: What the networks took, ms, shape (N,).
    """
    count = len(known_ms)
    fits = [_fit_line(np.delete(sums_ms, i), np.delete(known_ms, i)) for i in range(count)]
    left_out = np.array([constant + scale * sums_ms[i] for i, (constant, scale) in enumerate(fits)])
    constant, scale = _fit_line(sums_ms, known_ms)
    constants = np.array([fit[0] for fit in fits])
    spread = float(np.sqrt((count - 1) * np.var(constants)))
    return NetworkFit(constant, spread, scale, (constant + scale * sums_ms) / known_ms - 1, left_out / known_ms - 1)


def _fit_line(sums_ms: Floats, known_ms: Floats) -> tuple[float, float]:
    start = [0.0, float(np.median(known_ms / sums_ms))]

    def errors(line: Floats) -> Floats:
        relative: Floats = (line[0] + line[1] * sums_ms) / known_ms - 1
        return relative

    fit = least_squares(
        errors,
        start,
        bounds=([-_TINY, _TINY], np.inf),
        x_scale=[float(np.median(known_ms)), 1.0],
        loss="soft_l1",
        f_scale=TYPICAL_ERROR,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    constant, scale = fit.x
    return max(float(constant), 0.0), float(scale)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
