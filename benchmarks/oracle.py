"""How near the optimum a search comes, and with how many evaluations, where the optimum is known.

    python benchmarks/oracle.py
    python benchmarks/oracle.py --only unordered rugged --seeds 3

AP is a fixed formula of one of several kinds, from smooth to rugged (``TRUTHS``). The space ``litepose_released`` is
enumerated, so its best front is exact; on ``litepose`` the strategies are compared with each other. For all alike, what
repeats another or is proposed beyond the budget costs no evaluation. The two-loop search starts with no predictor: it
learns from the evaluations that it paid for; ``one-hot ridge`` is the same search by a ridge regression on one column a
choice. With noise, every measurement is off by a normal error, and shares are those of the true AP.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.features import GenomeFeatures
from litepose_ofa.search.accuracy.predictor import RegressedAp
from litepose_ofa.search.accuracy.regressors import Ridge
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
SHARES_AT = (48, 96, 200)
NOISE = 0.01
COMPARED_AT = (100, 200, 400, 600)

Accuracies = Callable[[Genomes], NDArray[np.float64]]
Values = NDArray[np.float64]


class Shares:
    """How far each gene is from its least choice to its greatest, and how much the gene is worth; worths add up to 1.

    Choices have decreasing returns.
    """

    def __init__(self, codec: GenomeCodec) -> None:
        self.codec = codec
        worth = np.random.default_rng(0).uniform(0.3, 1, codec.length)
        worth[0] *= 2.5  # the image size
        self.block_genes = [column for stage in codec.stages for column in (*stage.kernels, *stage.expansions)]
        worth[self.block_genes] *= 8 / len(self.block_genes)
        self.all_worth = worth
        free = np.where(codec.cardinalities > 1, worth, 0)
        self.worth: Values = free / free.sum()

    def __call__(self, genomes: Genomes) -> Values:
        share: Values = genomes / np.maximum(self.codec.cardinalities - 1, 1)
        return share

    def returns(self, share: Values) -> Values:
        returns: Values = np.expm1(-1.8 * share) / np.expm1(-1.8)
        return returns


def interacting(codec: GenomeCodec) -> Accuracies:
    """Every two choices interact, smoothly."""
    shares = Shares(codec)
    worth = shares.all_worth
    rng = np.random.default_rng(0)
    rng.uniform(0.3, 1, codec.length)  # the worths' own draws
    between = np.sqrt(worth[:, None] * worth) / np.sqrt(codec.length)
    interaction = between * rng.normal(0, 0.25, between.shape)

    def ap(genomes: Genomes) -> Values:
        alone = shares.returns(shares(genomes)) @ worth
        centred = (shares(genomes) - 0.5) * codec.present(genomes)
        together = ((centred @ interaction) * centred).sum(axis=1)
        values: Values = 0.35 + 0.3 * (alone + together) / worth.sum()
        return values

    return ap


def additive(codec: GenomeCodec) -> Accuracies:
    """Each choice adds its part."""
    shares = Shares(codec)
    return lambda genomes: 0.3 + 0.4 * shares.returns(shares(genomes)) @ shares.worth


def inverted_corner(codec: GenomeCodec) -> Accuracies:
    """Additive, but of every second gene the smaller choice is the better one."""
    shares = Shares(codec)
    inverted = np.arange(codec.length) % 2 == 1

    def ap(genomes: Genomes) -> Values:
        share = np.where(inverted, 1 - shares(genomes), shares(genomes)) * codec.present(genomes)
        values: Values = 0.3 + 0.4 * shares.returns(share) @ shares.worth
        return values

    return ap


def turning(codec: GenomeCodec) -> Accuracies:
    """Additive, but above the middle image size a deconv's smaller widths are the better ones."""
    shares = Shares(codec)
    deconvs = np.isin(np.arange(codec.length), codec.deconvs)

    def ap(genomes: Genomes) -> Values:
        share = shares(genomes)
        turned = (share[:, :1] > 0.5) & deconvs
        values: Values = 0.3 + 0.4 * shares.returns(np.where(turned, 1 - share, share)) @ shares.worth
        return values

    return ap


def unordered(codec: GenomeCodec) -> Accuracies:
    """Additive, but the choices of each gene are in random order."""
    shares, rng = Shares(codec), np.random.default_rng(1)
    parts = np.zeros((int(codec.cardinalities.max()), codec.length))
    for column, number in enumerate(codec.cardinalities):
        if number > 1:
            parts[:number, column] = rng.permutation(np.linspace(0, 1, number)) * shares.worth[column]
    return lambda genomes: 0.3 + 0.4 * (parts[genomes, np.arange(codec.length)] * codec.present(genomes)).sum(axis=1)


def weakest_link(codec: GenomeCodec) -> Accuracies:
    """The least of the parts' worths decides: input and stem, the stages, the deconvs."""
    shares = Shares(codec)
    parts = np.where(codec.parts[:, None] == np.unique(codec.parts), shares.worth[:, None], 0)
    parts = parts[:, parts.sum(axis=0) > 0]
    parts /= parts.sum(axis=0)
    return lambda genomes: 0.3 + 0.4 * (shares.returns(shares(genomes)) @ parts).min(axis=1)


def rugged(codec: GenomeCodec) -> Accuracies:
    """Each gene's part is random for it and two others together, beside the additive one; in plateaus of 2 AP."""
    shares, rng = Shares(codec), np.random.default_rng(2)
    free = np.flatnonzero(codec.cardinalities > 1)
    triples = [[gene, *rng.choice(np.setdiff1d(free, [gene]), 2, replace=False)] for gene in free]
    parts = [shares.worth[triple[0]] * rng.normal(size=codec.cardinalities[triple]) for triple in triples]

    def ap(genomes: Genomes) -> Values:
        smooth = shares.returns(shares(genomes)) @ shares.worth
        rough = np.sum([part[tuple(genomes[:, triple].T)] for part, triple in zip(parts, triples, strict=True)], axis=0)
        values: Values = np.clip(0.3 + 0.02 * np.floor(20 * (smooth + 0.3 * rough)), 0, 1)
        return values

    return ap


TRUTHS: dict[str, Callable[[GenomeCodec], Accuracies]] = {
    "interacting": interacting,
    "additive": additive,
    "inverted corner": inverted_corner,
    "unordered": unordered,
    "weakest link": weakest_link,
    "turning": turning,
    "rugged": rugged,
}


class OneHotFeatures(GenomeFeatures):
    """One column a choice."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        pairs = [(gene, choice) for gene, most in enumerate(self.codec.cardinalities) for choice in range(most)]
        self._genes, self._choices = np.array(pairs).T
        self.length, self.weights = len(pairs), np.ones((1, len(pairs)))

    def __call__(self, genomes: Genomes) -> Values:
        taken = (genomes[:, self._genes] == self._choices) & self.codec.present(genomes)[:, self._genes]
        return np.asarray(taken, np.float64)


@dataclass(frozen=True)
class OneHotRidge:
    """A surrogate: Bayesian ridge regression on one column a choice."""

    features: OneHotFeatures

    def after(self, history: History) -> RegressedAp:
        return RegressedAp(self.features, Ridge(self.features.training_set(history.genomes, history.ap)))

    def describe(self) -> dict[str, str]:
        return {"learned": "one-hot ridge"}


MakeStrategy = Callable[[SearchProblem], Strategy]

STRATEGIES: dict[str, MakeStrategy] = {
    "two loops": lambda problem: SurrogateEvolution(problem, LearnedSurrogate(problem.cost.space)),
    "one-hot ridge": lambda problem: SurrogateEvolution(problem, OneHotRidge(OneHotFeatures(problem.cost.space))),
    "evolution": lambda problem: EvolutionStrategy(problem, EvolutionSettings(population=50)),
    "random": RandomStrategy,
    "NSGA-II": lambda problem: OptunaStrategy(problem, "nsga2"),
    "TPE": lambda problem: OptunaStrategy(problem, "tpe"),
}
BATCHES = dict.fromkeys(STRATEGIES, 16) | {"random": 200}
MOST = dict.fromkeys(STRATEGIES, 208) | {"evolution": 1000, "random": 5000, "NSGA-II": 1000, "TPE": 96}


def all_genomes(codec: GenomeCodec) -> Genomes:
    free = np.flatnonzero(codec.cardinalities > 1)
    grid = np.stack(np.meshgrid(*(np.arange(codec.cardinalities[c]) for c in free), indexing="ij"), axis=-1)
    genomes = np.zeros((grid[..., 0].size, codec.length), np.int8)
    genomes[:, free] = grid.reshape(len(genomes), len(free))
    return codec.canonicalise(genomes)


def problem_of(space: SearchSpace, tier: str) -> SearchProblem:
    cost = CostModel(space, tables={DEVICE: LatencyTable.load(DEVICE)})
    return SearchProblem(cost, {DEVICE: BUDGETS_MS[tier]})


def searched(problem: SearchProblem, ap: Accuracies, name: str, seed: int, noise: float = 0) -> Iterator[History]:
    """Yield the history after every batch; its AP is the true one."""
    strategy, batch, errors = STRATEGIES[name](problem), BATCHES[name], np.random.default_rng([seed, 0, 1])
    new = first_genomes(problem.cost.codec, batch, np.random.default_rng([seed, 0]))
    true = problem.evaluated(new[:0], np.zeros(0))
    measured = true
    generation = 0
    while len(new):
        true = true.extended(problem.evaluated(new, ap(new)))
        measured = measured.extended(problem.evaluated(new, ap(new) + noise * errors.normal(size=len(new))))
        yield true
        generation += 1
        new = strategy.propose(measured, batch, np.random.default_rng([seed, generation]))


@dataclass(frozen=True)
class Course:
    """Evaluations until the goal, infinite if never; and shares at ``SHARES_AT``, NaN beyond the most allowed."""

    needed: float
    shares: Values


def course(problem: SearchProblem, ap: Accuracies, name: str, seed: int, optimum: float, noise: float) -> Course:
    needed = np.inf
    for history in searched(problem, ap, name, seed, noise):
        if problem.hypervolume(history) >= GOAL * optimum:
            needed = min(needed, len(history))
        if len(history) >= (MOST[name] if needed == np.inf and not noise else min(SHARES_AT[-1], MOST[name])):
            break
    firsts = [history.rows(np.arange(min(number, len(history)))) for number in SHARES_AT]
    shares = np.array([problem.hypervolume(first) / optimum for first in firsts])
    return Course(needed, np.where(np.array(SHARES_AT) > MOST[name], np.nan, shares))


def compare_with_the_optimum(truth: str, seeds: int, noise: float = 0) -> None:
    space = SearchSpace.preset("litepose_released")
    problem, ap = problem_of(space, TIER), TRUTHS[truth](GenomeCodec(space))
    everything = all_genomes(problem.cost.codec)
    best = problem.evaluated(everything, ap(everything))
    optimum, size = problem.hypervolume(best), len(problem.front(best))
    with_noise = f", each measurement off by {100 * noise:g} AP (s.d.)" if noise else ""
    print(f"{truth}{with_noise}: {len(everything):,} enumerated, front of {size}; {seeds} seeds", flush=True)
    print(f"    {'':14} median evaluations to {GOAL:.0%}, and median share after {SHARES_AT}")
    courses: dict[str, list[Course]] = {}
    for name in STRATEGIES:
        began = time.perf_counter()
        found = courses[name] = [course(problem, ap, name, seed, optimum, noise) for seed in range(seeds)]
        needed = sorted(each.needed for each in found)
        median = float(np.median(needed))
        shown = f"{median:g}" if median < np.inf else f"> {min(MOST[name], SHARES_AT[-1]) if noise else MOST[name]}"
        shares = ", ".join(f"{share:.4f}" for share in np.median([each.shares for each in found], axis=0))
        print(f"    {name:14} {shown:8} {shares}  ({time.perf_counter() - began:.0f} s)  {needed}", flush=True)
    for name in ("one-hot ridge", "NSGA-II"):
        ahead = [a.shares - b.shares for a, b in zip(courses["two loops"], courses[name], strict=True)]
        error = np.std(ahead, axis=0, ddof=min(1, seeds - 1)) / np.sqrt(seeds)
        gains = [f"{gain:+.4f} (s.e. {se:.4f})" for gain, se in zip(np.mean(ahead, axis=0), error, strict=True)]
        print(f"    two loops ahead of {name}: {', '.join(gains)}", flush=True)


def regret_of_single_budgets(seeds: int) -> None:
    space = SearchSpace.preset("litepose_released")
    ap = interacting(GenomeCodec(space))
    print("evaluations until the best AP within a budget is less than 0.1 AP below the optimum's:")
    for tier in BUDGETS_MS:
        problem = problem_of(space, tier)
        everything = all_genomes(problem.cost.codec)
        best = ap(everything)[problem.violation(everything) == 0].max()
        needed = []
        for seed in range(seeds):
            for history in searched(problem, ap, "two loops", seed):
                feasible = history.ap[history.excess[:, 0] == 0]
                if (len(feasible) and best - feasible.max() < 0.001) or len(history) >= MOST["two loops"]:
                    break
            needed.append(len(history))
        print(f"    {tier}, {BUDGETS_MS[tier]} ms: {needed}", flush=True)


def compare_on_the_full_space(seeds: int) -> None:
    names = ("two loops", "evolution", "random", "NSGA-II")
    space = SearchSpace.preset("litepose")
    problem, ap = problem_of(space, TIER), interacting(GenomeCodec(space))
    print(f"litepose, {space.size:.1e} architectures: hypervolume after {COMPARED_AT} evaluations, {seeds} seeds:")
    volumes = {name: np.array([volumes_at(problem, ap, name, seed) for seed in range(seeds)]) for name in names}
    for name, each in volumes.items():
        median, least = np.median(each, axis=0).round(4).tolist(), each.min(axis=0).round(4).tolist()
        print(f"    {name}: median {median}, least {least}")
    behind = (volumes["two loops"] < volumes["NSGA-II"]).sum()
    print(f"    two loops are behind NSGA-II in {behind} of {volumes['NSGA-II'].size} comparisons")


def volumes_at(problem: SearchProblem, ap: Accuracies, name: str, seed: int) -> list[float]:
    history = next(h for h in searched(problem, ap, name, seed) if len(h) >= COMPARED_AT[-1])
    return [problem.hypervolume(history.rows(np.arange(n))) for n in COMPARED_AT]


PARTS: dict[str, Callable[[int], None]] = {
    **{truth: lambda seeds, truth=truth: compare_with_the_optimum(truth, seeds) for truth in TRUTHS},  # type: ignore[misc]
    "noisy": lambda seeds: compare_with_the_optimum("interacting", seeds, NOISE),
    "noisy unordered": lambda seeds: compare_with_the_optimum("unordered", seeds, NOISE),
    "budgets": regret_of_single_budgets,
    "litepose": compare_on_the_full_space,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    args = parser.parse_args()
    for part in args.only:
        PARTS[part](args.seeds)


if __name__ == "__main__":
    main()
