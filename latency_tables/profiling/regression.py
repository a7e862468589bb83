"""The rows of operators that were not timed, from those that were: physics first, then what neighbours leave over.

Of each kind of operator, a non-negative linear model of what its convolutions compute and move, fitted on relative
errors; on top of it a linear radial-basis interpolation of the logarithm of what the model leaves over, in the
logarithms of the shape. The error is cross-validated, and becomes the spread of every fitted row.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.optimize import nnls

from litepose_ofa.latency_tables.profiling.sampling import (
    LEAST_OF_A_CLASS,
    LEAST_OF_A_KIND,
    ConvolutionClass,
    convolution_classes,
)
from litepose_ofa.latency_tables.rows import OperatorLatency
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.errors import InputError

FOLDS = 10
SMOOTHING = 0.1
ABS_TO_SIGMA = float(np.sqrt(np.pi / 2))
"""Standard deviation over mean absolute deviation of a normal distribution."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FittedRows:
    """Rows of operators that were not timed.

    Attributes:
        rows: Each with 0 samples and the cross-validated error as its spread.
        error: Mean absolute relative error over all timed operators, each predicted by a fit that did not see it.
    """

    rows: Mapping[Operator, OperatorLatency]
    error: float


class OperatorRegression:
    """What one kind of operator takes, as a function of its shape.

    Args:
        operators: Timed operators of one kind.
        ms: What they take, in ms, shape (n,).
    """

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
        return np.array([_operator_work(operator, self._classes) for operator in operators])

    def _standardised(self, shapes: Floats) -> Floats:
        standardised: Floats = (shapes - self._offset)[:, self._varies] / self._scale
        return standardised


def fit_rows(
    rows: Mapping[Operator, OperatorLatency], wanted: Collection[Operator], rng: np.random.Generator
) -> FittedRows:
    """Fit the rows that are wanted and were not timed.

    Args:
        rows: Timed operators.
        wanted: Operators that the table is to have; those among ``rows`` are left out.
        rng: Divides the timed operators into folds.

    Raises:
        InputError: If too few operators of a kind were timed; the message names it.
    """
    fitted: dict[Operator, OperatorLatency] = {}
    errors: list[Floats] = []
    for kind in dict.fromkeys(operator.kind for operator in wanted if operator not in rows):
        known = [operator for operator in rows if operator.kind == kind]
        missing = [operator for operator in wanted if operator.kind == kind and operator not in rows]
        if len(known) < LEAST_OF_A_KIND:
            raise InputError(
                f"{len(known)} operators of kind {kind} were timed; at least {LEAST_OF_A_KIND} are needed to fit "
                f"{len(missing)} others"
            )
        _require_classes(kind, known, missing)
        ms = np.array([rows[operator].ms for operator in known])
        kind_errors = _cross_validated_errors(known, ms, rng)
        errors.append(kind_errors)
        sigma = ABS_TO_SIGMA * float(np.abs(kind_errors).mean())
        for operator, predicted in zip(missing, OperatorRegression(known, ms).predict(missing).tolist(), strict=True):
            fitted[operator] = OperatorLatency(float(f"{predicted:.4g}"), float(f"{sigma * predicted:.4g}"), 0)
    error = float(np.abs(np.concatenate(errors)).mean()) if errors else 0.0
    return FittedRows(fitted, error)


def _require_classes(kind: str, known: list[Operator], missing: list[Operator]) -> None:
    """Refuse operators with a class of convolution that too few timed ones have to fit them and to know the error."""
    counts = Counter(class_ for operator in known for class_ in convolution_classes(operator))
    for name, kernel in sorted(set().union(*map(convolution_classes, missing))):
        if counts[name, kernel] < LEAST_OF_A_CLASS:
            raise InputError(
                f"{counts[name, kernel]} timed operators of kind {kind} have a {name} convolution of kernel {kernel}; "
                f"at least {LEAST_OF_A_CLASS} are needed to fit others"
            )


def _cross_validated_errors(operators: list[Operator], ms: Floats, rng: np.random.Generator) -> Floats:
    """Return the relative errors of the operators by fits that did not see them; only one of its class is no use."""
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


def _operator_work(operator: Operator, classes: list[ConvolutionClass]) -> list[float]:
    macs = dict.fromkeys(classes, 0.0)
    moved = dict.fromkeys(classes, 0.0)
    for c in operator.convolutions:
        macs[c.kind, c.kernel] += c.macs / 1e6
        moved[c.kind, c.kernel] += (c.in_channels * c.in_size**2 + c.out_channels * c.out_size**2) / 1e6
    return [1.0, *macs.values(), *moved.values()]


def _shape(operators: Collection[Operator]) -> Floats:
    """Return the logarithms of the shapes, shape (n, 6)."""
    return np.log(
        [(o.resolution, o.in_channels, o.mid_channels, o.out_channels, o.kernel, o.stride) for o in operators]
    )
