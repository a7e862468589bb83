"""Evolution of genomes: constrained selection, and the strategy that breeds from true evaluations alone.

Source: Deb et al., NSGA-II (2002), with its constrained domination.
Legend: n genomes, G genes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from litepose_ofa.search.genome import GenomeCodec, Genomes, distinct, vary
from litepose_ofa.search.pareto import Points, crowding_distances, non_dominated_ranks
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.supernet.validation import Fraction, settings

MOST_BREEDINGS = 20
"""Times that a proposal breeds from the same parents, as offspring that were evaluated before do not count."""


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

    population: Annotated[int, Field(ge=2, le=1_000_000)] = 400
    generations: Annotated[int, Field(ge=0, le=1_000_000)] = 60
    crossover: Fraction = 0.9
    mutations: Annotated[float, Field(ge=0, le=1_000)] = 2.0
    random_fraction: Fraction = 0.5

    def offspring(self, codec: GenomeCodec, ranked: Genomes, rng: np.random.Generator) -> Genomes:
        """Return as many offspring as there are parents, shape (n, G), which come from the best to the worst."""
        return vary(codec, ranked, rng, crossover=self.crossover, mutations=self.mutations)


@dataclass(frozen=True)
class EvolutionStrategy:
    """Breed from the best that was evaluated; a generation of the study is one of the evolution."""

    problem: SearchProblem
    evolution: EvolutionSettings = field(default_factory=EvolutionSettings)

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n offspring of the best evaluations that are new to the history and keep the constraints."""
        parents = history.genomes[survivors(self.problem, history, self.evolution.population)]
        found = history.genomes[:0]
        for _ in range(MOST_BREEDINGS):
            bred = [
                self.evolution.offspring(self.problem.cost.codec, parents, rng) for _ in range(-(-n // len(parents)))
            ]
            new = feasible(self.problem, distinct(np.concatenate(bred), seen=history.genomes))
            found = distinct(np.concatenate([found, new]))
            if len(found) >= n:
                break
        return found[:n]

    def describe(self) -> Mapping[str, Any]:
        """Return the settings that count here."""
        settings = asdict(self.evolution)
        return {"strategy": "evolution", **{key: settings[key] for key in ("population", "crossover", "mutations")}}


def feasible(problem: SearchProblem, genomes: Genomes) -> Genomes:
    """Return those of the genomes, shape (n, G), that keep the constraints."""
    return genomes[problem.violation(genomes) == 0] if len(genomes) else genomes


def survivors(problem: SearchProblem, history: History, size: int) -> NDArray[np.intp]:
    """Return the indices of the best evaluations, ``size`` at most, the best first.

    Where the search is after several fronts, these choose in turn.
    """
    orders = [selection_order(view.points, view.excess) for view in problem.views(history)]
    return _in_turn(orders)[:size]


def selection_order(points: Points, excess: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices of points (n, M), all minimised, from the best to the worst, shape (n,).

    Feasible ones, of excess 0, come by front, on a front by crowding distance; then the others, the least excess first.
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
