"""The inner evolution: candidates a second, predictor and costs included; and a sweep of whole searches.

    python benchmarks/inner_search.py

The space is ``litepose``. Candidates: under a latency budget, on a Gaussian process fitted to 300 subnets, two threads.
Sweep: ``search.py --multirun`` over three devices and four tiers by the published surrogate, in a process of its
own: start, tables, studies, files and all.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.evolution import EvolutionSettings
from litepose_ofa.search.strategies.strategies import SurrogateEvolution
from litepose_ofa.search.strategies.surrogates import LearnedSurrogate
from litepose_ofa.supernet.archs.space import SearchSpace

DEVICES, TIERS = ("snapdragon_855", "raspberry_pi_4b", "jetson_nano"), ("xs", "s", "m", "l")
BUDGET_MS = 588
SAMPLES = 300
SETTINGS = EvolutionSettings(population=500, generations=99)


def candidate_seconds(rounds: int) -> float:
    space = SearchSpace.preset("litepose")
    cost = CostModel(space, tables={"raspberry_pi_4b": LatencyTable.load("raspberry_pi_4b")})
    problem = SearchProblem(cost, {"raspberry_pi_4b": BUDGET_MS})
    genomes = cost.codec.sample(SAMPLES, np.random.default_rng(0))
    history = problem.evaluated(genomes, PublishedSurrogate(space).predict_ap(genomes))
    surrogate = LearnedSurrogate(space)
    model = surrogate.after(history)
    strategy = SurrogateEvolution(problem, surrogate, SETTINGS)
    times = []
    for seed in range(rounds):
        began = time.perf_counter()
        strategy.evolve(model, history, np.random.default_rng(seed))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def sweep_seconds() -> float:
    sweep = [f"device={','.join(DEVICES)}", f"tier={','.join(TIERS)}"]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "litepose_ofa",
            "search",
            "--multirun",
            *sweep,
            "space=litepose",
            "evaluator=published",
        ]
        began = time.perf_counter()
        subprocess.run([*command, f"workspace={folder}"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    candidates = SETTINGS.population * (SETTINGS.generations + 1)
    seconds = candidate_seconds(args.rounds)
    print(f"{candidates:,} candidates: {seconds:.2f} s, {candidates / seconds:,.0f} a second")
    print(f"{len(DEVICES) * len(TIERS)} searches, processes and files included: {sweep_seconds():.1f} s")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
