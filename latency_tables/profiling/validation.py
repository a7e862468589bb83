"""A table against whole networks that were timed: errors, ranking, and how many fall inside its intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from litepose_ofa.latency_tables.profiling.fitting import FEWEST_NETWORKS
from litepose_ofa.latency_tables.profiling.measurements import Timing
from litepose_ofa.latency_tables.table import LatencyEstimate, LatencyTable
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError


@dataclass(frozen=True, slots=True)
class NetworkCheck:
    """One network: what the table says and what was measured.

    Attributes:
        measured_ms: Lower quartile over the rounds of one run of the kit.
        rounds_ms: The medians of its rounds.
    """

    arch: Arch
    estimate: LatencyEstimate
    measured_ms: float
    rounds_ms: tuple[float, ...]

    @property
    def error(self) -> float:
        """Relative error of the estimate, estimated / measured - 1."""
        return self.estimate.ms / self.measured_ms - 1

    @property
    def inside(self) -> bool:
        """Whether the measurement is inside the 80 % interval."""
        return self.estimate.low_ms <= self.measured_ms <= self.estimate.high_ms


@dataclass(frozen=True)
class ValidationReport:
    """A table against one run of a kit.

    Attributes:
        checks: Every network that was not used to fit the table.
        fitted: Number of networks left out because the table was fitted on them.
    """

    name: str
    checks: tuple[NetworkCheck, ...]
    fitted: int = 0

    @property
    def mape(self) -> float:
        """Mean absolute relative error."""
        return float(np.mean(np.abs([check.error for check in self.checks])))

    @property
    def bias(self) -> float:
        """Mean relative error: above 0 where the table says too much."""
        return float(np.mean([check.error for check in self.checks]))

    @property
    def spearman(self) -> float:
        """Rank correlation of estimated and measured latencies."""
        estimated, measured = zip(*((check.estimate.ms, check.measured_ms) for check in self.checks), strict=True)
        return float(spearmanr(estimated, measured).statistic)

    @property
    def inside(self) -> float:
        """Share of the networks inside their 80 % interval."""
        return float(np.mean([check.inside for check in self.checks]))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "run": self.name,
            "networks": len(self.checks),
            "fitted_networks_left_out": self.fitted,
            "mape": self.mape,
            "bias": self.bias,
            "spearman": self.spearman,
            "inside_80_percent_interval": self.inside,
            "checks": [
                {
                    "arch": check.arch.digest,
                    "image_size": check.arch.image_size,
                    "measured_ms": check.measured_ms,
                    "rounds_ms": list(check.rounds_ms),
                    "estimate": asdict(check.estimate),
                    "error": check.error,
                }
                for check in self.checks
            ],
        }


def validate(
    table: LatencyTable, networks: Mapping[Arch, Timing], *, num_keypoints: int, name: str = "measured"
) -> ValidationReport:
    """Compare a table with those of a run's networks that it was not fitted on.

    Raises:
        InputError: If fewer than three networks are left, or the table does not cover one of them.
    """
    held_out = {arch: timing for arch, timing in networks.items() if arch.digest not in table.metadata.fit_errors}
    if len(held_out) < FEWEST_NETWORKS:
        raise InputError(
            f"{name}: has {len(held_out)} networks that the table of {table.metadata.device} was not fitted on; "
            f"a validation needs at least {FEWEST_NETWORKS}"
        )
    checks = tuple(
        NetworkCheck(arch, table.estimate(arch, num_keypoints), timing.ms, timing.round_ms)
        for arch, timing in held_out.items()
    )
    return ValidationReport(name, checks, len(networks) - len(held_out))


def format_validation(reports: Sequence[ValidationReport]) -> str:
    """Lay reports out as text: a line a run, then a line a resolution and the five worst cases of the last run."""
    lines = [f"{'':24} {'networks':>8} {'MAPE':>6} {'bias':>7} {'Spearman':>8} {'inside 80 %':>11}"]
    last = reports[-1]
    image_size = attrgetter("arch.image_size")
    by_size = groupby(sorted(last.checks, key=image_size), key=image_size)
    sizes = [ValidationReport(f"{size} px", tuple(checks)) for size, checks in by_size]
    for report in (*reports, *sizes):
        spearman = f"{report.spearman:8.3f}" if len(report.checks) >= FEWEST_NETWORKS else " " * 8
        name, errors = f"{report.name[:24]:24}", f"{report.mape:6.1%} {report.bias:+7.1%}"
        lines.append(f"{name} {len(report.checks):8} {errors} {spearman} {report.inside:11.0%}")
    lines.append(f"worst of {last.name}:")
    lines += [
        f"  {check.arch.digest} at {check.arch.image_size} px: {check.measured_ms:.4g} ms measured, "
        f"{check.estimate.ms:.4g} ({check.estimate.low_ms:.4g} to {check.estimate.high_ms:.4g}) by the table, "
        f"{check.error:+.1%}"
        for check in sorted(last.checks, key=lambda check: -abs(check.error))[:5]
    ]
    return "\n".join(lines)


def format_fit(table: LatencyTable) -> str:
    """Say in a few lines how a table's whole networks follow from its operators, and how well."""
    meta = table.metadata
    lines = [
        f"network = {meta.network_constant_ms:g} ms + {meta.network_scale:g} x the sum of its operators; residual "
        f"{meta.network_residual:.1%} (one sigma)"
    ]
    for name, errors in (("fitted", meta.fit_errors), ("left out", meta.validation_errors)):
        if errors:
            sizes = np.abs(list(errors.values()))
            lines.append(f"{name} networks: {len(sizes)}, MAPE {sizes.mean():.1%}, worst {sizes.max():.1%}")
    if meta.fitted_rows_error is not None:
        lines.append(f"rows fitted, not measured: MAPE {meta.fitted_rows_error:.1%}, cross-validated")
    return "\n".join(lines)
