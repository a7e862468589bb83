"""Latency tables: the time to load the shipped pairs, to estimate, and to interpolate; one core.

    python benchmarks/data/tables.py

A pair holds all operators of ``litepose``, ``litepose_released``, ``small`` and ``tiny`` with 14 and 17 keypoints.
CPU time, without imports. Interpolation: operators of ``litepose`` at image sizes that the tables do not have.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import coverage, space_operators
from litepose_ofa.latency_tables.table import SHIPPED_DIR, shipped_tables
from litepose_ofa.supernet.archs.space import SearchSpace

ESTIMATES, INTERPOLATIONS = 1000, 200
LITEPOSE = SearchSpace.preset("litepose")
BETWEEN = replace(LITEPOSE, image_sizes=(288, 352, 416, 480))


def seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def measure(name: str, rounds: int) -> None:
    rng = random.Random(0)
    archs = [LITEPOSE.sample(rng) for _ in range(ESTIMATES)]
    unknown = rng.sample(sorted(space_operators(BETWEEN) - space_operators(LITEPOSE), key=str), INTERPOLATIONS)
    table = LatencyTable.load(name)
    load_s = statistics.median(seconds(lambda: LatencyTable.load(name)) for _ in range(rounds))
    estimates_s = seconds(lambda: [table.estimate(arch) for arch in archs])
    coverage_s = seconds(lambda: coverage(table, LITEPOSE, 17))
    table.lookup(unknown[0])  # imports the solver
    interpolation_s = seconds(lambda: [table.lookup(operator) for operator in unknown]) / INTERPOLATIONS
    size_mb = sum((SHIPPED_DIR / f"{name}{suffix}").stat().st_size for suffix in (".csv", ".yaml")) / 1e6
    print(f"{name}: {len(table.rows)} operators, {size_mb:.2f} MB; load {1000 * load_s:.0f} ms")
    print(f"    load and {ESTIMATES} estimates {load_s + estimates_s:.2f} s; coverage of litepose {coverage_s:.2f} s")
    print(f"    {INTERPOLATIONS} operators interpolated, {1000 * interpolation_s:.1f} ms each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    for name in shipped_tables():
        measure(name, args.rounds)


if __name__ == "__main__":
    main()
