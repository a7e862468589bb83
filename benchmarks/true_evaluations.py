"""True evaluations saved by the two-loop search, and what it wins over subnets of the published style.

    python benchmarks/true_evaluations.py workspace=runs/tiny-people device=raspberry_pi_4b

On a trained supernet, with no accuracy known beforehand. First: the hypervolume of 400 random subnets, and after how
many measured subnets a search reaches it (median of the seeds, all printed). Then: subnets of full depth, kernel 7,
greatest expansion and uniform width, at every resolution, as LitePose's authors searched them; each against the best
subnet that a search finds within the same latency, both on held-out images.
"""

import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tqdm import tqdm

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.scripts.build.data import build_space
from litepose_ofa.scripts.build.networks import build_subnet_evaluator
from litepose_ofa.scripts.build.workers import WorkspacePool
from litepose_ofa.scripts.command.app import CONFIG_DIR
from litepose_ofa.search.accuracy.evaluators import AccuracyCache, SupernetEvaluator
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.strategies import RandomStrategy, SurrogateEvolution
from litepose_ofa.search.strategies.surrogates import LearnedSurrogate
from litepose_ofa.search.study.generations import Generations, StopRule, StudySettings
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.supernet.archs.arch import Arch, BlockArch, StageArch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator

RANDOM, SEARCHED, SEEDS = 400, 100, (0, 1, 2, 3, 4)
SIZES = StudySettings(first=20, batch=10)


@dataclass(frozen=True)
class Bench:
    """A trained supernet to measure subnets with."""

    space: SearchSpace
    num_keypoints: int
    truth: SupernetEvaluator
    held_out: SubnetEvaluator
    held_out_cache: AccuracyCache

    def problem(self, device: str, budget_ms: float | None = None) -> SearchProblem:
        cost = CostModel(self.space, tables={device: LatencyTable.load(device)}, num_keypoints=self.num_keypoints)
        return SearchProblem(cost, {device: budget_ms or cost.slowest(device)[1]})

    def measured(self, problem: SearchProblem, archs: list[Arch]) -> History:
        accuracies = list(tqdm(self.truth.stream(archs), total=len(archs), unit="subnet", disable=None))
        return problem.evaluated(problem.cost.codec.encode_many(archs), np.array([each.ap for each in accuracies]))

    def held_out_ap(self, arch: Arch) -> float:
        """Return AP on the val split, which no search has seen."""
        evaluator = SupernetEvaluator(self.held_out.measure, identity=self.held_out.identity, cache=self.held_out_cache)
        return 100 * evaluator.evaluate([arch])[0].ap

    def search(self, problem: SearchProblem, seed: int) -> History:
        """Return the evaluations of a two-loop search that knows nothing beforehand, in their order."""
        surrogate = LearnedSurrogate(self.space, num_keypoints=self.num_keypoints)
        stop = StopRule(generations=None, evaluations=SEARCHED)
        strategy = SurrogateEvolution(problem, surrogate)
        generations = Generations(problem, strategy, seed=seed, settings=SIZES, stop=stop)
        return SearchStudy(generations, self.truth, storage="memory").run().history


def evaluations_saved(bench: Bench, device: str) -> None:
    problem = bench.problem(device)
    rng = np.random.default_rng(99)
    codec = problem.cost.codec
    nothing = problem.evaluated(codec.sample(1, rng)[:0], np.zeros(0))
    random = bench.measured(problem, codec.decode_many(RandomStrategy(problem).propose(nothing, RANDOM, rng)))
    goal = problem.hypervolume(random)
    needed, reached = [], []
    for seed in SEEDS:
        found = bench.search(problem, seed)
        volumes = [problem.hypervolume(found.rows(np.arange(n + 1))) for n in range(len(found))]
        needed.append(next((n + 1 for n, volume in enumerate(volumes) if volume >= goal), len(found) + 1))
        reached.append(volumes[-1])
    print(
        f"{device}: hypervolume of {RANDOM} random {goal:.4f}; two loops reach it after {needed}, median "
        f"{statistics.median(needed):g}; after {SEARCHED} they have {', '.join(f'{volume:.4f}' for volume in reached)}"
    )


def against_uniform(bench: Bench, device: str) -> None:
    print(f"{device}: subnets of the published style against the search's within their latency, AP held out")
    gains = []
    for arch in published_style(bench.space):
        problem = bench.problem(device)
        latency = float(problem.latency_ms(problem.cost.codec.encode_many([arch]))[0])
        problem = bench.problem(device, latency * (1 + 1e-9))
        found = bench.search(problem, seed=0)
        best = problem.cost.codec.decode(found.genomes[problem.front(found)[0]])
        uniform_ap, best_ap = bench.held_out_ap(arch), bench.held_out_ap(best)
        best_ms = float(problem.latency_ms(problem.cost.codec.encode_many([best]))[0])
        gains.append(best_ap - uniform_ap)
        print(
            f"  {arch.image_size} px, widths {'/'.join(str(s.channels) for s in arch.stages)}: {latency:.3f} ms "
            f"{uniform_ap:.1f}; searched {best_ms:.3f} ms {best_ap:.1f}: {gains[-1]:+.1f}"
        )
    print(f"  mean {statistics.mean(gains):+.1f}, least {min(gains):+.1f}")


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


@contextmanager
def open_bench(cfg: DictConfig) -> Iterator[Bench]:
    with ExitStack() as stack:
        pool = WorkspacePool(cfg, stack)
        truth = SupernetEvaluator(pool, identity=pool.identity, cache=pool.cache)
        held_out = build_subnet_evaluator(cfg, "val")
        cache = AccuracyCache(Path(cfg.workspace) / "accuracies" / "held_out.jsonl")
        yield Bench(build_space(cfg), pool.subnets.num_keypoints, truth, held_out, cache)


def main() -> None:
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        cfg = compose("search", overrides=["run_folder=benchmark", *sys.argv[1:]])
    with open_bench(cfg) as bench:
        evaluations_saved(bench, cfg.device.name)
        against_uniform(bench, cfg.device.name)


if __name__ == "__main__":
    main()
