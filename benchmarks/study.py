"""What a persistent study costs: time a trial, memory, and whether a killed search ends as an uninterrupted one.

    python benchmarks/study.py [--storage sqlite:////tmp/studies.db --trials 500]

The search draws random architectures of ``litepose`` and has their AP from the published surrogate, which costs next to
nothing; the same in memory is taken off. Killed: ten times at random moments (SIGKILL), each time resumed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.evolution import EvolutionSettings
from litepose_ofa.search.strategies.strategies import RandomStrategy, Strategy, SurrogateEvolution
from litepose_ofa.search.strategies.surrogates import LearnedSurrogate
from litepose_ofa.search.study.generations import Generations, Progress, StopRule, StudySettings
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.supernet.archs.space import SearchSpace

SPACE = SearchSpace.preset("litepose")
KILLS = 10
KILLED_TRIALS = 1024


def make_study(storage: str, trials: int, *, learning: bool = False) -> SearchStudy:
    cost = CostModel(SPACE, tables={"raspberry_pi_4b": LatencyTable.load("raspberry_pi_4b")})
    problem = SearchProblem(cost, {"raspberry_pi_4b": 588})
    strategy: Strategy = RandomStrategy(problem)
    if learning:
        inner = EvolutionSettings(population=100, generations=20)
        strategy = SurrogateEvolution(problem, LearnedSurrogate(SPACE, most_samples=200), inner)
    stop = StopRule(generations=None, evaluations=trials)
    generations = Generations(problem, strategy, settings=StudySettings(64, 64), stop=stop)
    return SearchStudy(generations, PublishedSurrogate(SPACE), storage=storage)


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def overhead(storage: str, trials: int) -> None:
    seconds = {}
    marks: list[tuple[int, float]] = []

    def note(progress: Progress, history: History) -> None:
        marks.append((progress.evaluations, resident_mb()))

    for location, on_generation in ((storage, note), ("memory", None)):
        study = make_study(location, trials)
        began = time.perf_counter()
        study.run(on_generation)
        seconds[location] = time.perf_counter() - began
    first, last = marks[len(marks) // 10], marks[-1]
    growth_kb = 1024 * (last[1] - first[1]) / (last[0] - first[0])
    per_trial = {location: 1000 * each / trials for location, each in seconds.items()}
    print(f"{trials:,} trials: {per_trial[storage]:.2f} ms a trial in all, {per_trial['memory']:.2f} ms in memory")
    print(f"    resident {first[1]:.0f} MB after {first[0]:,}, {last[1]:.0f} MB at the end, {growth_kb:.1f} kB each")


def killed(kills: int) -> None:
    """Kill a search at random moments until it has been killed so often; compare how it ends."""
    expected = make_study("memory", KILLED_TRIALS, learning=True).run().history
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.log"
        ends = np.sort(rng.integers(1000, 2_600_000, kills))
        for end in ends.tolist():
            process = subprocess.Popen([sys.executable, __file__, "--search", str(path)])
            while process.poll() is None and not (path.exists() and path.stat().st_size >= end):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
            process.wait()
        history = make_study(str(path), KILLED_TRIALS, learning=True).run().history
    same = all(np.array_equal(getattr(history, name), getattr(expected, name)) for name in ("genomes", "ap"))
    twice = len(history) - len(np.unique(history.genomes, axis=0))
    print(f"killed {kills} times: {'the same' if same else 'ANOTHER'} front, {twice} trials twice")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--storage", default=None, help="a journal's path or a URL; default a temporary journal")
    parser.add_argument("--search", default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.search is not None:
        make_study(args.search, KILLED_TRIALS, learning=True).run()
        return
    with tempfile.TemporaryDirectory() as folder:
        overhead(args.storage or str(Path(folder) / "study.log"), args.trials)
    killed(KILLS)


if __name__ == "__main__":
    main()
