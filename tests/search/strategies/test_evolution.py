"""Selection, and the evolution on true evaluations."""

import numpy as np

from litepose_ofa.search.accuracy.sampling import first_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.evolution import EvolutionSettings, EvolutionStrategy, selection_order, survivors


def excess_over(latency_ms: np.ndarray, budget_ms: float) -> np.ndarray:
    return np.maximum(latency_ms - budget_ms, 0)


def test_selection_prefers_feasible_then_fronts_then_room_then_small_excess() -> None:
    ap = np.array([0.5, 0.6, 0.4, 0.55, 0.9, 0.9])
    latency_ms = np.array([5.0, 8.0, 9.0, 6.0, 20.0, 11.0])
    order = selection_order(np.stack([-ap, latency_ms], axis=1), excess_over(latency_ms, 10.0))
    assert order.tolist() == [1, 0, 3, 2, 5, 4]


def test_selection_in_more_objectives_puts_the_whole_front_first() -> None:
    points = np.array([[1, 9, 9], [9, 1, 9], [9, 9, 1], [9, 9, 9], [2, 9, 9]], float)
    assert set(selection_order(points, np.zeros(5))[:3].tolist()) == {0, 1, 2}


def test_fronts_of_several_devices_choose_in_turn(tiny_cost: CostModel) -> None:
    cost = CostModel(tiny_cost.space, tables={"a": tiny_cost.tables["board"], "b": tiny_cost.tables["board"]})
    low, high = cost.fastest("a")[1], cost.slowest("a")[1]
    problem = SearchProblem(cost, {"a": low + 0.2 * (high - low), "b": high})
    genomes = cost.codec.sample(200, np.random.default_rng(0))
    history = problem.evaluated(genomes, cost.evaluate(genomes)["macs"] / 1e9)
    best = survivors(problem, history, 20)
    assert len(best) == len(set(best.tolist())) == 20
    fast = history.latency_ms[best, 0] <= problem.budgets_ms["a"]
    assert 5 < fast.sum() < 20


def test_it_climbs(problem: SearchProblem) -> None:
    def ap(genomes: np.ndarray) -> np.ndarray:
        return problem.cost.evaluate(genomes)["params"] / 3e5

    genomes = first_genomes(problem.cost.codec, 20, np.random.default_rng(0))
    history = problem.evaluated(genomes, ap(genomes))
    strategy, volumes = EvolutionStrategy(problem, EvolutionSettings(population=20)), [problem.hypervolume(history)]
    for generation in range(8):
        offspring = strategy.propose(history, 20, np.random.default_rng(generation))
        history = history.extended(problem.evaluated(offspring, ap(offspring)))
        volumes.append(problem.hypervolume(history))
    assert volumes == sorted(volumes)
    assert volumes[-1] > 1.1 * volumes[0]
