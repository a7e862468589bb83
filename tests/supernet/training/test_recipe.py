"""What a step does follows from (seed, step) alone; learning rates against their closed forms."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.archs.space import DIMENSIONS, PRESETS, Dimension, SearchSpace
from litepose_ofa.supernet.training.recipe import (
    Phase,
    Rule,
    StepPlan,
    SubnetPlan,
    SupernetPlan,
    WarmupCosine,
    WarmupSteps,
)

RATE = WarmupCosine(peak=0.004)
RULES: dict[Rule, list[str]] = {"random": ["random0", "random1"], "largest": ["largest"]}
RULES["sandwich"] = ["largest", "smallest", *RULES["random"]]
seeds = st.integers(0, 2**31 - 1)
elastic = st.lists(st.sampled_from(DIMENSIONS), unique=True).map(tuple)


def phase(**changes: Any) -> Phase:
    return Phase(**{"name": "one", "steps": 10, "learning_rate": RATE} | changes)


def plan_of(space: SearchSpace, rule: Rule, elastic: tuple[Dimension, ...], seed: int) -> SupernetPlan:
    one = phase(steps=10**6, rule=rule, num_random=2, elastic=elastic, teacher="none")
    return SupernetPlan(space, (one,), seed)


@given(
    name=st.sampled_from(sorted(PRESETS)),
    rule=st.sampled_from(sorted(RULES)),
    elastic=elastic,
    seed=seeds,
    step=st.integers(0, 10**6 - 1),
)
@settings(deadline=None)
def test_a_step_is_a_function_of_seed_and_step_inside_the_phase_s_space(
    name: str, rule: Rule, elastic: tuple[Dimension, ...], seed: int, step: int
) -> None:
    space = SearchSpace.preset(name)
    plan, again = (plan_of(space, rule, elastic, seed) for _ in range(2))
    planned, allowed = plan(step), space.restricted(elastic)
    assert again(step) == planned
    assert list(planned.subnets) == RULES[rule]
    assert planned.image_size == plan.image_size_at(step)
    for arch in planned.subnets.values():
        assert allowed.contains(arch)
        assert arch.image_size == planned.image_size
    for name, extreme in (("largest", allowed.largest()), ("smallest", allowed.smallest())):
        if name in planned.subnets:
            assert planned.subnets[name] == extreme.with_image_size(planned.image_size)


def test_steps_seeds_and_the_subnets_of_a_step_differ() -> None:
    space = SearchSpace.preset("litepose")
    plans = [plan_of(space, "random", DIMENSIONS, seed) for seed in (0, 1)]
    drawn = [arch for plan in plans for step in range(50) for arch in plan(step).subnets.values()]
    assert len(set(drawn)) == len(drawn) == 200
    sizes = [[plan.image_size_at(step) for step in range(50)] for plan in plans]
    assert sizes[0] != sizes[1]
    assert set(sizes[0]) == set(sizes[1]) == set(space.image_sizes)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
@settings(deadline=None)
def test_every_step_is_located_where_counting_puts_it(lengths: list[int]) -> None:
    phases = tuple(phase(name=str(index), steps=length) for index, length in enumerate(lengths))
    plan = SupernetPlan(SearchSpace.preset("tiny"), phases, 0)
    counted = [(one, within) for one in phases for within in range(one.steps)]
    assert plan.steps == len(counted)
    for step, (one, within) in enumerate(counted):
        found = plan(step)
        assert (found.phase, found.is_first, found.progress) == (one, within == 0, step / plan.steps)
        assert found.learning_rate == one.learning_rate(within, one.steps)


def test_another_phase_before_does_not_change_a_step() -> None:
    """What a resumed or lengthened training draws depends on the step alone, not on how it was cut into phases."""
    space = SearchSpace.preset("tiny")
    whole = SupernetPlan(space, (phase(steps=8),), 3)
    cut = SupernetPlan(space, (phase(steps=5), phase(steps=3)), 3)
    assert [whole(step).subnets for step in range(8)] == [cut(step).subnets for step in range(8)]


def test_one_network_is_trained_alone_at_its_own_resolution() -> None:
    arch = SearchSpace.preset("tiny").smallest().with_image_size(64)
    one = phase(steps=4, rule="largest", teacher="external")
    plan = SubnetPlan(arch, one)
    assert plan.steps == 4
    assert [plan.image_size_at(step) for step in range(4)] == [64] * 4
    for step in range(4):
        assert plan(step) == StepPlan(one, step == 0, 64, {"subnet": arch}, RATE(step, 4), step / 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"teacher": "none", "num_random": 0}, "num_random is 0; it must be at least 1"), ({}, "teacher is 'largest'")],
)
def test_an_impossible_phase_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        phase(rule="random", **changes)


def test_cosine_in_closed_form() -> None:
    rate = WarmupCosine(peak=0.8, warmup=1 / 6)
    assert [rate(step, 120) for step in (0, 9, 19)] == pytest.approx([0.04, 0.4, 0.8])
    assert [rate(step, 120) for step in (20, 70, 120)] == pytest.approx([0.8, 0.4, 0.0])
    assert rate(45, 120) == pytest.approx(0.4 * (1 + math.sqrt(0.5)))


@given(length=st.integers(1, 500), warmup=st.floats(0, 1))
def test_cosine_rises_then_falls_and_is_never_zero_in_training(length: int, warmup: float) -> None:
    rate = WarmupCosine(peak=0.01, warmup=warmup)
    rates = [rate(step, length) for step in range(length)]
    top = rates.index(max(rates))
    assert all(0 < value < 0.01 * (1 + 1e-12) for value in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_steps_in_closed_form() -> None:
    rate = WarmupSteps(peak=0.4, warmup=0.004, milestones=(0.7, 0.96), factor=0.1)
    expected = {0: 0.1, 1: 0.2, 3: 0.4, 4: 0.4, 699: 0.4, 700: 0.04, 959: 0.04, 960: 0.004, 999: 0.004}
    assert {step: rate(step, 1000) for step in expected} == pytest.approx(expected)
    assert WarmupSteps(peak=0.4)(0, 10) == 0.4
