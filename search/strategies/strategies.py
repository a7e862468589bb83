"""Strategies: what a search evaluates next, given what it has evaluated.

Legend: n genomes, G genes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from litepose_ofa.search.accuracy.evaluators import ApModel
from litepose_ofa.search.genome import Genomes, distinct
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.batches import BatchSettings, choose_batch
from litepose_ofa.search.strategies.evolution import EvolutionSettings, feasible, survivors
from litepose_ofa.search.strategies.surrogates import Surrogate

DRAWS = 100
"""Batches of random genomes at most, four times what is wanted each, in which feasible new ones are looked for."""


class Strategy(Protocol):
    """Proposes what to evaluate next."""

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n canonical genomes that are new to the history and distinct; none if there are no more.

        The same history, of at least one evaluation, and the same state of ``rng`` give the same proposal.
        """

    def describe(self) -> Mapping[str, Any]:
        """Return what proposals depend on beside history and randomness, as plain JSON values."""


@dataclass(frozen=True)
class RandomStrategy:
    """Draw genomes uniformly from those that keep the constraints: what any other strategy has to beat."""

    problem: SearchProblem

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n genomes that were drawn, fewer where those that keep the constraints are very rare."""
        return draw_feasible(self.problem, n, rng, seen=history.genomes)

    def describe(self) -> Mapping[str, Any]:
        """Return the name."""
        return {"strategy": "random"}


@dataclass(frozen=True)
class SurrogateEvolution:
    """The two-loop search: an evolution on the surrogate's AP and the cost model proposes what is truly evaluated.

    Source: of the two loops, Sridhar et al., LINAS (arXiv:2112.10878).
    """

    problem: SearchProblem
    surrogate: Surrogate
    evolution: EvolutionSettings = field(default_factory=EvolutionSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n genomes of the evolution's last population that the history lacks; drawn ones if too few."""
        model = self.surrogate.after(history)
        population = self.evolve(model, history, rng)
        pool = feasible(self.problem, distinct(population.genomes, seen=history.genomes))
        if len(pool) < n:  # in a small space, or one that the search has come to the end of
            seen = np.concatenate([history.genomes, pool])
            pool = np.concatenate([pool, draw_feasible(self.problem, n - len(pool), rng, seen=seen)])
        believed = self.problem.evaluated(history.genomes, model.predict_ap(history.genomes))
        return pool[choose_batch(self.problem, believed, pool, model.predict(pool), n, self.batch)]

    def evolve(self, model: ApModel, history: History, rng: np.random.Generator) -> History:
        """Return the last population, the best first; its AP is the model's."""
        codec, size = self.problem.cost.codec, self.evolution.population
        known = history.genomes[survivors(self.problem, history, size)]
        known = known[: size - round(size * self.evolution.random_fraction)]
        first = distinct(np.concatenate([known, codec.sample(size - len(known), rng)]))
        best = self._best(self._scored(model, first))
        for _ in range(self.evolution.generations):
            offspring = distinct(self.evolution.offspring(codec, best.genomes, rng), seen=best.genomes)
            best = self._best(best.extended(self._scored(model, offspring)))
        return best

    def describe(self) -> Mapping[str, Any]:
        """Return what the surrogate depends on, and the settings."""
        settings = {**asdict(self.evolution), "batch": asdict(self.batch)}
        return {"strategy": "surrogate_evolution", **self.surrogate.describe(), **settings}

    def _scored(self, model: ApModel, genomes: Genomes) -> History:
        return self.problem.evaluated(genomes, model.predict_ap(genomes))

    def _best(self, scored: History) -> History:
        return scored.rows(survivors(self.problem, scored, self.evolution.population))


def draw_feasible(problem: SearchProblem, n: int, rng: np.random.Generator, *, seen: Genomes) -> Genomes:
    """Draw up to n distinct genomes, uniformly from those that keep the constraints and are not in ``seen``."""
    found = seen[:0]
    for _ in range(DRAWS):
        drawn = distinct(problem.cost.codec.sample(4 * n, rng), seen=seen)
        found = distinct(np.concatenate([found, feasible(problem, drawn)]))
        if len(found) >= n:
            break
    return found[:n]
