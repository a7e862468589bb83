"""Estimates against published latencies: the calibrated networks, then networks of other families."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from litepose_ofa.latency_tables.estimation.estimates import DeviceEstimate, published_networks
from litepose_ofa.latency_tables.estimation.reference_networks import (
    gmacs_as_published,
    published_gmacs,
    reference_network,
)
from litepose_ofa.latency_tables.table import LatencyEstimate
from litepose_ofa.supernet.archs.operators import operators_of


@dataclass(frozen=True, slots=True)
class CalibrationCheck:
    """One published network against its estimate; the errors are relative."""

    network: str
    published_ms: float
    estimate: LatencyEstimate
    error: float
    left_out_error: float


def calibration_checks(estimate: DeviceEstimate) -> list[CalibrationCheck]:
    """Compare the estimates of the networks that a device was calibrated to with what was published."""
    archs = published_networks()
    table = estimate.table(operator for arch in archs.values() for operator in operators_of(arch))
    checks = []
    for name, published_ms in estimate.published_ms.items():
        answer = table.estimate(archs[name])
        error, left_out = answer.ms / published_ms - 1, estimate.left_out_errors[name]
        checks.append(CalibrationCheck(name, published_ms, answer, error, left_out))
    return checks


def format_report(estimate: DeviceEstimate) -> str:
    """Lay out, as text, the networks that a device was calibrated to, then those of other families."""
    calibrated = calibration_checks(estimate)
    return "\n".join(
        [
            *(_calibration_lines(calibrated) if calibrated else []),
            "networks of other families, not fitted:",
            *_reference_lines(estimate),
            _expectation(estimate),
        ]
    )


def _expectation(estimate: DeviceEstimate) -> str:
    """Say of which networks how large an error is to be expected: those fitted to are all of one family."""
    others = float(np.sqrt(np.mean(estimate.reference_errors**2)))
    if not estimate.published_ms:
        return f"relative error to expect of a network not seen: {others:.1%}"
    return (
        f"relative error to expect of a LitePose network not seen: {estimate.validation.residual:.1%} "
        f"(of those of other families, above: {others:.1%})"
    )


def _calibration_lines(checks: Sequence[CalibrationCheck]) -> list[str]:
    lines = [
        f"{'network':21} {'published ms':>12} {'estimate ms':>11} {'80 % interval':>15} {'error':>7} {'left out':>8}"
    ]
    for check in checks:
        interval = f"{check.estimate.low_ms:.1f}-{check.estimate.high_ms:.1f}"
        lines.append(
            f"{check.network:21} {check.published_ms:12.1f} {check.estimate.ms:11.1f} {interval:>15} "
            f"{check.error:+7.1%} {check.left_out_error:+8.1%}"
        )
    return lines


def _reference_lines(estimate: DeviceEstimate) -> list[str]:
    lines = [
        f"{'network':21} {'published ms':>12} {'estimate ms':>11} {'error':>7} {'GMACs':>6} {'published':>9}  timed by"
    ]
    for timing, error in zip(estimate.references, estimate.reference_errors.tolist(), strict=True):
        gmacs = gmacs_as_published(reference_network(timing.network))
        lines.append(
            f"{timing.network:21} {timing.ms:12.1f} {timing.ms * (1 + error):11.1f} {error:+7.1%} {gmacs:6.2f} "
            f"{published_gmacs(timing.network):9.2f}  {timing.timed_with}"
        )
    return lines
