"""The course of a search: when it ends."""

import pytest

from litepose_ofa.search.study.generations import StopRule


def reason(
    rule: StopRule, generations: int = 1, *, evaluated: int = 10, stable: int = 0, seconds: float = 0
) -> str | None:
    return rule.reason(generations=generations, evaluated=evaluated, stable=stable, seconds=seconds)


def test_generations_count_after_the_first() -> None:
    rule = StopRule(generations=2)
    assert [reason(rule, n) for n in (1, 2, 3)] == [None, None, "generations"]


def test_evaluations_cut_the_last_generation() -> None:
    rule = StopRule(generations=None, evaluations=50)
    assert [rule.cut(20, done) for done in (0, 20, 40)] == [20, 20, 10]
    assert [reason(rule, evaluated=n) for n in (49, 50)] == [None, "evaluations"]
    assert StopRule().cut(20, 10**9) == 20


def test_a_search_ends_when_nothing_better_was_found_for_some_generations() -> None:
    rule = StopRule(generations=None, stable_generations=2)
    assert [reason(rule, stable=n) for n in (0, 1, 2)] == [None, None, "stable"]


def test_seconds_end_a_start_but_do_not_count_in_the_identity() -> None:
    rule = StopRule(seconds=60)
    assert [reason(rule, seconds=s) for s in (59, 60)] == [None, "seconds"]
    assert rule.identity == StopRule().identity
    assert rule.identity != StopRule(evaluations=7).identity


def test_a_search_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="generations, evaluations, stable_generations and seconds are all null"):
        StopRule(generations=None)
