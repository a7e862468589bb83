"""What a kit times: every operator, chains where they can be, networks of every size."""

import random
from collections import Counter
from dataclasses import astuple, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.plan import (
    CHAIN_COPIES,
    CHAIN_MACS,
    LEAST_OF_A_KIND,
    ProfilingPlan,
    chains_of,
    convolution_classes,
    make_plan,
    spread_out_sample,
)
from litepose_ofa.latency_tables.profiling.subjects import NullModel, OperatorChain, WholeNetwork
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

TINY, RELEASED = SearchSpace.preset("tiny"), SearchSpace.preset("litepose_released")
OPERATORS = space_operators(SearchSpace.preset("litepose"), 14)


def networks(plan: ProfilingPlan) -> list[WholeNetwork]:
    return [subject for subject in plan.subjects if isinstance(subject, WholeNetwork)]


def test_every_operator_is_timed_alone_and_in_a_chain_where_its_shape_stays() -> None:
    operators = space_operators(TINY, 14) | space_operators(TINY, 17)
    plan = make_plan([TINY], num_keypoints=[14, 17])
    chains = [subject for subject in plan.subjects if isinstance(subject, OperatorChain)]
    assert Counter(plan.timed) == Counter(operators)
    assert {chain.operator for chain in chains if chain.copies > 1} == {o for o in operators if o.residual}
    assert plan.operators == len(operators)
    assert {plan.probe, NullModel()} < {*plan.subjects}
    assert len({subject.id for subject in plan.subjects}) == len(plan.subjects)


@pytest.mark.parametrize(("resolution", "copies"), [(8, 8), (52, 5), (64, 4), (256, 4)])
def test_a_chain_is_neither_tiny_nor_slow(resolution: int, copies: int) -> None:
    operator = Operator("bottleneck", resolution, 24, 144, 24, kernel=3, stride=1, expansion=6)
    chain = chains_of(operator)[-1]
    assert chain.copies == copies
    assert copies in CHAIN_COPIES or CHAIN_MACS <= copies * operator.macs < CHAIN_MACS + operator.macs
    for changed in (replace(operator, stride=2), replace(operator, out_channels=32)):
        assert chains_of(changed) == [OperatorChain(changed)], "width and size must stay"


def test_networks_are_the_extremes_and_random_ones_of_every_resolution() -> None:
    plan = make_plan([RELEASED], networks=10, num_keypoints=[17, 14])
    archs = [network.arch for network in networks(plan)]
    assert archs[:2] == [RELEASED.smallest(), RELEASED.largest()]
    assert all(RELEASED.contains(arch) for arch in archs)
    assert Counter(arch.image_size for arch in archs[2:]) == dict.fromkeys(RELEASED.image_sizes, 2)
    assert {network.num_keypoints for network in networks(plan)} == {17}
    assert make_plan([RELEASED], num_keypoints=[17, 14]) == plan
    assert make_plan([RELEASED], num_keypoints=[17, 14], seed=1) != plan


def test_several_spaces_are_timed_in_one_run_and_what_a_table_has_is_left_out() -> None:
    tiny, released = space_operators(TINY, 14), space_operators(RELEASED, 14)
    plan = make_plan([TINY, RELEASED], networks=3)
    assert set(plan.timed) == tiny | released
    assert plan.spaces == ("tiny", "litepose_released")
    rest = make_plan([TINY, RELEASED], networks=3, known=tiny)
    assert set(rest.timed) == released - tiny
    assert len(networks(plan)) == len(networks(rest)) == 10
    with pytest.raises(InputError, match="the table has every operator already"):
        make_plan([TINY], known=tiny)


def test_networks_alone_are_timed_with_the_probe() -> None:
    plan = make_plan([TINY], sample=0, networks=4)
    assert plan.timed == [plan.probe.operators[0]]
    assert len(networks(plan)) == 6


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
