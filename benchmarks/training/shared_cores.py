"""What two trainings on the same cores cost each other, by how long their waiting threads spin.

    python benchmarks/training/shared_cores.py                        # 300000 is libgomp's own number, 0 sleeps at once

A sandwich step of ``tiny`` (128 px, batch 4) in one process, and in two at once, the variants in turns. Nothing else
should run: medians of one run, and their ratio, are what to read.
"""

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import time

import torch
from training_step import make_batch, our_step

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.recipe import Phase, SupernetPlan, WarmupCosine
from litepose_ofa.supernet.training.step import keep_freed_memory

SIZE = 128


def serve(threads: int) -> None:
    """Run as many steps as each line of standard input says; print the seconds of one."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.manual_seed(0)
    space = SearchSpace.preset("tiny")
    plan = SupernetPlan(space, (Phase("benchmark", 1, WarmupCosine(1e-3)),), 0)(0)
    subnets = {name: arch.with_image_size(SIZE) for name, arch in plan.subnets.items()}
    plan = dataclasses.replace(plan, image_size=SIZE, subnets=subnets)
    step = our_step(LitePoseSupernet(space), make_batch(4, SIZE, torch.device("cpu")), plan)
    step()
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            step()
        print((time.perf_counter() - began) / int(line), flush=True)


def start(threads: int, spins: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", "--threads", str(threads)],
        env=environment | {"GOMP_SPINCOUNT": spins},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def seconds_a_step(processes: list["subprocess.Popen[str]"], steps: int) -> float:
    for process in processes:
        assert process.stdin is not None
        print(steps, file=process.stdin, flush=True)
    return statistics.mean(float(process.stdout.readline()) for process in processes if process.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spins", nargs="+", default=["300000", "3000", "1000", "0"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.threads)
        return
    pairs = {spins: [start(args.threads, spins) for _ in range(2)] for spins in args.spins}
    alone: dict[str, list[float]] = {spins: [] for spins in pairs}
    both: dict[str, list[float]] = {spins: [] for spins in pairs}
    for _ in range(args.rounds):
        for spins, pair in pairs.items():
            alone[spins].append(seconds_a_step(pair[:1], args.steps))
            both[spins].append(seconds_a_step(pair, args.steps))
    for pair in pairs.values():
        for process in pair:
            process.communicate()
    print(f"{args.threads} threads a process, load {os.getloadavg()[0]:.1f}")
    for spins in pairs:
        one, two = statistics.median(alone[spins]), statistics.median(both[spins])
        print(
            f"GOMP_SPINCOUNT={spins:<7} alone {1000 * one:7.1f} ms, two at once {1000 * two:7.1f} ms: {two / one:.2f} x"
        )


if __name__ == "__main__":
    main()
