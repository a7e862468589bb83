"""The course of a search: when it ends."""

import pytest

from litepose_ofa.search.study.generations import StopRule


def reason(rule: StopRule, volumes: list[float], evaluated: int = 10, seconds: float = 0) -> str | None:
    return rule.reason(volumes, evaluated=evaluated, seconds=seconds)


def test_generations_count_after_the_first() -> None:
    rule = StopRule(generations=2)
    assert [reason(rule, [0.1] * n) for n in (1, 2, 3)] == [None, None, "generations"]


def test_evaluations_cut_the_last_generation() -> None:
    rule = StopRule(generations=None, evaluations=50)
    assert [rule.cut(20, done) for done in (0, 20, 40)] == [20, 20, 10]
    assert [reason(rule, [0.1], evaluated=n) for n in (49, 50)] == [None, "evaluations"]
    assert StopRule().cut(20, 10**9) == 20


def test_a_plateau_is_a_gain_too_small_over_some_generations() -> None:
    rule = StopRule(generations=None, plateau_gain=0.01, plateau_generations=2)
    assert reason(rule, [0.5, 0.5]) is None
    assert reason(rule, [0.5, 0.502, 0.504]) == "plateau"
    assert reason(rule, [0.5, 0.502, 0.506]) is None
    assert reason(rule, [0.1, 0.5, 0.502, 0.504]) == "plateau"
    assert reason(rule, [0.0, 0.0, 0.0]) is None, "nothing is feasible yet"


def test_seconds_end_a_start_but_do_not_count_in_the_identity() -> None:
    rule = StopRule(seconds=60)
    assert [reason(rule, [0.1], seconds=s) for s in (59, 60)] == [None, "seconds"]
    assert rule.identity == StopRule().identity
    assert rule.identity != StopRule(evaluations=7).identity


def test_a_search_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="generations, evaluations, plateau_gain and seconds are all null"):
        StopRule(generations=None)
