"""Few-shot tables: the error on held-out networks of a host, by how many were measured and which table was scaled.

    python benchmarks/data/few_shot.py

``host_networks.jsonl`` has the timings, 62 networks of ``tiny`` and 47 of ``litepose``, random ones of
``litepose profile space=... sample=0 seed=11`` beside the smallest and the largest: AMD EPYC, ONNX Runtime 1.32.0,
float32, one thread; CPU time of the process, since the machine was busy; in eight interleaved rounds the median of
three runs (``tiny``: 30), of these the lower quartile. Rounds differ by 2 to 4 % (one standard deviation).

Each draw measures networks of one space drawn at random, and asks the calibrated table for 30 others. Then the slopes
between the shipped tables, on which the calibration's prior rests.
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.few_shot import SLOPES, TimedNetwork, calibrate_table, features_of
from litepose_ofa.latency_tables.profiling.fitting import fit_networks
from litepose_ofa.latency_tables.rows import KINDS
from litepose_ofa.latency_tables.table import shipped_tables
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import SearchSpace

HOST_NETWORKS = Path(__file__).with_name("host_networks.jsonl")
HELD_OUT = 30
SPACES = ("tiny", "litepose")
MEASURED = (3, 5, 10, 15, 20)


def host_networks(space: str) -> list[TimedNetwork]:
    """Return the recorded networks of a space."""
    lines = map(json.loads, HOST_NETWORKS.read_text(encoding="utf-8").splitlines())
    return [TimedNetwork(Arch.from_dict(each["arch"]), 14, each["ms"]) for each in lines if each["space"] == space]


def draws(networks: Sequence[TimedNetwork], count: int, number: int) -> Iterator[tuple[list[TimedNetwork], ...]]:
    """Yield so many random choices of measured and of held-out networks."""
    for seed in range(number):
        order = np.random.default_rng([seed, count]).permutation(len(networks))
        yield [networks[i] for i in order[:count]], [networks[i] for i in order[count : count + HELD_OUT]]


def held_out(table: LatencyTable, networks: Sequence[TimedNetwork]) -> tuple[float, float, float]:
    """Return a table's mean absolute relative error, the share inside the 80 % interval, and its mean half-width."""
    estimates = [table.estimate(network.arch, network.num_keypoints) for network in networks]
    known = [network.ms for network in networks]
    errors = [abs(estimate.ms / ms - 1) for estimate, ms in zip(estimates, known, strict=True)]
    inside = [estimate.low_ms <= ms <= estimate.high_ms for estimate, ms in zip(estimates, known, strict=True)]
    widths = [(estimate.high_ms - estimate.low_ms) / 2 / estimate.ms for estimate in estimates]
    return float(np.mean(errors)), float(np.mean(inside)), float(np.mean(widths))


def scale_and_constant(base: LatencyTable, networks: Sequence[TimedNetwork]) -> LatencyTable:
    """Return the base with a scale and a constant alone."""
    sums = [sum(base.lookup(o).ms for o in operators_of(n.arch, n.num_keypoints)) for n in networks]
    fit = fit_networks(np.array(sums), np.array([network.ms for network in networks]))
    return base.with_metadata(network_constant_ms=fit.constant_ms, network_scale=fit.scale)


def slopes() -> Mapping[str, float]:
    """Return the root mean squares of the slopes of log ms between two shipped tables, over what ``SPACES`` need.

    Blocks have two thirds of the weight, as in the time of networks, the other kinds a ninth each.
    """
    tables = [LatencyTable.load(name) for name in shipped_tables()]
    needed = {
        o for name, k in itertools.product(SPACES, (14, 17)) for o in space_operators(SearchSpace.preset(name), k)
    }
    operators = sorted(needed, key=str)
    kinds = np.array([operator.kind for operator in operators])
    weights = np.sqrt([(6 if kind == "bottleneck" else 1) / np.sum(kinds == kind) for kind in kinds])
    system = np.column_stack([np.ones(len(operators)), features_of(operators)]) * weights[:, None]
    logs = [np.log([table.rows[operator].ms for operator in operators]) * weights for table in tables]
    found = [np.linalg.lstsq(system, b - a, rcond=None)[0][1:] for a, b in itertools.combinations(logs, 2)]
    assert set(kinds) == set(KINDS)
    return dict(zip(SLOPES, np.sqrt(np.mean(np.square(found), axis=0)).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20)
    args = parser.parse_args()
    print("medians over the draws of MAPE (in brackets the ninth decile), left-out MAPE, half-width; mean of coverage")
    print("scale: MAPE of the base with a scale and a constant alone")
    print(f"{'space':9} {'base':19} {'measured':>8} {'MAPE':>15} {'scale':>7} {'left out':>9} {'80 %':>6} width")
    for space, name in itertools.product(SPACES, shipped_tables()):
        base, networks = LatencyTable.load(name), host_networks(space)
        for count in MEASURED:
            if count + HELD_OUT > len(networks):
                continue
            found, plain = [], []
            for measured, others in draws(networks, count, args.draws):
                table = calibrate_table(base, measured, device="host")
                left_out = float(np.mean(np.abs(list(table.metadata.validation_errors.values()))))
                found.append((*held_out(table, others), left_out))
                plain.append(held_out(scale_and_constant(base, measured), others)[0])
            mape, inside, width, left_out = np.array(found).T
            print(
                f"{space:9} {name:19} {count:8} {np.median(mape):7.1%} ({np.quantile(mape, 0.9):5.1%}) "
                f"{np.median(plain):7.1%} {np.median(left_out):9.1%} {np.mean(inside):6.0%} {np.median(width):5.1%}",
                flush=True,
            )
    print("slopes between shipped tables:", {feature: round(value, 2) for feature, value in slopes().items()})


if __name__ == "__main__":
    main()
