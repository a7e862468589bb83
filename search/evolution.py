"""Evolution of genomes in batches: variation that knows the network's parts, constrained selection, no duplicates.

Source: Deb et al., NSGA-II (2002), with its constrained domination.
Legend: n genomes, G genes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search.genome import GenomeCodec, Genomes, distinct
from search.pareto import crowding_distances, non_dominated_ranks
from search.predictor import AccuracyPredictor
from search.problem import History, SearchProblem
from supernet.errors import require


class Strategy(Protocol):
    """Proposes what to evaluate next."""

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n canonical genomes that are new to the history and distinct; none if there are no more.

        The same history and the same state of ``rng`` give the same proposal.
        """

    def describe(self) -> Mapping[str, Any]:
        """Return what proposals depend on beside history and randomness, as plain JSON values."""


@dataclass(frozen=True, slots=True)
class EvolutionSettings:
    """Settings of the inner evolution.

    Attributes:
        population: Genomes that survive a generation.
        generations: Generations a proposal.
        crossover: Probability that a child has two parents.
        mutations: Expected number of mutated genes a child.
        random_fraction: Share of the first population that is drawn from the whole space.

    Raises:
        InputError: If a value is out of its range.
    """

    population: int = 200
    generations: int = 60
    crossover: float = 0.9
    mutations: float = 2.0
    random_fraction: float = 0.5

    def __post_init__(self) -> None:
        require(self.population >= 2, "population", self.population, "at least 2")
        require(self.generations >= 0, "generations", self.generations, "at least 0")
        require(self.mutations >= 0, "mutations", self.mutations, "at least 0")
        require(0 <= self.crossover <= 1, "crossover", self.crossover, "from 0 to 1")
        require(0 <= self.random_fraction <= 1, "random_fraction", self.random_fraction, "from 0 to 1")


class SurrogateEvolution:
    """Propose what an evolution on the predicted AP and the cost model finds: no accuracy is measured inside.

    Args:
        problem: What is searched.
        predictor: Predicts AP.
        settings: Sizes and rates of the evolution.
    """

    def __init__(
        self, problem: SearchProblem, predictor: AccuracyPredictor, settings: EvolutionSettings | None = None
    ) -> None:
        self._problem = problem
        self._predictor = predictor
        self._settings = settings or EvolutionSettings()
        self._codec = problem.cost.codec

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return the best n genomes of the evolution's last population that the history lacks."""
        best = self._select(self._score(self._first_population(history, rng)))
        for _ in range(self._settings.generations):
            children = vary(self._codec, best.genomes, self._settings, rng)
            best = self._select(best, self._score(distinct(children, seen=best.genomes)))
        return distinct(best.genomes, seen=history.genomes)[:n]

    def describe(self) -> Mapping[str, Any]:
        """Return the predictor's digest and the settings."""
        return {"strategy": "surrogate_evolution", "predictor": self._predictor.digest, **asdict(self._settings)}

    def _first_population(self, history: History, rng: np.random.Generator) -> Genomes:
        size = self._settings.population
        known = self._select(history).genomes[: size - round(size * self._settings.random_fraction)]
        return distinct(np.concatenate([known, self._codec.sample(size - len(known), rng)]))

    def _score(self, genomes: Genomes) -> History:
        ap = self._predictor.predict_ap(genomes)
        return History(genomes, ap, np.zeros(len(ap)), self._problem.latency_ms(genomes))

    def _select(self, *scored: History) -> History:
        """Return the survivors, the best first."""
        merged = scored[0] if len(scored) == 1 else scored[0].extended(scored[1])
        order = selection_order(merged.ap, merged.latency_ms, self._problem.budget_ms)[: self._settings.population]
        return merged.rows(order)


def selection_order(ap: NDArray[np.float64], latency_ms: NDArray[np.float64], budget_ms: float) -> NDArray[np.intp]:
    """Return the indices from the best genome to the worst, shape (n,).

    Within the budget: by front of (AP, latency), then by room on the front. Then those over it, the nearest first.
    """
    excess = np.maximum(latency_ms - budget_ms, 0)
    ranks = np.full(len(ap), len(ap))
    room = np.zeros(len(ap))
    feasible = excess == 0
    points = np.stack([-ap[feasible], latency_ms[feasible]], axis=1)
    ranks[feasible] = non_dominated_ranks(points)
    room[feasible] = crowding_distances(points, ranks[feasible])
    return np.lexsort((-ap, -room, ranks, excess))


def vary(codec: GenomeCodec, ranked: Genomes, settings: EvolutionSettings, rng: np.random.Generator) -> Genomes:
    """Return as many children as parents, shape (n, G), canonical.

    Args:
        codec: The codec of the space.
        ranked: The parents from the best to the worst; each is the better of two drawn (binary tournament).
        settings: Rates of crossover and mutation.
        rng: Source of randomness.
    """
    n = len(ranked)
    mothers, fathers = rng.integers(0, n, size=(2, 2, n)).min(axis=1)
    fathers = np.where(rng.random(n) < settings.crossover, fathers, mothers)
    children = cross(codec, ranked[mothers], ranked[fathers], rng)
    return mutate(codec, children, settings.mutations, rng)


def cross(codec: GenomeCodec, mothers: Genomes, fathers: Genomes, rng: np.random.Generator) -> Genomes:
    """Cross pairs of genomes, shape (n, G): a part of the network comes whole from one parent, or gene by gene."""
    n, num_parts = len(mothers), int(codec.parts.max()) + 1
    from_father = (rng.random((n, num_parts)) < 0.5)[:, codec.parts]
    mixed = (rng.random((n, num_parts)) < 0.5)[:, codec.parts]
    from_father = np.where(mixed, rng.random((n, codec.length)) < 0.5, from_father)
    return codec.canonicalise(np.where(from_father, fathers, mothers))


def mutate(codec: GenomeCodec, genomes: Genomes, mutations: float, rng: np.random.Generator) -> Genomes:
    """Give some genes of genomes, shape (n, G), another choice: a neighbouring one half of the time, else any.

    Args:
        codec: The codec of the space.
        genomes: Canonical genomes; blocks that a mutated depth adds have random genes.
        mutations: Expected number of mutated genes a genome.
        rng: Source of randomness.
    """
    shape = genomes.shape
    drawn = codec.random_genes(len(genomes), rng)
    filled = np.where(codec.present(genomes), genomes, drawn)
    steps = np.where(rng.random(shape) < 0.5, -1, 1).astype(np.int8)
    near = np.clip(filled + steps, 0, codec.cardinalities - 1).astype(np.int8)
    values = np.where(rng.random(shape) < 0.5, near, codec.random_genes(len(genomes), rng))
    rate = mutations / np.count_nonzero(codec.cardinalities > 1)
    return codec.canonicalise(np.where(rng.random(shape) < rate, values, filled))


def first_genomes(codec: GenomeCodec, n: int, rng: np.random.Generator) -> Genomes:
    """Return the genomes that a search starts from: smallest, largest, uniform ones, and random ones, n at most.

    A uniform network makes every choice at the same relative size, as the published LitePose subnets nearly do.
    """
    shares = np.linspace(0, 1, 5)[:, None]
    uniform = np.round(shares * (codec.cardinalities - 1)).astype(np.int8)
    fixed = codec.canonicalise(uniform[[0, 4, 1, 2, 3]])
    return distinct(np.concatenate([fixed, codec.sample(2 * n, rng)]))[:n]
