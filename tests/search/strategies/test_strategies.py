"""One contract for every strategy, and what the two-loop search finds against enumeration."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.sampling import first_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import GenomeCodec, Genomes, distinct
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies import strategies
from litepose_ofa.search.strategies.evolution import EvolutionSettings, EvolutionStrategy
from litepose_ofa.search.strategies.optuna_strategies import OptunaStrategy
from litepose_ofa.search.strategies.strategies import RandomStrategy, Strategy, SurrogateEvolution
from litepose_ofa.search.strategies.surrogates import FixedSurrogate, LearnedSurrogate
from litepose_ofa.supernet.archs.space import SearchSpace

QUICK = EvolutionSettings(population=60, generations=8)

Make = Callable[[SearchProblem], Strategy]

STRATEGIES: dict[str, Make] = {
    "surrogate": lambda problem: SurrogateEvolution(problem, LearnedSurrogate(problem.cost.space), QUICK),
    "evolution": lambda problem: EvolutionStrategy(problem, EvolutionSettings(population=10)),
    "random": RandomStrategy,
    "nsga2": lambda problem: OptunaStrategy(problem, "nsga2"),
    "tpe": lambda problem: OptunaStrategy(problem, "tpe"),
}


class FormulaModel:
    """Predicts exactly: its AP is a formula of the genes with interactions, known for every genome of a small space."""

    digest = "formula"

    def __init__(self, codec: GenomeCodec) -> None:
        rng = np.random.default_rng(3)
        self._linear = rng.uniform(0, 0.03, codec.length)
        self._pairs = np.triu(rng.normal(0, 0.01, (codec.length, codec.length)))

    def predict_ap(self, genomes: Genomes) -> NDArray[np.float64]:
        genes = genomes.astype(float)
        ap: NDArray[np.float64] = 0.4 + genes @ self._linear + np.einsum("ni,ij,nj->n", genes, self._pairs, genes)
        return ap

    def predict(self, genomes: Genomes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.predict_ap(genomes), np.zeros(len(genomes))


def middle(cost: CostModel) -> SearchProblem:
    low, high = cost.fastest("board")[1], cost.slowest("board")[1]
    return SearchProblem(cost, {"board": (low + high) / 2})


@pytest.fixture(params=STRATEGIES)
def make(request: pytest.FixtureRequest) -> Make:
    return STRATEGIES[request.param]


def test_proposals_are_new_distinct_feasible_and_repeatable(make: Make, problem: SearchProblem, tiny_ap: Any) -> None:
    codec = problem.cost.codec
    first = first_genomes(codec, 10, np.random.default_rng(0))
    history = problem.evaluated(first, tiny_ap(first))
    strategy = make(problem)
    for generation in range(2):
        proposed = strategy.propose(history, 6, np.random.default_rng(generation))
        again = make(problem).propose(history, 6, np.random.default_rng(generation))
        np.testing.assert_array_equal(proposed, again)
        assert len(proposed) == len(distinct(proposed, seen=history.genomes)) == 6
        assert codec.is_valid(proposed).all()
        assert (problem.violation(proposed) == 0).all()
        history = history.extended(problem.evaluated(proposed, tiny_ap(proposed)))


def test_an_exhausted_space_gives_nothing(
    make: Make, small_space: SearchSpace, make_table: Any, every_genome: Any
) -> None:
    space = small_space.restricted(["resolution", "width"])
    cost = CostModel(space, tables={"board": make_table(space)})
    everything = every_genome(cost.codec)
    problem = SearchProblem(cost, {"board": 1e9})
    history = problem.evaluated(everything, np.linspace(0.2, 0.5, len(everything)))
    strategy = make(problem)
    assert len(strategy.propose(history, 4, np.random.default_rng(0))) == 0
    all_but_one = history.rows(np.arange(1, len(everything)))
    assert len(strategy.propose(all_but_one, 4, np.random.default_rng(0))) <= 1


def test_the_inner_evolution_finds_the_front_that_enumeration_finds(small_cost: CostModel, every_genome: Any) -> None:
    codec, problem = small_cost.codec, middle(small_cost)
    model: Any = FormulaModel(codec)

    def evaluated(genomes: Genomes) -> History:
        return problem.evaluated(genomes, model.predict_ap(genomes))

    oracle = evaluated(every_genome(codec))
    start = evaluated(first_genomes(codec, 2, np.random.default_rng(0)))
    settings = EvolutionSettings(population=60, generations=20)
    proposed = SurrogateEvolution(problem, FixedSurrogate(model), settings).propose(start, 60, np.random.default_rng(0))
    found = start.extended(evaluated(proposed))
    assert problem.hypervolume(found) > 0.99 * problem.hypervolume(oracle)
    assert found.ap[problem.front(found)].max() == pytest.approx(oracle.ap[problem.front(oracle)].max())


def test_a_batch_is_chosen_by_what_the_model_believes_of_noisy_measurements(
    problem: SearchProblem, tiny_ap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[History] = []

    def choose(problem: SearchProblem, history: History, *rest: Any) -> NDArray[np.intp]:
        seen.append(history)
        return np.arange(3)

    monkeypatch.setattr(strategies, "choose_batch", choose)
    rng = np.random.default_rng(0)
    genomes = first_genomes(problem.cost.codec, 40, rng)
    measured = problem.evaluated(genomes, tiny_ap(genomes) + rng.normal(0, 0.02, 40))
    surrogate = LearnedSurrogate(problem.cost.space)
    SurrogateEvolution(problem, surrogate, QUICK).propose(measured, 3, rng)
    np.testing.assert_array_equal(seen[0].genomes, genomes)
    np.testing.assert_array_equal(seen[0].ap, surrogate.after(measured).predict_ap(genomes))
    assert (seen[0].ap != measured.ap).all()


def test_two_loops_need_fewer_evaluations_than_random_search(small_cost: CostModel) -> None:
    codec, problem = small_cost.codec, middle(small_cost)
    model: Any = FormulaModel(codec)

    def volume_after(strategy: Strategy, evaluations: int) -> float:
        genomes = first_genomes(codec, 16, np.random.default_rng(0))
        history = problem.evaluated(genomes, model.predict_ap(genomes))
        generation = 0
        while len(history) < evaluations:
            generation += 1
            new = strategy.propose(history, 16, np.random.default_rng(generation))
            history = history.extended(problem.evaluated(new, model.predict_ap(new)))
        return problem.hypervolume(history)

    learned = SurrogateEvolution(problem, LearnedSurrogate(problem.cost.space), QUICK)
    assert volume_after(learned, 64) > volume_after(RandomStrategy(problem), 320)
