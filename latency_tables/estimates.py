"""Tables of devices that are not at hand: class models calibrated to published latencies of whole networks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_tables.calibration import (
    Calibration,
    CalibrationPrior,
    LeaveOneOut,
    fit_calibration,
    leave_one_out,
)
from latency_tables.estimator import ConvolutionModel, DeviceModel
from latency_tables.metadata import TableMetadata
from latency_tables.table import LatencyEstimate, LatencyTable
from supernet.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from supernet.errors import InputError
from supernet.files import read_yaml
from supernet.operators import Operator, operators_of

ESTIMATES_PATH = Path(__file__).parent / "estimates.yaml"
LITEPOSE_SOURCE = (
    "whole networks: Wang et al., Lite Pose (arXiv:2205.01271) and mit-han-lab/litepose; LitePose-L from a chart"
)


def estimated_devices() -> list[str]:
    """Return the devices that a table can be estimated for."""
    return list(_estimates()["devices"])


def published_networks() -> dict[str, Arch]:
    """Return the networks whose latencies the LitePose paper gives, smallest first."""
    networks = _estimates()["networks"]
    block = BlockArch(networks["expansion"], networks["kernel"])
    return {
        name: Arch(
            widths["image_size"],
            widths["stem"],
            tuple(
                StageArch(channels, stride, (block,) * depth)
                for channels, stride, depth in zip(widths["stages"], STAGE_STRIDES, networks["depths"], strict=True)
            ),
            tuple(widths["deconvs"]),
        )
        for name, widths in networks["widths"].items()
    }


@dataclass(frozen=True)
class DeviceEstimate:
    """The models of one device, calibrated to the published networks.

    Attributes:
        device: Its name.
        model: The class models.
        prior: What the calibration starts from.
        published_ms: Latency by the name of the network.
        description: The descriptive fields of ``TableMetadata``.
    """

    device: str
    model: DeviceModel
    prior: CalibrationPrior
    published_ms: Mapping[str, float]
    description: Mapping[str, Any]

    @classmethod
    def of(cls, device: str) -> "DeviceEstimate":
        """Return the estimate of a device.

        Raises:
            InputError: If the device is unknown; the message lists the known ones.
        """
        if device not in estimated_devices():
            raise InputError(f"unknown device {device!r}; known: {', '.join(estimated_devices())}")
        estimates = _estimates()
        entry = estimates["devices"][device]
        described = ("processor", "runtime", "runtime_provenance", "threads", "precision", "clocks")
        return cls(
            device=device,
            model=_device_model(entry, estimates["depthwise_ms_per_mmac"]),
            prior=CalibrationPrior(**estimates["prior"], with_constant=entry["with_constant"]),
            published_ms=entry["published_ms"],
            description={
                **{key: entry[key] for key in described},
                "notes": f"{entry['notes']} {estimates['limits']}",
                "date": estimates["date"],
                "sources": (LITEPOSE_SOURCE, *entry["sources"]),
            },
        )

    @cached_property
    def calibration(self) -> Calibration:
        """The fit on all published networks."""
        return fit_calibration(self._class_ms, self._known_ms, self.prior)

    @cached_property
    def validation(self) -> LeaveOneOut:
        """The fits without each network in turn."""
        return leave_one_out(self._class_ms, self._known_ms, self.prior)

    def table(self, operators: Iterable[Operator]) -> LatencyTable:
        """Estimate the given operators."""
        multipliers = self.calibration.multipliers
        rows = {operator: self.model.operator_latency(operator, multipliers) for operator in operators}
        return LatencyTable(self._metadata, rows)

    @cached_property
    def _metadata(self) -> TableMetadata:
        fit_errors = self.calibration.network_ms(self._class_ms) / self._known_ms - 1
        return TableMetadata(
            device=self.device,
            made_by="scripts/build_latency_table.py",
            provenance="calibrated-estimate",
            network_constant_ms=round(self.calibration.constant_ms, 4),
            network_constant_spread_ms=round(self.validation.constant_spread_ms, 4),
            network_residual=round(self.validation.residual, 4),
            fit_errors=self._by_network(fit_errors),
            validation_errors=self._by_network(self.validation.errors),
            **self.description,
        )

    @cached_property
    def _class_ms(self) -> NDArray[np.float64]:
        classes = list(self.prior.multiplier_spread)
        archs = published_networks()
        return np.stack([self.model.class_ms(operators_of(archs[name]), classes) for name in self.published_ms])

    @cached_property
    def _known_ms(self) -> NDArray[np.float64]:
        return np.array(list(self.published_ms.values()), dtype=float)

    def _by_network(self, errors: NDArray[np.float64]) -> dict[str, float]:
        return {name: round(error, 4) for name, error in zip(self.published_ms, errors.tolist(), strict=True)}


@dataclass(frozen=True, slots=True)
class CalibrationCheck:
    """One published network against its estimate; the errors are relative."""

    network: str
    published_ms: float
    estimate: LatencyEstimate
    error: float
    left_out_error: float


def calibration_report(device: str) -> list[CalibrationCheck]:
    """Compare the estimates of the published networks on one device with what was published.

    Raises:
        InputError: If the device is unknown.
    """
    estimate = DeviceEstimate.of(device)
    archs = published_networks()
    table = estimate.table(operator for arch in archs.values() for operator in operators_of(arch))
    checks = []
    for name, published_ms in estimate.published_ms.items():
        answer = table.estimate(archs[name])
        left_out = table.metadata.validation_errors[name]
        checks.append(CalibrationCheck(name, published_ms, answer, answer.ms / published_ms - 1, left_out))
    return checks


def format_report(checks: Sequence[CalibrationCheck]) -> str:
    """Lay the checks out as a text table."""
    lines = [
        f"{'network':12} {'published ms':>12} {'estimate ms':>11} {'80 % interval':>15} {'error':>7} {'left out':>8}"
    ]
    for check in checks:
        interval = f"{check.estimate.low_ms:.1f}-{check.estimate.high_ms:.1f}"
        lines.append(
            f"{check.network:12} {check.published_ms:12.1f} {check.estimate.ms:11.1f} {interval:>15} "
            f"{check.error:+7.1%} {check.left_out_error:+8.1%}"
        )
    return "\n".join(lines)


@cache
def _estimates() -> dict[str, Any]:
    value: dict[str, Any] = read_yaml(ESTIMATES_PATH)
    return value


def _device_model(entry: Mapping[str, Any], depthwise_ms_per_mmac: Mapping[int, Mapping[int, float]]) -> DeviceModel:
    models = {}
    for item in entry["models"]:
        coefficients = {key: value for key, value in item.items() if key not in ("kind", "kernels")}
        for kernel in item["kernels"]:
            models[item["kind"], kernel] = ConvolutionModel(**coefficients)
    ratios = {
        stride: {kernel: cost * kernel**2 / (costs[3] * 3**2) for kernel, cost in costs.items()}
        for stride, costs in depthwise_ms_per_mmac.items()
    }
    return DeviceModel(models, entry["transposed_work"], ratios)
