"""Strategies: what a search evaluates next, given what it has evaluated.

Legend: n genomes, G genes.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from litepose_ofa.search.accuracy.evaluators import ApModel
from litepose_ofa.search.genome import Genomes, distinct, vary
from litepose_ofa.search.problem.history import History
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.batches import BatchSettings, choose_batch
from litepose_ofa.search.strategies.evolution import EvolutionSettings, survivors
from litepose_ofa.search.strategies.surrogates import Surrogate

DRAWS = 100
"""Batches of random genomes at most, four times what is wanted each, in which feasible new ones are looked for."""


class Strategy(Protocol):
    """Proposes what to evaluate next."""

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n canonical genomes that are new to the history and distinct; none if there are no more.

        The same history and the same state of ``rng`` give the same proposal.

        Args:
            history: The evaluations so far, at least one.
            n: Greatest number of genomes.
            rng: Source of randomness.
        """

    def describe(self) -> Mapping[str, Any]:
        """Return what proposals depend on beside history and randomness, as plain JSON values."""


class RandomStrategy:
    """Draw genomes uniformly from those that keep the constraints: what any other strategy has to beat.

    Args:
        problem: What is searched.
    """

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n genomes that were drawn, fewer where those that keep the constraints are very rare."""
        return draw_feasible(self._problem, n, rng, seen=history.genomes)

    def describe(self) -> Mapping[str, Any]:
        """Return the name."""
        return {"strategy": "random"}


class SurrogateEvolution:
    """The two-loop search: an evolution on the surrogate's AP and the cost model proposes what is truly evaluated.

    Nothing is evaluated inside. Of the last population, a batch takes one genome after another that raises the
    hypervolume most, each taken for evaluated by those after it, so that a batch spreads along the front.

    Source: of the two loops, Sridhar et al., LINAS (arXiv:2112.10878).

    Args:
        problem: What is searched.
        surrogate: Predicts AP, and follows what is measured.
        settings: Sizes and rates of the evolution.
        batch: How a batch is chosen from the last population.
    """

    def __init__(
        self,
        problem: SearchProblem,
        surrogate: Surrogate,
        settings: EvolutionSettings | None = None,
        batch: BatchSettings | None = None,
    ) -> None:
        self._problem = problem
        self._surrogate = surrogate
        self._settings = settings or EvolutionSettings()
        self._batch = batch or BatchSettings()

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n genomes of the evolution's last population that the history lacks; drawn ones if too few."""
        model = self._surrogate.after(history)
        population = self.evolve(model, history, rng)
        pool = distinct(population.genomes, seen=history.genomes)
        pool = pool[self._problem.violation(pool) == 0] if len(pool) else pool
        if len(pool) < n:  # in a small space, or one that the search has come to the end of
            seen = np.concatenate([history.genomes, pool])
            pool = np.concatenate([pool, draw_feasible(self._problem, n - len(pool), rng, seen=seen)])
        return pool[choose_batch(self._problem, history, pool, model.predict(pool), n, self._batch)]

    def evolve(self, model: ApModel, history: History, rng: np.random.Generator) -> History:
        """Return the last population, the best first; its AP is the model's."""
        codec, settings = self._problem.cost.codec, self._settings
        known = history.genomes[survivors(self._problem, history, settings.population)]
        known = known[: settings.population - round(settings.population * settings.random_fraction)]
        first = distinct(np.concatenate([known, codec.sample(settings.population - len(known), rng)]))
        best = self._select(self._scored(model, first))
        for _ in range(settings.generations):
            offspring = vary(codec, best.genomes, rng, crossover=settings.crossover, mutations=settings.mutations)
            best = self._select(best.extended(self._scored(model, distinct(offspring, seen=best.genomes))))
        return best

    def describe(self) -> Mapping[str, Any]:
        """Return what the surrogate depends on, and the settings."""
        settings = {**asdict(self._settings), "batch": asdict(self._batch)}
        return {"strategy": "surrogate_evolution", **self._surrogate.describe(), **settings}

    def _scored(self, model: ApModel, genomes: Genomes) -> History:
        return self._problem.evaluated(genomes, model.predict_ap(genomes))

    def _select(self, scored: History) -> History:
        return scored.rows(survivors(self._problem, scored, self._settings.population))


def draw_feasible(problem: SearchProblem, n: int, rng: np.random.Generator, *, seen: Genomes) -> Genomes:
    """Draw up to n distinct genomes, uniformly from those that keep the constraints and are not in ``seen``."""
    found = seen[:0]
    for _ in range(DRAWS):
        drawn = distinct(problem.cost.codec.sample(4 * n, rng), seen=seen)
        feasible = drawn[problem.violation(drawn) == 0] if len(drawn) else drawn
        found = distinct(np.concatenate([found, feasible]))
        if len(found) >= n:
            break
    return found[:n]
