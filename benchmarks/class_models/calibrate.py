"""The estimated tables, made of class models and published latencies of whole networks.

    python benchmarks/class_models/calibrate.py OUTPUT

writes ``OUTPUT/convolution_models.yaml``, which is shipped as ``latency_tables/convolution_models.yaml``, and
``OUTPUT/tables/<device>.csv`` and ``.yaml``; then it prints the estimates beside the published latencies.
``class_models.yaml`` has the models of single convolutions, fitted by ``refit.py``; ``estimates.yaml`` the latencies.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from calibration import Calibration, CalibrationPrior, Floats, LeaveOneOut, fit_calibration, leave_one_out
from reference_networks import gmacs_as_published, published_gmacs, reference_network

from litepose_ofa.latency_tables import LatencyTable, TableMetadata
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.estimation import ConvolutionKey, ConvolutionModel, DeviceModel, amounts_of
from litepose_ofa.supernet.archs.operators import Convolution, Operator, operators_of
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import PRESETS
from litepose_ofa.supernet.files import read_yaml, write_text

FOLDER = Path(__file__).parent
ESTIMATES: dict[str, Any] = read_yaml(FOLDER / "estimates.yaml")
CLASS_MODELS: dict[str, Any] = read_yaml(FOLDER / "class_models.yaml")
PUBLISHED = {name.replace("search", "LitePose"): arch for name, arch in published_archs().items() if "search" in name}
LITEPOSE_SOURCE = (
    "whole networks: Wang et al., Lite Pose (arXiv:2205.01271) and mit-han-lab/litepose (MIT); LitePose-L from a chart"
)
DESCRIBED = ("processor", "runtime", "runtime_provenance", "threads", "precision", "clocks")
COSTS = tuple(amounts_of(Convolution("conv", 1, 1, 1, 1, 1)))

ClassModels = Mapping[str, Any]
"""The content of ``class_models.yaml``."""


@dataclass(frozen=True)
class ReferenceTiming:
    """A network of ``reference_networks.yaml``, who or what timed it on the device, its latency, and our error."""

    network: str
    timed_with: str
    ms: float
    error: float


@dataclass(frozen=True)
class CalibratedDevice:
    """The models of one device, calibrated to published networks where there are any.

    Attributes:
        model: The convolution models, each times its class's multiplier.
        published_ms: Latency of the LitePose networks that were timed on it, by name.
        fit_errors: Relative error on each of them, by name.
        validation: Fits without each of them in turn; the errors on the references where nothing was fitted.
        references: Networks of other families that were timed on it; nothing is fitted to them.
    """

    device: str
    model: DeviceModel
    calibration: Calibration
    published_ms: Mapping[str, float]
    fit_errors: Mapping[str, float]
    validation: LeaveOneOut
    references: tuple[ReferenceTiming, ...]

    @property
    def left_out_errors(self) -> dict[str, float]:
        """Relative error on each network that sets the error bar, by a fit that did not see it, by name."""
        names = self.published_ms or [f"{timing.network}, {timing.timed_with}" for timing in self.references]
        return dict(zip(names, self.validation.errors.tolist(), strict=True))

    def table(self, operators: Iterable[Operator]) -> LatencyTable:
        """Estimate the given operators."""
        metadata = TableMetadata(
            **_description(ESTIMATES["devices"][self.device]),
            device=self.device,
            made_by="benchmarks/class_models/calibrate.py",
            provenance="calibrated-estimate",
            network_constant_ms=round(self.calibration.constant_ms, 4),
            network_constant_spread_ms=round(self.validation.constant_spread_ms, 4),
            network_residual=round(self.validation.residual, 4),
            fit_errors={name: round(error, 4) for name, error in self.fit_errors.items()},
            validation_errors={name: round(error, 4) for name, error in self.left_out_errors.items()},
        )
        return LatencyTable(metadata, {operator: self.model.operator_latency(operator) for operator in operators})


def calibrate(device: str, class_models: ClassModels = CLASS_MODELS) -> CalibratedDevice:
    """Calibrate the class models of a device of ``estimates.yaml``."""
    entry = ESTIMATES["devices"][device]
    prior = CalibrationPrior(**ESTIMATES["prior"], with_constant=entry["with_constant"])
    model, published_ms = uncalibrated_model(device, class_models), entry["published_ms"]
    timed = [
        (network, timings["timed_with"], ms) for timings in entry["reference"] for network, ms in timings["ms"].items()
    ]
    calibration = Calibration(dict.fromkeys(prior.multiplier_spread, 1.0), 0.0)
    fit_errors, validation = {}, None
    if published_ms:
        known_ms = np.array(list(published_ms.values()), dtype=float)
        class_ms = _class_ms(model, prior, (convolutions_of(name) for name in published_ms))
        calibration, validation = fit_calibration(class_ms, known_ms, prior), leave_one_out(class_ms, known_ms, prior)
        errors = calibration.network_ms(class_ms) / known_ms - 1
        fit_errors = dict(zip(published_ms, errors.tolist(), strict=True))
    reference_ms = calibration.network_ms(_class_ms(model, prior, (reference_network(name) for name, _, _ in timed)))
    reference_errors = reference_ms / np.array([ms for _, _, ms in timed]) - 1
    return CalibratedDevice(
        device=device,
        model=_scaled(model, calibration.multipliers),
        calibration=calibration,
        published_ms=published_ms,
        fit_errors=fit_errors,
        validation=validation or LeaveOneOut(reference_errors, 0.0),
        references=tuple(
            ReferenceTiming(*timing, error) for timing, error in zip(timed, reference_errors.tolist(), strict=True)
        ),
    )


def uncalibrated_model(device: str, class_models: ClassModels = CLASS_MODELS) -> DeviceModel:
    """Return a device's class models, with those of larger kernels and of transposed convolutions derived from them."""
    entry = ESTIMATES["devices"][device]
    fitted = class_models[entry["class_models"]]
    models = _convolution_models(fitted)
    for (kernel, stride), ratio in depthwise_ratios(class_models).items():
        three = models["depthwise", 3, stride]
        shrink = {"ms_per_mmac": 9 / kernel**2, "ms_per_mweight": 9 / kernel**2, "overhead_ms": 1 / ratio}
        costs = {name: ratio * shrink.get(name, 1) * cost for name, cost in three.costs.items()}
        models.setdefault(("depthwise", kernel, stride), ConvolutionModel(three.mape, costs))
    pointwise, work = models["conv", 1, 1], entry["transposed_work"]
    costs = {name: cost if name == "overhead_ms" else work * cost for name, cost in pointwise.costs.items()}
    models["transposed", 4, 2] = ConvolutionModel(entry.get("transposed_mape", pointwise.mape), costs)
    return DeviceModel(models, fitted.get("map_tile", 1))


def depthwise_ratios(class_models: ClassModels = CLASS_MODELS) -> dict[tuple[int, int], float]:
    """Return the cost of a depthwise convolution over that of kernel 3, by kernel and stride."""
    models = _convolution_models(class_models[ESTIMATES["depthwise_ratios_from"]])
    mac_ms = {key[1:]: model.costs["ms_per_mmac"] for key, model in models.items() if key[0] == "depthwise"}
    return {(k, stride): ms * k**2 / (mac_ms[3, stride] * 3**2) for (k, stride), ms in mac_ms.items()}


def convolutions_of(network: str) -> list[Convolution]:
    """List the convolutions of a published LitePose in the order they run."""
    return [convolution for operator in operators_of(PUBLISHED[network]) for convolution in operator.convolutions]


def models_to_yaml(calibrated: Iterable[CalibratedDevice]) -> str:
    """Return the calibrated models as ``convolution_models.yaml`` has them."""
    content = {
        each.device: {
            "map_tile": each.model.map_tile,
            "models": [
                {"kind": kind, "kernel": kernel, "stride": stride, "mape": model.mape, "costs": dict(model.costs)}
                for (kind, kernel, stride), model in each.model.models.items()
            ],
        }
        for each in calibrated
    }
    header = (
        "# Written by benchmarks/class_models/calibrate.py; costs in ms of one, or of 10^6, of what their name says.\n"
    )
    return header + yaml.safe_dump(content, sort_keys=False, width=1000, default_flow_style=None)


def format_report(calibrated: CalibratedDevice) -> str:
    """Lay out, as text, the networks that a device was calibrated to, then those of other families."""
    lines = [
        f"{'network':21} {'published ms':>12} {'estimate ms':>11} {'error':>7}  {'80 % interval':>15} {'left out':>8}"
    ]
    table = calibrated.table(operator for name in calibrated.published_ms for operator in operators_of(PUBLISHED[name]))
    for name, ms in calibrated.published_ms.items():
        answer = table.estimate(PUBLISHED[name])
        interval = f"{answer.low_ms:.1f}-{answer.high_ms:.1f}"
        line = f"{name:21} {ms:12.1f} {answer.ms:11.1f} {answer.ms / ms - 1:+7.1%}"
        lines.append(f"{line}  {interval:>15} {calibrated.left_out_errors[name]:+8.1%}")
    lines.append("networks of other families, not fitted, with their GMACs, published GMACs, and who timed them:")
    for timing in calibrated.references:
        gmacs = gmacs_as_published(reference_network(timing.network))
        lines.append(
            f"{timing.network:21} {timing.ms:12.1f} {timing.ms * (1 + timing.error):11.1f} {timing.error:+7.1%}  "
            f"{gmacs:6.2f} {published_gmacs(timing.network):6.2f}  {timing.timed_with}"
        )
    others = float(np.sqrt(np.mean([timing.error**2 for timing in calibrated.references])))
    lines.append(
        f"root mean square error left out: {calibrated.validation.residual:.1%}; of other families: {others:.1%}"
    )
    return "\n".join(lines)


def _convolution_models(fitted: Mapping[str, Any]) -> dict[ConvolutionKey, ConvolutionModel]:
    return {
        (item["kind"], kernel, stride): ConvolutionModel(
            item["mape"], {name: item[name] for name in COSTS if name in item}
        )
        for item in fitted["models"]
        for kernel in item["kernels"]
        for stride in item["strides"]
    }


def _class_ms(model: DeviceModel, prior: CalibrationPrior, networks: Iterable[Iterable[Convolution]]) -> Floats:
    """Sum the convolutions of networks by class, in ms before calibration, shape (N, C)."""
    sums = []
    for network in networks:
        totals = dict.fromkeys(prior.multiplier_spread, 0.0)
        for convolution in network:
            totals[convolution.kind] += model.convolution_ms(convolution)[0]
        sums.append(list(totals.values()))
    return np.array(sums)


def _scaled(model: DeviceModel, multipliers: Mapping[str, float]) -> DeviceModel:
    return replace(
        model,
        models={
            key: replace(each, costs={name: multipliers[key[0]] * cost for name, cost in each.costs.items()})
            for key, each in model.models.items()
        },
    )


def _description(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the descriptive fields of ``TableMetadata``."""
    fitted = CLASS_MODELS[entry["class_models"]]
    kernels = {kernel for item in fitted["models"] if item["kind"] == "depthwise" for kernel in item["kernels"]}
    errors = dict.fromkeys(f"{item['kind']} {item['mape']:.1%}" for item in fitted["models"])
    ratios_source = CLASS_MODELS[ESTIMATES["depthwise_ratios_from"]]["source"]
    return {
        **{key: entry[key] for key in DESCRIBED},
        "notes": f"{entry['notes']} {ESTIMATES['limits']}" if entry["published_ms"] else entry["notes"],
        "date": ESTIMATES["date"],
        "sources": (
            *([LITEPOSE_SOURCE] if entry["published_ms"] else []),
            f"class models: {fitted['source']}; error held out ({fitted['held_out']}): {', '.join(errors)}",
            *([f"depthwise kernels above 3: {ratios_source}"] if kernels == {3} else []),
            *entry.get("sources", []),
        ),
    }


def main() -> None:
    """Calibrate every device, write, and print how well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    operators = set[Operator]().union(*(space_operators(space, k) for space in PRESETS.values() for k in (14, 17)))
    calibrated = [calibrate(device) for device in ESTIMATES["devices"]]
    write_text(output / "convolution_models.yaml", models_to_yaml(calibrated))
    for each in calibrated:
        each.table(operators).save(output / "tables" / each.device)
        print(f"\n{each.device}\n{format_report(each)}")


if __name__ == "__main__":
    main()
