"""A table of one's own from the timings of a few whole networks, scaled from another device's table.

A row of the new table is the base's times a scale, which all rows share, and a factor of the operator's shape: how two
devices differ between kinds of operators, and with the side of the map, the width, the kernel and the stride. A few
networks cannot tell these apart, so each slope is drawn towards 0, as strongly as ``SLOPES`` says. To the rows comes a
constant a network. All of it is the mode of one posterior: slopes normal around 0, the constant normal around the
base's own and at least 0, the logarithms of the timings normal around those of the sums; timings and constant with
heavier tails, for networks that were disturbed and devices that are of another kind.

Legend: N networks, O operators of one of them, S slopes.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from litepose_ofa.latency_tables.rows import KINDS, OperatorLatency, significant
from litepose_ofa.latency_tables.table import LatencyTable
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, OperatorKind, operators_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, located

FEWEST_NETWORKS = 3
"""Left out in turn, fewer say nothing of other networks."""

SLOPES: Mapping[str, float] = {
    "stem": 0.37,
    "fusion_deconv": 1.37,
    "head": 0.14,
    "kernel": 0.27,
    "stride": 0.20,
    "resolution": 0.28,
    "width": 0.15,
    "resolution^2": 0.10,
    "width^2": 0.08,
    "resolution x width": 0.16,
    "tiles": 0.35,
}
"""One standard deviation of each slope between two devices: of log ms, over what ``features_of`` returns.

The root mean squares over the ten pairs of the shipped tables, which ``benchmarks/data/few_shot.py`` prints.
"""

MIDDLE_KERNEL, MIDDLE_RESOLUTION, MIDDLE_WIDTH = 5, 32, 64
"""Sizes from which the logarithms count, so that the factor of a kind compares it with blocks in the middle."""

TILE = 8
"""Side in pixels of the parts that some schedules cut maps into; a part of one costs a whole one."""

TYPICAL_ERROR = 0.03
"""One standard deviation of a network's error relative to its timing, as the measured ``host_cpu`` has it."""

TAIL = 2.0
"""Standard deviations from which on the errors of networks, and the constant, count by soft L1 rather than squared."""

CONSTANT_SPREAD = 0.1, 0.5
"""One standard deviation of the constant: this much of the fastest network, and of the base's own constant, scaled."""

OTHER_UNITS = 100.0
"""Timings that differ by more than this factor from the base's are of another unit rather than of another device."""

CANDIDATES = 1000
"""Networks that a spread is chosen from."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TimedNetwork:
    """A network, and what it takes on the device in ms."""

    arch: Arch
    num_keypoints: int
    ms: float


@dataclass(frozen=True)
class Scaling:
    """What makes one device's rows another's.

    Attributes:
        log_scale: Logarithm of the factor that all rows share.
        slopes: Shape (S,), in the order of ``SLOPES``.
        constant_ms: Of a network, at least 0.
    """

    log_scale: float
    slopes: Floats
    constant_ms: float

    def factors(self, features: Floats) -> Floats:
        """Return the factors of rows with features (O, S), shape (O,)."""
        factors: Floats = np.exp(self.log_scale + features @ self.slopes)
        return factors


@dataclass(frozen=True)
class _Operators:
    """The operators of one network by a base table: ms, shape (O,), and features, shape (O, S)."""

    ms: Floats
    features: Floats

    @classmethod
    def of(cls, base: LatencyTable, arch: Arch, num_keypoints: int) -> "_Operators":
        operators = operators_of(arch, num_keypoints)
        with located(f"network {arch.digest}"):
            ms = np.array([base.lookup(operator).ms for operator in operators])
        return cls(ms, features_of(operators))

    def scaled(self, scaling: Scaling) -> float:
        """Return the network's latency in ms."""
        return scaling.constant_ms + float(self.ms @ scaling.factors(self.features))


def features_of(operators: Sequence[Operator]) -> Floats:
    """Return what the factors of operators depend on, shape (O, S): kind, sizes to the second order, waste by tiles."""
    return np.array([_features(operator) for operator in operators], float)


def _features(o: Operator) -> tuple[float, ...]:
    is_block = o.kind == "bottleneck"
    resolution = math.log(o.resolution / MIDDLE_RESOLUTION)
    width = math.log(math.sqrt(o.in_channels * o.mid_channels) / MIDDLE_WIDTH)
    tiles = math.ceil(o.out_resolution / TILE)
    return (
        *(o.kind == kind for kind in ("stem", "fusion_deconv", "head")),
        math.log(o.kernel / MIDDLE_KERNEL) if is_block else 0.0,
        math.log(o.stride) if is_block else 0.0,
        resolution,
        width,
        resolution**2,
        width**2,
        resolution * width,
        2 * math.log(tiles * TILE / o.out_resolution),
    )


def calibrate_table(base: LatencyTable, networks: Sequence[TimedNetwork], **described: Any) -> LatencyTable:
    """Return the table of a device of which a few whole networks were timed.

    Its rows have no spread of their own: what they err by shows in networks that the fit did not see, and is the
    table's residual.

    Args:
        base: The table of a similar device.
        networks: At least ``FEWEST_NETWORKS``, no two alike.
        described: The device's name and the other fields of ``TableMetadata`` that only the user knows.

    Raises:
        InputError: If there are too few networks, the base can say nothing of an operator, or the timings are of
            another unit than ms.
    """
    if len(networks) < FEWEST_NETWORKS:
        raise InputError(f"{len(networks)} networks were timed; a calibration needs at least {FEWEST_NETWORKS}")
    parts = [_Operators.of(base, network.arch, network.num_keypoints) for network in networks]
    known = np.array([network.ms for network in networks])
    _require_ms(base, parts, known)
    fit = _fit(base, parts, known)
    others = [_fit(base, _without(parts, i), np.delete(known, i)) for i in range(len(known))]
    errors = np.array([part.scaled(fit) for part in parts]) / known - 1
    left_out = np.array([part.scaled(other) for part, other in zip(parts, others, strict=True)]) / known - 1
    digests = [network.arch.digest for network in networks]
    operators = list(base.rows)
    ms = fit.factors(features_of(operators)) * np.array([row.ms for row in base.rows.values()])
    rows = {operator: OperatorLatency(significant(each), 0.0, 0) for operator, each in zip(operators, ms, strict=True)}
    name = base.metadata.device
    metadata = base.metadata.model_copy(
        update={
            "provenance": "calibrated-estimate",
            "network_constant_ms": significant(fit.constant_ms),
            "network_constant_spread_ms": 0.0,
            "network_scale": 1.0,
            "network_residual": significant(float(np.sqrt(np.mean(left_out**2)))),
            "fit_errors": {digest: round(float(error), 4) for digest, error in zip(digests, errors, strict=True)},
            "validation_errors": {digest: round(float(e), 4) for digest, e in zip(digests, left_out, strict=True)},
            "fitted_rows_error": None,
            "interval_coverage": None,
            "sources": (f"{len(known)} whole networks timed on the device", f"table {name} ({base.digest})"),
            "notes": (
                f"Calibrated on {len(known)} whole networks: the rows are those of {name}, scaled, with factors for "
                "kind, size, kernel and stride as far as the networks ask for them. No operator was measured; what "
                "the rows err by is in the residual, which is of networks left out of the fit in turn."
            ),
            **described,
        }
    )
    return LatencyTable(metadata, rows)


def scales(base: LatencyTable, table: LatencyTable, networks: Sequence[TimedNetwork]) -> Mapping[OperatorKind, float]:
    """Return by kind how many times what they take in the base the operators of networks take in another table."""
    operators = [o for network in networks for o in operators_of(network.arch, network.num_keypoints)]
    by_kind = {kind: [o for o in operators if o.kind == kind] for kind in KINDS}
    return {
        kind: sum(table.lookup(o).ms for o in of_kind) / sum(base.lookup(o).ms for o in of_kind)
        for kind, of_kind in by_kind.items()
    }


def _require_ms(base: LatencyTable, parts: Sequence[_Operators], known: Floats) -> None:
    """Refuse timings that are of seconds or microseconds."""
    ratio = float(np.median(known / [base.network_ms(float(part.ms.sum())) for part in parts]))
    if not 1 / OTHER_UNITS <= ratio <= OTHER_UNITS:
        raise InputError(
            f"the timings are {ratio:.2g} times those of {base.metadata.device}; they must be in milliseconds, and "
            f"within a factor of {OTHER_UNITS:g} of the base's"
        )


def _without(parts: Sequence[_Operators], index: int) -> list[_Operators]:
    return [part for i, part in enumerate(parts) if i != index]


def _fit(base: LatencyTable, parts: Sequence[_Operators], known: Floats) -> Scaling:
    """Return the mode of the posterior, of networks that took ``known`` ms, shape (N,)."""
    ms, features = (np.concatenate(each) for each in zip(*((p.ms, p.features) for p in parts), strict=True))
    starts = np.cumsum([0, *(len(part.ms) for part in parts[:-1])])
    spreads, fastest = np.array(list(SLOPES.values())), float(known.min())
    base_constant = base.metadata.network_constant_ms / base.metadata.network_scale / fastest
    of_fastest, of_base = CONSTANT_SPREAD

    def scaling(x: Floats) -> Scaling:
        return Scaling(float(x[0]), x[1:-1], max(float(x[-1]), 0.0) * fastest)

    def residuals(x: Floats) -> Floats:
        estimated = scaling(x).constant_ms + np.add.reduceat(ms * scaling(x).factors(features), starts)
        expected = math.exp(x[0]) * base_constant
        constant = (x[-1] - expected) / (of_fastest + of_base * expected)
        heavy_tailed = np.array([*np.log(estimated / known) / TYPICAL_ERROR, constant])
        soft = heavy_tailed * np.sqrt(2 / (1 + np.hypot(1, heavy_tailed / TAIL)))
        return np.concatenate([soft, x[1:-1] / spreads])

    log_scale = float(np.median(np.log(known / (np.add.reduceat(ms, starts) + base_constant * fastest))))
    start = np.array([log_scale, *np.zeros(len(spreads)), math.exp(log_scale) * base_constant])
    lowest = np.array([*np.full(len(start) - 1, -np.inf), -1e-9])
    return scaling(least_squares(residuals, start, bounds=(lowest, np.inf)).x)


def spread_networks(space: SearchSpace, base: LatencyTable, count: int, num_keypoints: int, *, seed: int) -> list[Arch]:
    """Choose networks to time: evenly over the logarithm of their latency by a table, from the smallest to the largest.

    Returns:
        At most ``count`` architectures, the fastest first; fewer of a space that has not so many.

    Raises:
        InputError: If the table can say nothing of an operator of the space.
    """
    rng = random.Random(f"{seed}/{space.name}")
    candidates = {space.smallest(), space.largest(), *(_leaning(space, rng) for _ in range(CANDIDATES))}
    latency = {arch: math.log(base.estimate(arch, num_keypoints).ms) for arch in candidates}
    chosen: list[Arch] = []
    for place in np.linspace(min(latency.values()), max(latency.values()), min(count, len(latency))):
        arch = min(latency, key=lambda arch: (abs(latency[arch] - place), arch.digest))
        chosen.append(arch)
        del latency[arch]
    return sorted(chosen, key=lambda arch: base.estimate(arch, num_keypoints).ms)


def _leaning(space: SearchSpace, rng: random.Random) -> Arch:
    """Draw an architecture whose choices all lean to the small or to the large ones: uniform ones are all alike."""
    lean = rng.random()
    return space.assemble(lambda _, values: values[sum(rng.random() < lean for _ in values[1:])])
