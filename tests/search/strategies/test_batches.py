"""Batches: what promises most comes first, spread along the front, and nothing that breaks a constraint."""

import numpy as np
import pytest

from litepose_ofa.search.pareto import hypervolume
from litepose_ofa.search.problem.problem import History, SearchProblem, View
from litepose_ofa.search.strategies import batches
from litepose_ofa.search.strategies.batches import BatchSettings, choose_batch

PLAIN = BatchSettings(best_fraction=0, unsure_fraction=0)


@pytest.fixture
def history(problem: SearchProblem) -> History:
    smallest = problem.cost.codec.encode_many([problem.cost.space.smallest()])
    return problem.evaluated(smallest, np.array([0.1]))


@pytest.fixture
def pool(problem: SearchProblem) -> np.ndarray:
    return np.unique(problem.cost.codec.sample(150, np.random.default_rng(0)), axis=0)


def prediction(problem: SearchProblem, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 0.2 + problem.cost.evaluate(pool)["macs"] / 1e8, np.full(len(pool), 0.01)


def test_the_first_raises_the_hypervolume_most(problem: SearchProblem, history: History, pool: np.ndarray) -> None:
    mean, std = prediction(problem, pool)
    latency_ms = problem.latency_ms(pool)
    known = np.array([[-0.1, problem.latency_ms(history.genomes)[0]]])
    reference = (0.0, problem.budgets_ms["board"] + 0.05 * (problem.budgets_ms["board"] - known[0, 1]))
    gains = [
        hypervolume(np.vstack([known, [-ap, ms]]), reference) if ms <= problem.budgets_ms["board"] else 0
        for ap, ms in zip(mean, latency_ms, strict=True)
    ]
    assert choose_batch(problem, history, pool, (mean, std), 1, PLAIN).tolist() == [int(np.argmax(gains))]


def test_a_batch_is_distinct_feasible_and_spread(problem: SearchProblem, history: History, pool: np.ndarray) -> None:
    batch = choose_batch(problem, history, pool, prediction(problem, pool), 12, BatchSettings())
    assert len(set(batch.tolist())) == 12
    latency_ms = problem.latency_ms(pool[batch])
    assert (latency_ms <= problem.budgets_ms["board"]).all()
    feasible = problem.latency_ms(pool)
    feasible = feasible[feasible <= problem.budgets_ms["board"]]
    assert np.ptp(latency_ms) > 0.6 * np.ptp(feasible)


def test_the_best_share_goes_for_the_greatest_ap(problem: SearchProblem, history: History, pool: np.ndarray) -> None:
    mean, std = prediction(problem, pool)
    batch = choose_batch(problem, history, pool, (mean, std), 3, BatchSettings(best_fraction=1, unsure_fraction=0))
    within = np.flatnonzero(problem.violation(pool) == 0)
    assert batch.tolist() == within[np.argsort(-mean[within], kind="stable")[:3]].tolist()


def test_the_unsure_share_goes_where_the_deviation_is_large(
    problem: SearchProblem, history: History, pool: np.ndarray
) -> None:
    mean, std = prediction(problem, pool)
    within = np.flatnonzero(problem.violation(pool) == 0)
    slow = within[np.argsort(-problem.latency_ms(pool[within]))[:20]]
    unknown = int(slow[np.argmin(mean[slow])])
    std[unknown] = 0.5
    sure = choose_batch(problem, history, pool, (mean, std), 4, PLAIN)
    unsure = choose_batch(problem, history, pool, (mean, std), 4, BatchSettings(best_fraction=0, unsure_fraction=0.5))
    assert unknown not in sure
    assert unknown in unsure


def test_a_pool_without_a_feasible_genome_gives_nothing(problem: SearchProblem, history: History) -> None:
    largest = problem.cost.codec.encode_many([problem.cost.space.largest()])
    assert choose_batch(problem, history, largest, (np.ones(1), np.zeros(1)), 3, PLAIN).tolist() == []
    assert choose_batch(problem, history, largest[:0], (np.ones(0), np.zeros(0)), 3, PLAIN).tolist() == []


def test_what_cannot_gain_is_taken_last(problem: SearchProblem, history: History, pool: np.ndarray) -> None:
    mean, std = prediction(problem, pool)
    within = np.flatnonzero(problem.violation(pool) == 0)
    batch = choose_batch(problem, history, pool, (mean, std), len(pool), BatchSettings())
    assert sorted(batch.tolist()) == within.tolist()


Part = tuple[int, bool, bool]
"""Number of a front, and whether a candidate is for its best AP or judged by its upper bound."""


class ManyFronts(SearchProblem):
    """The front within each of twelve budgets."""

    def views(self, history: History) -> list[View]:
        (whole,) = super().views(history)
        budgets = self.budgets_ms["board"] * np.linspace(0.9, 1, 12)
        return [
            View(whole.points, np.maximum(whole.points[:, 1] / budget - 1, 0), (0, float(budget))) for budget in budgets
        ]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """Every part that was played, in order."""
    played: list[Part] = []

    class Watched(batches._GrowingFront):
        made = 0

        def __init__(self, *views: View) -> None:
            super().__init__(*views)
            self.number = Watched.made
            Watched.made += 1

        def most_promising(self, taken: np.ndarray, *, best: bool, unsure: bool) -> int | None:
            played.append((self.number, best, unsure))
            return super().most_promising(taken, best=best, unsure=unsure)

    monkeypatch.setattr(batches, "_GrowingFront", Watched)
    return played


@pytest.mark.parametrize("first", [1, 5])
def test_each_of_many_fronts_plays_every_part_in_four_batches(
    problem: SearchProblem, history: History, pool: np.ndarray, parts: list[Part], first: int
) -> None:
    many = ManyFronts(problem.cost, problem.budgets_ms)
    history = history.rows(np.zeros(first, np.intp))
    for _ in range(4):
        chosen = choose_batch(many, history, pool, prediction(problem, pool), 12, BatchSettings())
        history = history.extended(many.evaluated(pool[chosen], np.full(12, 0.2)))
        pool = np.delete(pool, chosen, axis=0)
    by_front = [[part for part in parts if part[0] % 12 == number] for number in range(12)]
    assert all((len(turns), sum(t[1] for t in turns), sum(t[2] for t in turns)) == (4, 3, 1) for turns in by_front)


def test_a_single_front_plays_its_parts_alike_in_every_batch(
    problem: SearchProblem, history: History, pool: np.ndarray, parts: list[Part]
) -> None:
    for first in (1, 6):
        parts.clear()
        choose_batch(
            problem,
            history.rows(np.zeros(first, np.intp)),
            pool,
            prediction(problem, pool),
            8,
            BatchSettings(),
        )
        assert [turn for turn, part in enumerate(parts) if part[1]] == [0, 4]
        assert [turn for turn, part in enumerate(parts) if part[2]] == [3, 7]
