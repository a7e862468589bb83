"""What a search of measured subnets finds, judged on images that neither training nor search has seen.

    litepose generate-people dataset.root=data/fresh seed=1 images.train=1 images.search=1 images.val=1000
    python benchmarks/true_evaluations.py data/fresh workspace=runs/tiny-people

First, for two devices of four tiers each, the loop against a predictor at equal measurements. Fitted beforehand:
subnets spread over MACs are measured, a Gaussian process is fitted to them, an evolution on its predictions finds the
front of each cell, the first four of each are measured, and the best of all measured ones is taken. The loop: one study
of all cells measures as many, as ``litepose search`` does. Then the loop against subnets of the published style: full
depth, kernel 7, greatest expansion, uniform width, at every resolution, each against the best within its latency.
Differences are paired over the fresh images.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import DictConfig

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.scripts.build.data import build_space
from litepose_ofa.scripts.build.networks import build_subnet_evaluator
from litepose_ofa.scripts.build.workers import WorkspacePool
from litepose_ofa.scripts.command.app import CONFIG_DIR
from litepose_ofa.search.accuracy.evaluators import SupernetEvaluator
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import stratified_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.strategies import SurrogateEvolution
from litepose_ofa.search.strategies.surrogates import FixedSurrogate, LearnedSurrogate
from litepose_ofa.search.study.generations import Generations, StopRule, StudySettings
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.supernet.archs.arch import Arch, BlockArch, StageArch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.evaluation.matching import Matches
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator

DEVICES = ("raspberry_pi_4b", "jetson_nano")
SAMPLES, VERIFIED, SEEDS = 64, 4, (0, 1, 2)
UNIFORM_EVALUATIONS = 96
RESAMPLES, TAILS = 1000, (2.5, 97.5)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bench:
    """A trained supernet, measured on the search split, and on fresh images."""

    problem: SearchProblem
    truth: SupernetEvaluator
    fresh: SubnetEvaluator

    def measured(self, genomes: Genomes) -> Floats:
        archs = self.problem.cost.codec.decode_many(genomes)
        return np.array([accuracy.ap for accuracy in self.truth.evaluate(archs)])

    def fitted_beforehand(self, seed: int) -> tuple[list[tuple[Arch, float]], int]:
        """Return the choice and its measured AP for each cell, and the number of subnets measured."""
        cost, rng = self.problem.cost, np.random.default_rng(seed)
        genomes = stratified_genomes(cost, SAMPLES, rng)
        known = self.problem.evaluated(genomes, self.measured(genomes))
        predictor = AccuracyPredictor(cost.space, genomes, known.ap, identity={}, num_keypoints=cost.num_keypoints)
        tops = []
        for target in self.problem.targets:
            alone = SearchProblem(cost, {target.device: target.budget_ms})
            strategy = SurrogateEvolution(alone, FixedSurrogate(predictor))
            found = SearchStudy(Generations(alone, strategy, seed=seed), predictor, storage="memory").run().history
            tops.append(found.genomes[alone.front(found)[:VERIFIED]])
        verified = np.unique(np.concatenate(tops), axis=0)
        known = known.extended(self.problem.evaluated(verified, self.measured(verified)))
        return best(self.problem, known), SAMPLES + VERIFIED * len(tops)

    def loop(self, problem: SearchProblem, seed: int, evaluations: int) -> list[tuple[Arch, float]]:
        """Return the choice and the AP expected of it for each cell of a problem."""
        cost = problem.cost
        surrogate = LearnedSurrogate(cost.space, num_keypoints=cost.num_keypoints)
        stop = StopRule(generations=None, evaluations=evaluations)
        sizes = StudySettings(first=24, batch=12)
        search = Generations(problem, SurrogateEvolution(problem, surrogate), seed=seed, settings=sizes, stop=stop)
        found = SearchStudy(search, self.truth, storage="memory").run().history
        expected = surrogate.after(found).predict_ap(found.genomes)
        return best(problem, problem.evaluated(found.genomes, expected))


def best(problem: SearchProblem, known: History) -> list[tuple[Arch, float]]:
    rows = [row for row in problem.best(known) if row is not None]
    return [(problem.cost.codec.decode(known.genomes[row]), float(known.ap[row])) for row in rows]


class FreshAp:
    """AP of subnets on the fresh images, and of the same resamples of these."""

    def __init__(self, evaluator: SubnetEvaluator) -> None:
        count, rng = len(evaluator.dataset), np.random.default_rng(0)
        draws = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(RESAMPLES))
        self._evaluator, self._times = evaluator, [np.ones(count, np.int64), *draws]
        self._known: dict[Arch, Floats] = {}

    def __call__(self, arch: Arch) -> Floats:
        """Return the AP in %, then those of the resamples, shape (1 + RESAMPLES,)."""
        if arch not in self._known:
            matches: Matches = self._evaluator.evaluate_prepared(self._evaluator.prepare(arch)).comparison.matches
            self._known[arch] = 100 * np.array([matches.average_precision(times) for times in self._times])
        return self._known[arch]


def compared(bench: Bench, ap: FreshAp, seed: int) -> tuple[Floats, list[float]]:
    """Print the cells of a seed; return their gains, shape (cells, 1 + RESAMPLES), and reported less fresh AP."""
    before, measured = bench.fitted_beforehand(seed)
    after = bench.loop(bench.problem, seed, measured)
    gains, optimism = [], []
    for target, (old, old_ap), (new, new_ap) in zip(bench.problem.targets, before, after, strict=True):
        gains.append(ap(new) - ap(old))
        optimism.append(100 * new_ap - ap(new)[0])
        print(
            f"  {target.device} {target.tier}: fitted beforehand {ap(old)[0]:.1f} (measured {100 * old_ap:.1f}), "
            f"loop {ap(new)[0]:.1f} (expected {100 * new_ap:.1f}): {interval(gains[-1])}"
        )
    print(f"seed {seed}, {measured} measurements each: mean {interval(np.mean(gains, axis=0))}")
    return np.array(gains), optimism


def against_uniform(bench: Bench, ap: FreshAp, device: str) -> None:
    """Compare with subnets of the published style; one study finds the best within the latency of each."""
    cost = bench.problem.cost
    uniform = {
        f"{arch.image_size} px, {'/'.join(str(s.channels) for s in arch.stages)}": arch
        for arch in published_style(cost.space)
    }
    ms = cost.latency_ms(cost.codec.encode_many(uniform.values()), device)
    budgets = dict(zip(uniform, (ms * (1 + 1e-9)).tolist(), strict=True))
    found = bench.loop(SearchProblem(cost, {device: budgets}), 0, UNIFORM_EVALUATIONS)
    gains = []
    print(f"{device}: subnets of the published style against the search's within their latency")
    for (name, arch), budget_ms, (searched, _) in zip(uniform.items(), budgets.values(), found, strict=True):
        gains.append(ap(searched) - ap(arch))
        print(f"  {name}: {budget_ms:.3f} ms, {ap(arch)[0]:.1f}; searched {ap(searched)[0]:.1f}: {interval(gains[-1])}")
    print(f"  mean {interval(np.mean(gains, axis=0))}")


def published_style(space: SearchSpace) -> Iterator[Arch]:
    """Yield subnets of full depth, kernel 7 and greatest expansion whose widths are all at the same place of their
    lists, at every resolution.
    """
    largest = space.largest()
    most = max(len(stage.channels) for stage in space.stages)
    for size in space.image_sizes:
        for place in range(most):

            def at(choices: tuple[int, ...], place: int = place) -> int:
                return choices[round(place / (most - 1) * (len(choices) - 1))]

            stages = tuple(
                StageArch(
                    at(choices.channels),
                    stage.stride,
                    tuple(BlockArch(choices.expansions[-1], choices.kernels[-1]) for _ in stage.blocks),
                )
                for choices, stage in zip(space.stages, largest.stages, strict=True)
            )
            deconvs = tuple(at(widths) for widths in space.deconv_channels)
            yield replace(
                largest,
                image_size=size,
                stem_channels=at(space.stem_channels),
                stages=stages,
                deconv_channels=deconvs,
            )


def interval(values: Floats) -> str:
    low, high = np.percentile(values[1:], TAILS)
    return f"{values[0]:+.2f} ({low:+.2f} to {high:+.2f})"


@contextmanager
def open_bench(cfg: DictConfig, fresh: Path) -> Iterator[Bench]:
    budgets = {name: compose("search", [f"device={name}"]).device.budgets_ms[cfg.space.name] for name in DEVICES}
    with ExitStack() as stack:
        pool = WorkspacePool(cfg, stack)
        truth = SupernetEvaluator(pool, identity=pool.identity, cache=pool.cache)
        num_keypoints = pool.subnets.num_keypoints
        tables = {name: LatencyTable.load(name) for name in DEVICES}
        cost = CostModel(build_space(cfg), tables=tables, num_keypoints=num_keypoints)
        evaluator = build_subnet_evaluator(cfg, "val")
        cfg.dataset.root = str(fresh)
        evaluator.dataset = build_subnet_evaluator(cfg, "val").dataset
        yield Bench(SearchProblem(cost, {name: dict(ms) for name, ms in budgets.items()}), truth, evaluator)


def main() -> None:
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        cfg = compose("search", overrides=["run_folder=benchmark", *sys.argv[2:]])
        with open_bench(cfg, Path(sys.argv[1])) as bench:
            ap = FreshAp(bench.fresh)
            results = [compared(bench, ap, seed) for seed in SEEDS]
            for device in DEVICES:
                against_uniform(bench, ap, device)
    gains = np.concatenate([each for each, _ in results])
    per_cell = np.mean([each[:, 0] for each, _ in results], axis=0)
    print(f"all seeds: mean {interval(gains.mean(axis=0))}; least mean of a cell {per_cell.min():+.2f}")
    print(f"loop: expected less fresh AP, mean {np.mean([value for _, values in results for value in values]):+.2f}")


if __name__ == "__main__":
    main()
