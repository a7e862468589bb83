"""From what a board timed to a table: operators' rows, and the network's constant, scale and residual.

An operator that was timed as a chain has its row straight from it. One that cannot be chained was timed alone, and
alone it also pays for the call and for taking its input from the caller and giving its output back. The chained
operators, which were timed alone too, tell what that costs; it is fitted on them and taken off the others.

Rows of operators that were not timed follow from those of their kind: a non-negative linear model of what the
convolutions compute and move, fitted on relative errors; on top of it a linear radial-basis interpolation of the
logarithm of what the model leaves over, in the logarithms of the shape.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.optimize import least_squares, nnls

from litepose_ofa.latency_tables.profiling.measurements import ChainTiming, Measurements, Timing
from litepose_ofa.latency_tables.profiling.plan import LEAST_OF_A_CLASS, LEAST_OF_A_KIND, convolution_classes
from litepose_ofa.latency_tables.rows import KINDS, MAPE_TO_SIGMA, OperatorLatency, significant
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.errors import InputError

FEWEST_NETWORKS = 3
LEAST_SHARE = 0.05
"""A row is at least this share of what its operator took alone, however dear its boundary is thought to be."""

TYPICAL_ERROR = 0.05
"""Relative error of a network from which on it counts less in the fit of constant and scale."""

FOLDS = 10
SMOOTHING = 0.1
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


def fit_boundary(chains: Mapping[Operator, ChainTiming], null: Timing) -> BoundaryCost:
    """Fit the boundary's cost by non-negative least squares on errors relative to the operators.

    With no chains a call costs what the null model takes, which is the least that it costs.
    """
    if not chains:
        return BoundaryCost(null.ms, 0.0, 0.0, 0.0)
    inner = np.array([_chain_ms(timing) for timing in chains.values()])
    beyond = np.array([timing.single.ms for timing in chains.values()]) - inner - null.ms
    elements = np.array([boundary_elements(operator) for operator in chains]) / 1e6
    system = np.column_stack([np.ones(len(inner)), elements]) / inner[:, None]
    (call, per_input, per_output), _ = nnls(system, beyond / inner)
    errors = system @ np.array([call, per_input, per_output]) - beyond / inner
    return BoundaryCost(null.ms + float(call), float(per_input), float(per_output), float(np.sqrt(np.mean(errors**2))))


def measured_rows(measurements: Measurements) -> dict[Operator, OperatorLatency]:
    """Return the row of every operator that was timed."""
    boundary, rows = fit_boundary(measurements.chains, measurements.null), {}
    for operator, single in measurements.singles.items():
        if chained := measurements.chains.get(operator):
            ms, runs = _chain_ms(chained), chained.chain.runs
            spread = np.hypot(chained.chain.std_ms, single.std_ms) / (chained.copies - 1)
        else:
            ms, runs = max(single.ms - boundary.ms(operator), LEAST_SHARE * single.ms), single.runs
            spread = np.hypot(single.std_ms, boundary.residual * ms)
        rows[operator] = OperatorLatency(significant(ms), significant(spread), runs)
    return rows


def _chain_ms(timing: ChainTiming) -> float:
    """Return what one copy in a chain takes, in ms."""
    return max((timing.chain.ms - timing.single.ms) / (timing.copies - 1), LEAST_SHARE * timing.single.ms)


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
    def errors(line: Floats) -> Floats:
        relative: Floats = (line[0] + line[1] * sums_ms) / known_ms - 1
        return relative

    constant, scale = least_squares(
        errors,
        [0.0, float(np.median(known_ms / sums_ms))],
        bounds=([-_TINY, _TINY], np.inf),
        x_scale=[float(np.median(known_ms)), 1.0],
        loss="soft_l1",
        f_scale=TYPICAL_ERROR,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    ).x
    return max(float(constant), 0.0), float(scale)


class OperatorRegression:
    """What one kind of operator takes, as a function of its shape; fitted to timed ones, (n,) ms."""

    def __init__(self, operators: Collection[Operator], ms: Floats) -> None:
        self._classes = sorted(set().union(*map(convolution_classes, operators)))
        work = self._work(operators)
        self._coefficients, _ = nnls(work / ms[:, None], np.ones(len(ms)))
        shapes = _shape(operators)
        self._offset, spread = shapes.mean(axis=0), shapes.std(axis=0)
        self._varies = spread > 0
        self._scale = spread[self._varies]
        left_over = np.log(ms / (work @ self._coefficients))
        self._left_over = RBFInterpolator(
            self._standardised(shapes), left_over, kernel="linear", smoothing=SMOOTHING, degree=0
        )
        self._range = float(left_over.min()), float(left_over.max())

    def predict(self, operators: Collection[Operator]) -> Floats:
        """Return what operators of the kind take, in ms, shape (n,)."""
        left_over = self._left_over(self._standardised(_shape(operators)))
        ms: Floats = (self._work(operators) @ self._coefficients) * np.exp(np.clip(left_over, *self._range))
        return ms

    def _work(self, operators: Collection[Operator]) -> Floats:
        """Return per operator 1, and by class of convolution MMACs and million elements moved, shape (n, W)."""
        work = np.zeros((len(operators), 2, len(self._classes)))
        for row, operator in zip(work, operators, strict=True):
            for c in operator.convolutions:
                moved = c.in_channels * c.in_size**2 + c.out_channels * c.out_size**2
                row[:, self._classes.index((c.kind, c.kernel))] += c.macs / 1e6, moved / 1e6
        return np.column_stack([np.ones(len(work)), work.reshape(len(work), -1)])

    def _standardised(self, shapes: Floats) -> Floats:
        standardised: Floats = (shapes - self._offset)[:, self._varies] / self._scale
        return standardised


def fit_rows(
    rows: Mapping[Operator, OperatorLatency], wanted: Collection[Operator], rng: np.random.Generator
) -> tuple[dict[Operator, OperatorLatency], float | None]:
    """Fit the rows that are wanted and are not among the timed ones, which ``rng`` divides into folds.

    Returns:
        The rows, with 0 samples and the cross-validated error as their spread, and that error's mean absolute value,
        relative, over all timed operators of their kinds; None if there are no rows.

    Raises:
        InputError: If too few operators of a kind were timed; the message names it.
    """
    fitted: dict[Operator, OperatorLatency] = {}
    errors: list[Floats] = []
    for kind in KINDS:
        known = [operator for operator in rows if operator.kind == kind]
        missing = [operator for operator in wanted if operator.kind == kind and operator not in rows]
        if not missing:
            continue
        if len(known) < LEAST_OF_A_KIND:
            raise InputError(
                f"{len(known)} operators of kind {kind} were timed; at least {LEAST_OF_A_KIND} are needed to fit "
                f"{len(missing)} others"
            )
        counts = Counter(class_ for operator in known for class_ in convolution_classes(operator))
        for name, kernel in sorted(set().union(*map(convolution_classes, missing))):
            if counts[name, kernel] < LEAST_OF_A_CLASS:
                raise InputError(
                    f"{counts[name, kernel]} timed operators of kind {kind} have a {name} convolution of kernel "
                    f"{kernel}; at least {LEAST_OF_A_CLASS} are needed to fit others"
                )
        ms = np.array([rows[operator].ms for operator in known])
        errors.append(np.abs(_cross_validated_errors(known, ms, rng)))
        sigma = MAPE_TO_SIGMA * float(errors[-1].mean())
        for operator, predicted in zip(missing, OperatorRegression(known, ms).predict(missing).tolist(), strict=True):
            fitted[operator] = OperatorLatency(significant(predicted), significant(sigma * predicted), 0)
    return fitted, round(float(np.concatenate(errors).mean()), 4) if errors else None


def _cross_validated_errors(operators: list[Operator], ms: Floats, rng: np.random.Generator) -> Floats:
    """Return the relative errors of the operators by fits that did not see them, but of the only ones of a class."""
    fold_of = np.empty(len(ms), int)
    folds = np.array_split(rng.permutation(len(ms)), min(FOLDS, len(ms) // 2))
    for number, fold in enumerate(folds):
        fold_of[fold] = number
    for class_ in sorted(set().union(*map(convolution_classes, operators))):
        members = [i for i, operator in enumerate(operators) if class_ in convolution_classes(operator)]
        if len(members) == 1:
            fold_of[members] = -1
        elif len({*fold_of[members].tolist()}) == 1:  # or its fold would leave nothing to fit the class from
            fold_of[members[0]] = (fold_of[members[0]] + 1) % len(folds)
    predicted = ms.copy()
    for number in range(len(folds)):
        fold, rest = np.flatnonzero(fold_of == number), np.flatnonzero(fold_of != number)
        if len(fold):
            model = OperatorRegression([operators[i] for i in rest], ms[rest])
            predicted[fold] = model.predict([operators[i] for i in fold])
    errors: Floats = (predicted / ms - 1)[fold_of >= 0]
    return errors


def _shape(operators: Collection[Operator]) -> Floats:
    """Return the logarithms of the shapes, shape (n, 6)."""
    return np.log(
        [(o.resolution, o.in_channels, o.mid_channels, o.out_channels, o.kernel, o.stride) for o in operators]
    )
