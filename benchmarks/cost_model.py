"""The cost model: genomes a second on one core, against adding up operator by operator; memory; time to compile.

    python benchmarks/cost_model.py

CPU time, median of the rounds, so that the figures are one core's also on a busy machine. "Operator by operator" lists
each network's operators and looks every one up; it starts from architectures, the cost model from genomes. Memory is
what an evaluation allocates at its peak, its results included (three arrays of 8 bytes a genome) and the genomes not.
"""

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.table import shipped_tables
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace

DEVICE = "raspberry_pi_4b"
ONE_BY_ONE = 1000
BATCHES = (100, 1000, 10_000, 200_000)
MEMORY_BATCHES = (10_000, 1_000_000)


def seconds(call: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return statistics.median(times)


def add_operators(archs: list[Arch], table: LatencyTable) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return MACs, parameters and latency of each network, shape (n, 3)."""
    costs = np.zeros((len(archs), 3))
    for row, arch in enumerate(archs):
        for operator in operators_of(arch):
            costs[row] += operator.macs, operator.params, table.lookup(operator).ms
    costs[:, 2] = table.network_ms(costs[:, 2])
    return costs


def compare(cost: CostModel, rounds: int) -> None:
    """Print the speed, and how far the two ways differ."""
    table = cost.tables[DEVICE]
    genomes = cost.codec.sample(BATCHES[-1], np.random.default_rng(0))
    archs = cost.codec.decode_many(genomes[:ONE_BY_ONE])
    expected = add_operators(archs, table)
    found = np.stack(list(cost.evaluate(genomes[:ONE_BY_ONE]).values()), axis=1)
    error = np.abs(found / expected - 1).max(axis=0)
    peaks = [measure_complexity(arch).peak_activation_bytes for arch in archs]
    exact = np.array_equal(cost.peak_memory_bytes(genomes[:ONE_BY_ONE]), peaks)
    slow = ONE_BY_ONE / seconds(lambda: add_operators(archs, table), 3)
    for n in BATCHES:
        cost.evaluate(genomes[:n])
        fast = n / seconds(lambda n=n: cost.evaluate(genomes[:n]), rounds)  # type: ignore[misc]
        print(f"    {n:7d} at once  {fast:10,.0f} genomes/s  {fast / slow:6,.0f} x {slow:,.0f} one by one")
    print(f"    greatest relative difference: MACs {error[0]:g}, params {error[1]:g}, latency {error[2]:.1e}")
    print(f"    peak activation memory {'equal' if exact else 'DIFFERS'}")


def measure_other_questions(space: SearchSpace, rounds: int) -> None:
    """Print the speed of each question that a search asks."""
    tables = {name: LatencyTable.load(name) for name in shipped_tables()}
    cost = CostModel(space, tables=tables)
    genomes: Genomes = cost.codec.sample(BATCHES[-1], np.random.default_rng(0))
    budget_ms = float(np.median(cost.latency_ms(genomes, DEVICE)))
    questions: dict[str, Callable[[], object]] = {
        f"latency of {len(tables)} devices, MACs, params": lambda: cost.evaluate(genomes),
        "latency of one device": lambda: cost.latency_ms(genomes, DEVICE),
        "its interval": lambda: cost.latency_interval(genomes, DEVICE),
        "probability within a budget": lambda: cost.probability_within(genomes, DEVICE, budget_ms),
        "peak activation memory": lambda: cost.peak_memory_bytes(genomes),
    }
    for name, question in questions.items():
        question()
        print(f"    {name:35s} {len(genomes) / seconds(question, rounds):10,.0f} genomes/s")
    for name, extreme in (("latency", cost.fastest), ("MACs", lambda _: cost.least("macs"))):
        print(f"    least {name:29s} {1000 * seconds(lambda e=extreme: e(DEVICE), rounds):10.1f} ms")  # type: ignore[misc]


def measure_memory(cost: CostModel) -> None:
    for n in MEMORY_BATCHES:
        genomes = cost.codec.sample(n, np.random.default_rng(0))
        for name, question in (("evaluate", cost.evaluate), ("peak_memory_bytes", cost.peak_memory_bytes)):
            tracemalloc.start()
            question(genomes)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            print(f"    {name} of {n:9,d} genomes allocates {peak / 2**20:6.1f} MiB")


def measure_compilation(space: SearchSpace, table: LatencyTable, rounds: int) -> None:
    first, later = (
        seconds(lambda: CostModel(space, tables={DEVICE: table}), repetitions) for repetitions in (1, rounds)
    )
    print(f"{space.name} compiles in {1000 * first:.0f} ms, the next in the process in {1000 * later:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    table = LatencyTable.load(DEVICE)
    for space in PRESETS.values():
        measure_compilation(space, table, args.rounds)
        compare(CostModel(space, tables={DEVICE: table}), args.rounds)
    litepose = SearchSpace.preset("litepose")
    print("litepose")
    measure_other_questions(litepose, args.rounds)
    measure_memory(CostModel(litepose, tables={DEVICE: table}))


if __name__ == "__main__":
    main()
