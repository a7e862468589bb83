"""Which operators to measure when not all of them are: a design spread out over their shapes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables.rows import KINDS
from litepose_ofa.supernet.archs.operators import Operator

LEAST_OF_A_KIND = 8
"""Operators of one kind that the others of it can be fitted from."""

LEAST_OF_A_CLASS = 2
"""Of those, operators with one class of convolution: from one the others are fitted when the other is held out."""

ConvolutionClass = tuple[str, int]
"""Kind and kernel of a convolution."""


def spread_out_sample(operators: Iterable[Operator], share: float) -> list[Operator]:
    """Choose a share of the operators of each kind, far apart in the logarithms of their shapes; none for a share of 0.

    The smallest and the largest of a kind by multiply-accumulates come first; then always the one farthest from those
    that were chosen, which takes the corners of the shapes' range before its inside (farthest-point design, Gonzalez,
    Clustering to minimize the maximum intercluster distance, 1985).

    Args:
        operators: All operators.
        share: How many of a kind to choose, in [0, 1]; above 0 at least ``LEAST_OF_A_KIND``, and ``LEAST_OF_A_CLASS``
            with each class of convolution, or all there are.
    """
    if share == 0:
        return []
    ordered = sorted(operators, key=astuple)
    by_kind = [[operator for operator in ordered if operator.kind == kind] for kind in KINDS]
    return [
        operator
        for group in by_kind
        if group
        for operator in _choose(group, max(LEAST_OF_A_KIND, math.ceil(share * len(group))))
    ]


def _choose(operators: Sequence[Operator], count: int) -> list[Operator]:
    macs = [operator.macs for operator in operators]
    features = _features(operators)
    chosen = list(dict.fromkeys([int(np.argmin(macs)), int(np.argmax(macs))]))
    distance = np.min([_distances(features, index) for index in chosen], axis=0)

    def choose(among: Sequence[int], most: int) -> None:
        nonlocal distance
        for _ in range(most):
            chosen.append(among[int(distance[among].argmax())])
            distance = np.minimum(distance, _distances(features, chosen[-1]))

    choose(list(range(len(operators))), min(count, len(operators)) - len(chosen))
    for class_ in sorted(set().union(*map(convolution_classes, operators))):
        members = [index for index, operator in enumerate(operators) if class_ in convolution_classes(operator)]
        choose(members, min(LEAST_OF_A_CLASS, len(members)) - len({*members} & {*chosen}))
    return [operators[index] for index in sorted(chosen)]


def convolution_classes(operator: Operator) -> set[ConvolutionClass]:
    """Return the kinds and kernels of an operator's convolutions, which the models of a kind tell apart."""
    return {(convolution.kind, convolution.kernel) for convolution in operator.convolutions}


def _features(operators: Sequence[Operator]) -> NDArray[np.float64]:
    """Return the logarithms of the shapes, (N, 7), each column from 0 to 1."""
    logarithms = np.log1p([astuple(operator)[1:] for operator in operators])
    low, high = logarithms.min(axis=0), logarithms.max(axis=0)
    scaled: NDArray[np.float64] = (logarithms - low) / np.where(high > low, high - low, 1)
    return scaled


def _distances(features: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.linalg.norm(features - features[index], axis=1)
    return distances
