"""How near the optimum a search comes, and with how many evaluations, where the optimum is known.

    python benchmarks/oracle.py

AP is a fixed formula: each choice adds to it with decreasing returns, and every two choices interact. The space
``litepose_released`` is enumerated, so its best front is exact; on ``litepose`` the strategies are compared with each
other. For all alike, what repeats another or is proposed beyond the budget costs no evaluation. The two-loop search
starts with no predictor: it learns from the evaluations that it paid for.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.sampling import first_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.evolution import EvolutionSettings, EvolutionStrategy
from litepose_ofa.search.strategies.optuna_strategies import OptunaStrategy
from litepose_ofa.search.strategies.strategies import RandomStrategy, Strategy, SurrogateEvolution
from litepose_ofa.search.strategies.surrogates import LearnedSurrogate
from litepose_ofa.supernet.archs.space import SearchSpace

DEVICE = "raspberry_pi_4b"
BUDGETS_MS = {"xs": 109, "s": 420, "m": 588, "l": 1052}
TIER = "m"
GOAL = 0.99
MOST = {"two loops": 2000, "evolution": 8000, "random": 40_000, "NSGA-II": 4000}
COMPARED_AT = (100, 200, 400, 600)

MakeStrategy = Callable[[SearchProblem], Strategy]

BATCHES = {"two loops": 16, "evolution": 50, "random": 250, "NSGA-II": 50}
STRATEGIES: dict[str, MakeStrategy] = {
    "two loops": lambda problem: SurrogateEvolution(problem, LearnedSurrogate(problem.cost.space)),
    "evolution": lambda problem: EvolutionStrategy(problem, EvolutionSettings(population=50)),
    "random": RandomStrategy,
    "NSGA-II": lambda problem: OptunaStrategy(problem, "nsga2"),
}


class FormulaAp:
    """AP of genomes by a fixed formula, smooth with interactions."""

    def __init__(self, codec: GenomeCodec) -> None:
        rng = np.random.default_rng(0)
        self._codec = codec
        self._scale = 1 / np.maximum(codec.cardinalities - 1, 1)
        self._worth = rng.uniform(0.3, 1, codec.length)
        self._worth[0] *= 2.5  # the image size
        block_genes = [column for stage in codec.stages for column in (*stage.kernels, *stage.expansions)]
        self._worth[block_genes] *= 8 / len(block_genes)
        shared = np.sqrt(self._worth[:, None] * self._worth) / np.sqrt(codec.length)
        self._interaction = shared * rng.normal(0, 0.25, shared.shape)

    def __call__(self, genomes: Genomes) -> NDArray[np.float64]:
        share = genomes * self._scale
        alone = -np.expm1(-1.8 * share) / -np.expm1(-1.8) @ self._worth
        centred = (share - 0.5) * self._codec.present(genomes)
        together = ((centred @ self._interaction) * centred).sum(axis=1)
        ap: NDArray[np.float64] = 0.35 + 0.3 * (alone + together) / self._worth.sum()
        return ap


def all_genomes(codec: GenomeCodec) -> Genomes:
    free = np.flatnonzero(codec.cardinalities > 1)
    grid = np.stack(np.meshgrid(*(np.arange(codec.cardinalities[c]) for c in free), indexing="ij"), axis=-1)
    genomes = np.zeros((grid[..., 0].size, codec.length), np.int8)
    genomes[:, free] = grid.reshape(len(genomes), len(free))
    return codec.canonicalise(genomes)


def problem_of(space: SearchSpace, tier: str) -> SearchProblem:
    cost = CostModel(space, tables={DEVICE: LatencyTable.load(DEVICE)})
    return SearchProblem(cost, {DEVICE: BUDGETS_MS[tier]})


def searched(problem: SearchProblem, ap: FormulaAp, name: str, seed: int) -> Iterator[History]:
    """Yield the history after every batch."""
    strategy, batch = STRATEGIES[name](problem), BATCHES[name]
    new = first_genomes(problem.cost.codec, batch, np.random.default_rng([seed, 0]))
    history = problem.evaluated(new, ap(new))
    generation = 0
    while len(new):
        yield history
        generation += 1
        new = strategy.propose(history, batch, np.random.default_rng([seed, generation]))
        history = history.extended(problem.evaluated(new, ap(new)))


def evaluations_until(
    problem: SearchProblem, ap: FormulaAp, name: str, seed: int, is_reached: Callable[[History], bool]
) -> int:
    """Return the evaluations until a goal, or the most allowed if it is not reached."""
    for history in searched(problem, ap, name, seed):
        if is_reached(history) or len(history) >= MOST[name]:
            return len(history)
    return MOST[name]


def compare_with_the_optimum(seeds: int) -> None:
    space = SearchSpace.preset("litepose_released")
    problem, ap = problem_of(space, TIER), FormulaAp(GenomeCodec(space))
    began = time.perf_counter()
    everything = all_genomes(problem.cost.codec)
    optimum = problem.evaluated(everything, ap(everything))
    goal = GOAL * problem.hypervolume(optimum)
    size = len(problem.front(optimum))
    print(f"litepose_released: {len(everything):,} enumerated in {time.perf_counter() - began:.1f} s, front of {size}")
    print(f"evaluations to {GOAL:.0%} of its hypervolume, {seeds} seeds:")
    medians = {}
    for name in STRATEGIES:
        needed = [
            evaluations_until(problem, ap, name, seed, lambda history: problem.hypervolume(history) >= goal)
            for seed in range(seeds)
        ]
        medians[name] = statistics.median(needed)
        print(f"    {name}: median {medians[name]:g} of {needed}")
    for name in ("random", "NSGA-II"):
        print(f"    two loops need {medians['two loops'] / medians[name]:.3f} of the evaluations of {name}")


def regret_of_single_budgets(seeds: int) -> None:
    space = SearchSpace.preset("litepose_released")
    ap = FormulaAp(GenomeCodec(space))
    print("evaluations until the best AP within a budget is less than 0.1 AP below the optimum's:")
    for tier in BUDGETS_MS:
        problem = problem_of(space, tier)
        everything = all_genomes(problem.cost.codec)
        best = ap(everything)[problem.violation(everything) == 0].max()

        def is_near(history: History, best: float = best) -> bool:
            feasible = history.ap[history.excess[:, 0] == 0]
            return bool(len(feasible)) and best - feasible.max() < 0.001

        needed = [evaluations_until(problem, ap, "two loops", seed, is_near) for seed in range(seeds)]
        print(f"    {tier}, {BUDGETS_MS[tier]} ms: {needed}")


def compare_on_the_full_space(seeds: int) -> None:
    space = SearchSpace.preset("litepose")
    problem, ap = problem_of(space, TIER), FormulaAp(GenomeCodec(space))
    print(f"litepose, {space.size:.1e} architectures: hypervolume after {COMPARED_AT} evaluations, {seeds} seeds:")
    volumes = {name: np.array([volumes_at(problem, ap, name, seed) for seed in range(seeds)]) for name in STRATEGIES}
    for name, each in volumes.items():
        median, least = np.median(each, axis=0).round(4).tolist(), each.min(axis=0).round(4).tolist()
        print(f"    {name}: median {median}, least {least}")
    behind = (volumes["two loops"] < volumes["NSGA-II"]).sum()
    print(f"    two loops are behind NSGA-II in {behind} of {volumes['NSGA-II'].size} comparisons")


def volumes_at(problem: SearchProblem, ap: FormulaAp, name: str, seed: int) -> list[float]:
    history = next(h for h in searched(problem, ap, name, seed) if len(h) >= COMPARED_AT[-1])
    return [problem.hypervolume(history.rows(np.arange(n))) for n in COMPARED_AT]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    compare_with_the_optimum(args.seeds)
    regret_of_single_budgets(args.seeds)
    compare_on_the_full_space(args.seeds)


if __name__ == "__main__":
    main()
