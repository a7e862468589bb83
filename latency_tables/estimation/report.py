"""Estimates against published latencies: the calibrated networks, then networks of other families."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litepose_ofa.latency_tables.estimation.block_ratios import depthwise_ratio, expansion_ratio
from litepose_ofa.latency_tables.estimation.estimates import ClassModels, DeviceEstimate, published_networks
from litepose_ofa.latency_tables.estimation.public_data import cortex_a76_blocks, pi_blocks
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


def format_class_models(class_models: ClassModels) -> str:
    """Lay out, as text, what each class model was fitted to and its error on what was held out."""
    lines = [f"{'fitted on':12} {'convolutions':43} {'measurements':>12} {'groups':>6} {'fit':>7} {'held out':>8}"]
    for name, fitted in class_models.items():
        for item in fitted["models"]:
            what = f"{item['kind']}, kernels {item['kernels']}, strides {item['strides']}"
            counts = f"{item['samples']:12d} {item['groups']:6d}"
            lines.append(f"{name:12} {what:43} {counts} {item['fit_mape']:7.1%} {item['mape']:8.1%}")
    return "\n".join(lines)


def format_block_checks(folder: Path, class_models: ClassModels) -> str:
    """Lay out, as text, what kernels and expansions cost in measured blocks and in the models.

    Args:
        folder: Holds the CSVs that ``public_data`` reads.
        class_models: The models to check.
    """
    pi = DeviceEstimate.of("raspberry_pi_4b", class_models).model
    a76 = DeviceEstimate.of("snapdragon_855_cpu", class_models).model
    on_pi, on_a76 = pi_blocks(folder), [block for block in cortex_a76_blocks(folder) if block.is_plain]
    measured, ours = depthwise_ratio(on_pi, larger=5, smaller=3), pi.depthwise_ratios[1][5]
    checks = [
        ("Raspberry Pi 4", expansion_ratio(on_pi, pi, larger=larger, smaller=smaller), larger, smaller)
        for larger, smaller in ((3, 1), (6, 3))
    ] + [("Cortex-A76", expansion_ratio(on_a76, a76, larger=larger, smaller=3), larger, 3) for larger in (4, 6)]
    return "\n".join(
        [
            "costs of measured blocks against those of the models:",
            f"Raspberry Pi 4: depthwise kernel 5 over 3 {measured:.2f}, here {ours:.2f}",
            *(
                f"{where}: expansion {larger} over {smaller} {check.measured:.2f}, here {check.estimated:.2f} "
                f"(median of {check.pairs} pairs)"
                for where, check, larger, smaller in checks
            ),
        ]
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
