"""A spread-out sample: every kind, the corners, no clusters."""

import random
from collections import Counter
from dataclasses import astuple

import numpy as np
import pytest
from numpy.typing import NDArray

from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.sampling import LEAST_OF_A_KIND, convolution_classes, spread_out_sample
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.archs.space import SearchSpace

OPERATORS = space_operators(SearchSpace.preset("litepose"), 14)


def shapes(operators: list[Operator]) -> NDArray[np.float64]:
    return np.array([astuple(operator)[1:] for operator in operators], dtype=np.float64)


@pytest.mark.parametrize("share", [0.001, 0.1, 1.0])
def test_a_share_of_every_kind_is_chosen_once(share: float) -> None:
    chosen = spread_out_sample(OPERATORS, share)
    assert set(chosen) <= OPERATORS
    assert len(set(chosen)) == len(chosen)
    for kind, count in Counter(operator.kind for operator in OPERATORS).items():
        expected = min(count, max(LEAST_OF_A_KIND, int(np.ceil(share * count))))
        of_classes = 2 if (kind, share) == ("bottleneck", 0.001) else 0  # the corners have kernel 5 not once
        assert Counter(operator.kind for operator in chosen)[kind] == expected + of_classes


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05])
def test_every_class_of_convolution_is_chosen_twice_where_it_can_be(share: float) -> None:
    chosen = Counter(
        (operator.kind, class_)
        for operator in spread_out_sample(OPERATORS, share)
        for class_ in convolution_classes(operator)
    )
    there = Counter((operator.kind, class_) for operator in OPERATORS for class_ in convolution_classes(operator))
    assert chosen.keys() == there.keys()
    assert all(count >= min(2, there[key]) for key, count in chosen.items())


def test_a_share_of_nothing_is_nothing() -> None:
    assert spread_out_sample(OPERATORS, 0) == []


def test_the_choice_does_not_depend_on_the_order() -> None:
    shuffled = sorted(OPERATORS, key=astuple)
    random.Random(0).shuffle(shuffled)
    assert spread_out_sample(shuffled, 0.05) == spread_out_sample(OPERATORS, 0.05)


def test_the_range_of_every_shape_is_reached_and_no_operator_is_far_from_a_chosen_one() -> None:
    everything = sorted((o for o in OPERATORS if o.kind == "bottleneck"), key=astuple)
    chosen = [o for o in spread_out_sample(OPERATORS, 0.1) if o.kind == "bottleneck"]
    np.testing.assert_array_equal(shapes(chosen).min(axis=0), shapes(everything).min(axis=0))
    np.testing.assert_array_equal(shapes(chosen).max(axis=0), shapes(everything).max(axis=0))
    at_random = random.Random(0).sample(everything, len(chosen))
    assert farthest(everything, chosen) < 0.7 * farthest(everything, at_random)


def farthest(operators: list[Operator], chosen: list[Operator]) -> float:
    """Return how far, at most, an operator is from the nearest chosen one, in logarithms scaled to one."""
    low, span = np.log1p(shapes(operators)).min(axis=0), np.ptp(np.log1p(shapes(operators)), axis=0)
    scale = np.where(span > 0, span, 1)
    points, centres = ((np.log1p(shapes(group)) - low) / scale for group in (operators, chosen))
    return float(np.max([np.linalg.norm(centres - point, axis=1).min() for point in points]))
