"""Tables of devices that are not at hand: class models calibrated to published latencies of whole networks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables.estimation.calibration import (
    Calibration,
    CalibrationPrior,
    LeaveOneOut,
    fit_calibration,
    leave_one_out,
)
from litepose_ofa.latency_tables.estimation.convolution_models import ConvolutionModel, DeviceModel
from litepose_ofa.latency_tables.estimation.reference_networks import reference_network
from litepose_ofa.latency_tables.metadata import TableMetadata
from litepose_ofa.latency_tables.table import LatencyTable
from litepose_ofa.supernet.archs.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from litepose_ofa.supernet.archs.operators import Convolution, Operator, operators_of
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_yaml

ESTIMATES_PATH = Path(__file__).parent / "estimates.yaml"
CLASS_MODELS_PATH = Path(__file__).parent / "class_models.yaml"
LITEPOSE_SOURCE = (
    "whole networks: Wang et al., Lite Pose (arXiv:2205.01271) and mit-han-lab/litepose (MIT); LitePose-L from a chart"
)

ClassModels = Mapping[str, Any]
"""The content of ``class_models.yaml``."""


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


@dataclass(frozen=True, slots=True)
class ReferenceTiming:
    """A network of ``reference_networks.yaml``, who or what timed it on the device, and its latency in ms."""

    network: str
    timed_with: str
    ms: float


@dataclass(frozen=True)
class DeviceEstimate:
    """The models of one device, calibrated to published networks where there are any.

    Attributes:
        device: Its name.
        model: The class models.
        prior: What the calibration starts from.
        published_ms: Latency of the LitePose networks that were timed on it, by name.
        references: Networks of other families that were timed on it; nothing is fitted to them.
        description: The descriptive fields of ``TableMetadata``.
    """

    device: str
    model: DeviceModel
    prior: CalibrationPrior
    published_ms: Mapping[str, float]
    references: tuple[ReferenceTiming, ...]
    description: Mapping[str, Any]

    @classmethod
    def of(cls, device: str, class_models: ClassModels | None = None) -> "DeviceEstimate":
        """Return the estimate of a device.

        Args:
            device: One of ``estimated_devices``.
            class_models: The shipped ones, or those of ``refit_class_models``.

        Raises:
            InputError: If the device is unknown; the message lists the known ones.
        """
        if device not in estimated_devices():
            raise InputError(f"unknown device {device!r}; known: {', '.join(estimated_devices())}")
        class_models = class_models or shipped_class_models()
        estimates = _estimates()
        entry = estimates["devices"][device]
        described = ("processor", "runtime", "runtime_provenance", "threads", "precision", "clocks")
        return cls(
            device=device,
            model=_device_model(entry, class_models, estimates["depthwise_ratios_from"]),
            prior=CalibrationPrior(**estimates["prior"], with_constant=entry["with_constant"]),
            published_ms=entry["published_ms"],
            references=tuple(
                ReferenceTiming(network, timings["timed_with"], ms)
                for timings in entry["reference"]
                for network, ms in timings["ms"].items()
            ),
            description={
                **{key: entry[key] for key in described},
                "notes": f"{entry['notes']} {estimates['limits']}" if entry["published_ms"] else entry["notes"],
                "date": estimates["date"],
                "sources": _sources(entry, class_models, estimates["depthwise_ratios_from"]),
            },
        )

    @cached_property
    def calibration(self) -> Calibration:
        """The fit on all published networks; the class models as they are where there are none."""
        if not self.published_ms:
            return Calibration(dict.fromkeys(self.prior.multiplier_spread, 1.0), 0.0)
        return fit_calibration(self._class_ms, self._known_ms, self.prior)

    @cached_property
    def validation(self) -> LeaveOneOut:
        """The fits without each network in turn; the errors on the reference networks where nothing was fitted."""
        if not self.published_ms:
            return LeaveOneOut(self.reference_errors, 0.0)
        return leave_one_out(self._class_ms, self._known_ms, self.prior)

    @cached_property
    def fit_errors(self) -> Mapping[str, float]:
        """Relative error on each published network, by name."""
        if not self.published_ms:
            return {}
        return _by_name(self.published_ms, self.calibration.network_ms(self._class_ms) / self._known_ms - 1)

    @cached_property
    def left_out_errors(self) -> Mapping[str, float]:
        """Relative error on each network that sets the error bar, by a fit that did not see it, by name."""
        names = self.published_ms or [f"{timing.network}, {timing.timed_with}" for timing in self.references]
        return _by_name(names, self.validation.errors)

    @cached_property
    def reference_errors(self) -> NDArray[np.float64]:
        """Relative errors on the reference networks, shape (N,)."""
        known_ms = np.array([timing.ms for timing in self.references])
        class_ms = self._classes_of(reference_network(timing.network) for timing in self.references)
        errors: NDArray[np.float64] = self.calibration.network_ms(class_ms) / known_ms - 1
        return errors

    def table(self, operators: Iterable[Operator]) -> LatencyTable:
        """Estimate the given operators."""
        multipliers = self.calibration.multipliers
        rows = {operator: self.model.operator_latency(operator, multipliers) for operator in operators}
        return LatencyTable(self._metadata, rows)

    @cached_property
    def _metadata(self) -> TableMetadata:
        return TableMetadata(
            device=self.device,
            made_by="litepose estimate-tables",
            provenance="calibrated-estimate",
            network_constant_ms=round(self.calibration.constant_ms, 4),
            network_constant_spread_ms=round(self.validation.constant_spread_ms, 4),
            network_residual=round(self.validation.residual, 4),
            fit_errors={name: round(error, 4) for name, error in self.fit_errors.items()},
            validation_errors={name: round(error, 4) for name, error in self.left_out_errors.items()},
            **self.description,
        )

    @cached_property
    def _class_ms(self) -> NDArray[np.float64]:
        archs = published_networks()
        return self._classes_of(convolutions_of(archs[name]) for name in self.published_ms)

    @cached_property
    def _known_ms(self) -> NDArray[np.float64]:
        return np.array(list(self.published_ms.values()), dtype=float)

    def _classes_of(self, networks: Iterable[Iterable[Convolution]]) -> NDArray[np.float64]:
        return np.stack([self.model.class_ms(network, self.prior.multiplier_spread) for network in networks])


def convolutions_of(arch: Arch) -> list[Convolution]:
    """List the convolutions of a network in the order they run."""
    return [convolution for operator in operators_of(arch) for convolution in operator.convolutions]


@cache
def shipped_class_models() -> ClassModels:
    """Read the class models that the shipped tables were made with."""
    value: ClassModels = read_yaml(CLASS_MODELS_PATH)
    return value


@cache
def _estimates() -> dict[str, Any]:
    value: dict[str, Any] = read_yaml(ESTIMATES_PATH)
    return value


def _by_name(names: Iterable[str], errors: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(names, errors.tolist(), strict=True))


def _device_model(entry: Mapping[str, Any], class_models: ClassModels, ratios_from: str) -> DeviceModel:
    kernels = _models(class_models[ratios_from]["models"])
    ratios = {
        stride: {
            kernel: model.ms_per_mmac * kernel**2 / (kernels["depthwise", 3, stride].ms_per_mmac * 3**2)
            for (kind, kernel, model_stride), model in kernels.items()
            if (kind, model_stride) == ("depthwise", stride)
        }
        for stride in (1, 2)
    }
    fitted = class_models[entry["class_models"]]
    return DeviceModel(
        models=_models(fitted["models"]),
        transposed_work=entry["transposed_work"],
        transposed_mape=entry.get("transposed_mape"),
        depthwise_ratios=ratios,
        map_tile=fitted.get("map_tile", 1),
    )


def _models(fitted: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int, int], ConvolutionModel]:
    return {
        (item["kind"], kernel, stride): ConvolutionModel(
            **{name: value for name, value in item.items() if name in _MODEL_FIELDS}
        )
        for item in fitted
        for kernel in item["kernels"]
        for stride in item["strides"]
    }


_MODEL_FIELDS = {field.name for field in fields(ConvolutionModel)}


def _sources(entry: Mapping[str, Any], class_models: ClassModels, ratios_from: str) -> tuple[str, ...]:
    fitted = class_models[entry["class_models"]]
    kernels = {kernel for item in fitted["models"] if item["kind"] == "depthwise" for kernel in item["kernels"]}
    errors = dict.fromkeys(f"{item['kind']} {item['mape']:.1%}" for item in fitted["models"])
    return (
        *([LITEPOSE_SOURCE] if entry["published_ms"] else []),
        f"class models: {fitted['source']}; error held out ({fitted['held_out']}): {', '.join(errors)}",
        *([f"depthwise kernels above 3: {class_models[ratios_from]['source']}"] if kernels == {3} else []),
        *entry.get("sources", []),
    )
