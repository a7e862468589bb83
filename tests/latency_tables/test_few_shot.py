"""Tables from a few networks: known scalings are found again, and the measured networks of a host are met."""

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from litepose_ofa.latency_tables import LatencyTable, OperatorLatency
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.few_shot import (
    SLOPES,
    TimedNetwork,
    calibrate_table,
    features_of,
    scales,
    spread_networks,
)
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

TINY = SearchSpace.preset("tiny")
HOST_NETWORKS = Path(__file__).parents[2] / "benchmarks" / "data" / "host_networks.jsonl"
"""Measured ones; ``benchmarks/data/few_shot.py`` says how."""

HELD_OUT = 30


@cache
def host_networks(space: str) -> list[TimedNetwork]:
    lines = map(json.loads, HOST_NETWORKS.read_text().splitlines())
    return [TimedNetwork(Arch.from_dict(line["arch"]), 14, line["ms"]) for line in lines if line["space"] == space]


@cache
def base_table(name: str, space: str = "tiny") -> LatencyTable:
    """A shipped table with the rows of the host's networks alone, which is faster."""
    table = LatencyTable.load(name)
    needed = {o for network in host_networks(space) for o in operators_of(network.arch)}
    return LatencyTable(table.metadata, {operator: table.rows[operator] for operator in needed})


def timed(table: LatencyTable, archs: Sequence[Arch]) -> list[TimedNetwork]:
    """Networks as another table has them."""
    return [TimedNetwork(arch, 14, table.estimate(arch).ms) for arch in archs]


def tiny_archs(count: int) -> list[Arch]:
    rng = np.random.default_rng(0)
    return [network.arch for network in rng.permutation(np.array(host_networks("tiny"), object))[:count]]


def errors(table: LatencyTable, networks: Sequence[TimedNetwork]) -> np.ndarray:
    return np.array([table.estimate(network.arch).ms / network.ms - 1 for network in networks])


def another_device(base: LatencyTable, scale: float, slopes: Sequence[float], constant_ms: float) -> LatencyTable:
    factors = scale * np.exp(features_of(list(base.rows)) @ slopes)
    rows = {o: OperatorLatency(row.ms * f, 0, 1) for (o, row), f in zip(base.rows.items(), factors, strict=True)}
    return LatencyTable(base.metadata, rows).with_metadata(network_constant_ms=constant_ms)


def test_a_device_of_the_kind_that_is_assumed_is_found_again() -> None:
    base = base_table("raspberry_pi_4b")
    slopes = 0.7 * np.array(list(SLOPES.values())) * np.resize([1, -1, 1, 1], len(SLOPES))
    device, archs = another_device(base, 0.2, slopes, 0.03), tiny_archs(50)
    few = errors(calibrate_table(base, timed(device, archs[:6]), device="d"), timed(device, archs[20:]))
    many = errors(calibrate_table(base, timed(device, archs[:20]), device="d"), timed(device, archs[20:]))
    assert np.abs(many).mean() < 0.01 < np.abs(few).mean() < 0.1
    plain = timed(another_device(base, 0.2, np.zeros(len(SLOPES)), 0.0), archs)
    assert np.abs(errors(calibrate_table(base, plain[:3], device="d"), plain[3:])).max() < 1e-3


def test_a_constant_that_dwarfs_the_operators_is_found_and_one_of_the_base_is_kept() -> None:
    base = base_table("raspberry_pi_4b")
    device, archs = base.with_metadata(network_constant_ms=8.0), tiny_archs(30)
    table = calibrate_table(base, timed(device, archs[:12]), device="d")
    assert table.metadata.network_constant_ms == pytest.approx(8.0, rel=0.15)
    assert np.abs(errors(table, timed(device, archs[12:]))).mean() < 0.015
    slower = LatencyTable(base.metadata, {o: OperatorLatency(2 * r.ms, 0, 1) for o, r in base.rows.items()})
    slower = slower.with_metadata(network_constant_ms=16.0)
    assert calibrate_table(device, timed(slower, archs[:3]), device="d").metadata.network_constant_ms == pytest.approx(
        16.0, rel=0.02
    )


def test_the_unit_of_the_timings_does_not_matter_within_reason() -> None:
    base, networks = base_table("raspberry_pi_4b"), host_networks("tiny")[:8]
    tenfold = [TimedNetwork(network.arch, 14, 10 * network.ms) for network in networks]
    one, ten = (calibrate_table(base, given, device="d") for given in (networks, tenfold))
    assert [row.ms for row in ten.rows.values()] == pytest.approx([10 * row.ms for row in one.rows.values()], rel=2e-3)
    assert ten.metadata.network_constant_ms == pytest.approx(10 * one.metadata.network_constant_ms, rel=2e-2, abs=1e-3)


def test_one_disturbed_network_hardly_matters() -> None:
    base, networks = base_table("raspberry_pi_4b"), host_networks("tiny")
    disturbed = [*networks[1:12], TimedNetwork(networks[0].arch, 14, 2 * networks[0].ms)]
    assert np.abs(errors(calibrate_table(base, disturbed, device="d"), networks[12:])).mean() < 0.07


@pytest.mark.parametrize("space", ["tiny", "litepose"])
@pytest.mark.parametrize("name", ["raspberry_pi_4b", "snapdragon_855_cpu"])
def test_ten_networks_of_the_host_tell_thirty_others(name: str, space: str) -> None:
    base, networks = base_table(name, space), host_networks(space)
    mape, inside = [], []
    for seed in range(4):
        order = np.random.default_rng([seed, 10]).permutation(len(networks))
        table = calibrate_table(base, [networks[i] for i in order[:10]], device="host")
        others = [networks[i] for i in order[10 : 10 + HELD_OUT]]
        answers = [table.estimate(network.arch) for network in others]
        mape.append(np.abs(errors(table, others)).mean())
        inside += [a.low_ms <= network.ms <= a.high_ms for a, network in zip(answers, others, strict=True)]
    assert np.median(mape) <= 0.06
    assert 0.7 <= np.mean(inside) <= 0.9


def test_more_networks_tell_more() -> None:
    base, networks = base_table("snapdragon_855_cpu"), host_networks("tiny")
    mean = {}
    for count in (3, 10, 20):
        found = []
        for seed in range(2):
            order = np.random.default_rng(seed).permutation(len(networks))
            table = calibrate_table(base, [networks[i] for i in order[:count]], device="host")
            found.append(np.abs(errors(table, [networks[i] for i in order[20:]])).mean())
        mean[count] = np.mean(found)
    assert mean[20] < mean[10] < mean[3]


def test_what_the_table_says_of_itself() -> None:
    base, networks = base_table("raspberry_pi_4b"), host_networks("tiny")[5:12]
    table = calibrate_table(base, networks, device="mine", runtime="LiteRT 2.1")
    meta = table.metadata
    assert (meta.device, meta.runtime, meta.provenance) == ("mine", "LiteRT 2.1", "calibrated-estimate")
    assert meta.notes.startswith("Calibrated on 7 whole networks")
    assert meta.sources[1] == f"table raspberry_pi_4b ({base.digest})"
    assert list(meta.fit_errors) == [network.arch.digest for network in networks]
    assert list(meta.fit_errors.values()) == pytest.approx(errors(table, networks), abs=2e-4)
    left_out = errors(calibrate_table(base, networks[1:], device="mine"), networks[:1])
    assert next(iter(meta.validation_errors.values())) == pytest.approx(left_out[0], abs=2e-4)
    assert meta.network_residual == pytest.approx(
        math.sqrt(np.mean(np.square(list(meta.validation_errors.values())))), abs=1e-4
    )
    answer = table.estimate(networks[0].arch)
    assert answer.high_ms / answer.ms - 1 == pytest.approx(student.ppf(0.9, 6) * meta.network_residual, rel=1e-6)
    assert answer.unmeasured == len(operators_of(networks[0].arch))
    by_kind = scales(base, table, networks)
    stems = [next(o for o in operators_of(network.arch) if o.kind == "stem") for network in networks]
    assert by_kind["stem"] == pytest.approx(
        sum(table.rows[o].ms for o in stems) / sum(base.rows[o].ms for o in stems), rel=1e-9
    )


def test_what_is_refused() -> None:
    base, networks = base_table("raspberry_pi_4b"), host_networks("tiny")[:4]
    with pytest.raises(InputError, match=r"^2 networks were timed; a calibration needs at least 3$"):
        calibrate_table(base, networks[:2], device="d")
    seconds = [TimedNetwork(network.arch, 14, network.ms / 1000) for network in networks]
    with pytest.raises(
        InputError,
        match=r"^the timings are 0\.00025 times those of raspberry_pi_4b; they must be in milliseconds, and within",
    ):
        calibrate_table(base, seconds, device="d")
    other = [TimedNetwork(network.arch, 5, network.ms) for network in networks]
    with pytest.raises(InputError, match=rf"^network {networks[0].arch.digest}: .* has no row for head "):
        calibrate_table(base, other, device="d")


def test_a_spread_is_even_from_the_smallest_to_the_largest_and_the_same_every_time() -> None:
    table = LatencyTable.load("raspberry_pi_4b")
    base = LatencyTable(table.metadata, {o: table.rows[o] for o in space_operators(TINY)})
    archs = spread_networks(TINY, base, 8, 14, seed=0)
    logs = np.log([base.estimate(arch).ms for arch in archs])
    assert (archs[0], archs[-1]) == (TINY.smallest(), TINY.largest())
    assert logs == pytest.approx(np.linspace(logs[0], logs[-1], 8), abs=0.05)
    assert all(map(TINY.contains, archs))
    assert archs == spread_networks(TINY, base, 8, 14, seed=0)
    assert archs != spread_networks(TINY, base, 8, 14, seed=1)


def test_a_spread_of_a_small_space_is_all_of_it() -> None:
    space = TINY.restricted(["resolution"])
    assert spread_networks(space, LatencyTable.load("raspberry_pi_4b"), 5, 14, seed=0) == [
        space.smallest(),
        space.largest(),
    ]
