"""Ray workers: two against one, in a search whose evaluations take a second each.

    python benchmarks/ray_workers.py

A worker sleeps for its second and reserves no more than half a CPU, so that the figure shows what the pool, Ray and the
proposals cost, whatever the machine. The search evolves; it waits for each generation. Starting Ray and the workers is
not counted.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.evaluators import AccuracyCache, SupernetEvaluator
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.evolution import EvolutionStrategy
from litepose_ofa.search.study.generations import Generations, StopRule, StudySettings
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.search.workers.pool import EvaluationPool, Measure, RayPool
from litepose_ofa.search.workers.session import ray_session
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace

DEVICE = "raspberry_pi_4b"


def make_make_measure(seconds: float) -> Callable[[], Measure]:
    def build() -> Measure:
        def measure(arch: Arch) -> float:
            time.sleep(seconds)
            return int(arch.digest, 16) / 16**12

        return measure

    return build


class WarmPool:
    """A Ray pool all of whose workers have started."""

    def __init__(self, pool: RayPool, archs: Sequence[Arch]) -> None:
        self._pool = pool
        list(pool.map(archs))

    def map(self, archs: Sequence[Arch]) -> Iterator[float]:
        return self._pool.map(archs)


def search(pool: EvaluationPool, problem: SearchProblem, batch: int) -> tuple[float]:
    with tempfile.TemporaryDirectory() as folder:
        evaluator = SupernetEvaluator(pool, identity={}, cache=AccuracyCache(Path(folder) / "accuracies.jsonl"))
        sizes, stop = StudySettings(first=batch, batch=batch), StopRule(generations=2)
        generations = Generations(problem, EvolutionStrategy(problem), settings=sizes, stop=stop)
        study = SearchStudy(generations, evaluator, storage=Path(folder) / "study.log")
        began = time.perf_counter()
        run = study.run()
        return run, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="of an evaluation")
    parser.add_argument("--batch", type=int, default=8, help="evaluations of each of three generations")
    args = parser.parse_args()
    space = SearchSpace.preset("tiny")
    cost = CostModel(space, tables={DEVICE: LatencyTable.load(DEVICE)})
    problem = SearchProblem(cost, {DEVICE: cost.slowest(DEVICE)[1]})
    runs: list[Generations] = []
    times: list[float] = []
    with ray_session(num_cpus=1):
        for num_workers in (1, 2):
            pool = RayPool(make_make_measure(args.seconds), num_workers=num_workers, cpus_per_worker=0.5)
            run, wall_s = search(WarmPool(pool, [space.smallest()] * 8), problem, args.batch)
            pool.close()
            runs.append(run)
            times.append(wall_s)
            overhead = wall_s * num_workers / len(run.history) - args.seconds
            print(f"{num_workers} worker(s): {len(run.history)} evaluations in {wall_s:.2f} s;", end=" ")
            print(f"{1000 * overhead:.0f} ms of a worker's time an evaluation beside the {args.seconds:g} s")
    same = runs[0].history.genomes.tolist() == runs[1].history.genomes.tolist()
    print(f"speed-up of two workers over one: {times[0] / times[1]:.2f}; same evaluations: {same}")


if __name__ == "__main__":
    main()
