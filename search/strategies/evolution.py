"""Evolution of genomes: constrained selection, and the strategy that breeds from true evaluations alone.

Source: Deb et al., NSGA-II (2002), with its constrained domination.
Legend: n genomes, G genes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from litepose_ofa.search.genome import Genomes, distinct, vary
from litepose_ofa.search.pareto import Points, crowding_distances, non_dominated_ranks
from litepose_ofa.search.problem.history import History
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.supernet.validation import Fraction, settings


@settings
class EvolutionSettings:
    """Settings of an evolution.

    Attributes:
        population: Genomes that survive a generation.
        generations: Generations a proposal, of an evolution inside a strategy.
        crossover: Probability that an offspring has two parents.
        mutations: Expected number of mutated genes of an offspring.
        random_fraction: Share of the first population that is drawn from the whole space.
    """

    population: Annotated[int, Field(ge=2, le=1_000_000)] = 200
    generations: Annotated[int, Field(ge=0, le=1_000_000)] = 60
    crossover: Fraction = 0.9
    mutations: Annotated[float, Field(ge=0, le=1_000)] = 2.0
    random_fraction: Fraction = 0.5


class EvolutionStrategy:
    """Breed from the best that was evaluated; no accuracy is predicted.

    Args:
        problem: What is searched.
        evolution: Sizes and rates; a generation of the study is a generation of the evolution.
    """

    TRIES = 20
    """Generations of offspring bred for one proposal, as offspring that were evaluated before do not count."""

    def __init__(self, problem: SearchProblem, evolution: EvolutionSettings | None = None) -> None:
        self._problem = problem
        self._settings = evolution or EvolutionSettings()

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n offspring of the best evaluations that are new to the history and keep the constraints."""
        codec, settings = self._problem.cost.codec, self._settings
        parents = history.genomes[survivors(self._problem, history, settings.population)]
        found = history.genomes[:0]
        for _ in range(self.TRIES):
            offspring = np.concatenate(
                [
                    vary(codec, parents, rng, crossover=settings.crossover, mutations=settings.mutations)
                    for _ in range(-(-n // len(parents)))
                ]
            )
            new = distinct(offspring, seen=history.genomes)
            new = new[self._problem.violation(new) == 0] if len(new) else new
            found = distinct(np.concatenate([found, new]))
            if len(found) >= n:
                break
        return found[:n]

    def describe(self) -> Mapping[str, Any]:
        """Return the settings that count here."""
        settings = asdict(self._settings)
        return {"strategy": "evolution", **{key: settings[key] for key in ("population", "crossover", "mutations")}}


def survivors(problem: SearchProblem, history: History, size: int) -> NDArray[np.intp]:
    """Return the indices of the best evaluations, ``size`` at most, the best first.

    Where the search is after several fronts, these choose in turn.
    """
    orders = [selection_order(view.points, view.excess) for view in problem.views(history)]
    return _in_turn(orders)[:size]


def selection_order(points: Points, excess: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices from the best genome to the worst, shape (n,).

    Feasible ones come by front, on a front by crowding distance; then the others, the least excess first.

    Args:
        points: Objectives, minimised, shape (n, M).
        excess: 0 where feasible, shape (n,).
    """
    ranks = np.full(len(points), len(points))
    crowding = np.zeros(len(points))
    feasible = excess == 0
    ranks[feasible] = non_dominated_ranks(points[feasible])
    crowding[feasible] = crowding_distances(points[feasible], ranks[feasible])
    return np.lexsort((points[:, 0], -crowding, ranks, excess))


def _in_turn(orders: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    """Return the members of several orders of the same indices, one of each in turn, each once."""
    if len(orders) == 1:
        return orders[0]
    dealt = np.stack(orders, axis=1).ravel()
    _, first = np.unique(dealt, return_index=True)
    return dealt[np.sort(first)]
