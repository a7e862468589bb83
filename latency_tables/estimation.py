"""Rows of the estimated tables: an operator is the sum of its convolutions, each a linear model of its work.

The models of ``convolution_models.yaml`` were fitted to public measurements and calibrated to published latencies of
whole networks by ``benchmarks/class_models``. M in a name means 10^6 at batch 1.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from litepose_ofa.latency_tables.rows import MAPE_TO_SIGMA, OperatorLatency, significant
from litepose_ofa.latency_tables.table import LatencyTable
from litepose_ofa.supernet.archs.operators import Convolution, Operator
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_yaml

MODELS_PATH = Path(__file__).parent / "convolution_models.yaml"

ConvolutionKey = tuple[str, int, int]
"""Kind, kernel and stride."""


def amounts_of(convolution: Convolution) -> dict[str, float]:
    """Return what a convolution computes and moves, by the name of its cost in milliseconds."""
    c = convolution
    return {
        "overhead_ms": 1.0,
        "ms_per_mmac": c.macs / 1e6,
        "ms_per_minput": c.in_channels * c.in_size**2 / 1e6,
        "ms_per_moutput": c.out_channels * c.out_size**2 / 1e6,
        "ms_per_mweight": c.weights / 1e6,
    }


def tiled(convolution: Convolution, tile: int) -> Convolution:
    """Return a convolution with its map sides rounded up to whole tiles."""
    in_size, out_size = (math.ceil(size / tile) * tile for size in (convolution.in_size, convolution.out_size))
    return replace(convolution, in_size=in_size, out_size=out_size)


@dataclass(frozen=True, slots=True)
class ConvolutionModel:
    """Latency of a convolution with its batch norm and activation fused, linear in what it computes and moves.

    Attributes:
        mape: Mean absolute relative error on convolutions that the fit did not see.
        costs: Milliseconds by the names of ``amounts_of``; an absent cost is 0.
    """

    mape: float
    costs: Mapping[str, float]

    def ms(self, convolution: Convolution) -> float:
        """Return the latency in ms."""
        amounts = amounts_of(convolution)
        return sum(cost * amounts[name] for name, cost in self.costs.items())


@dataclass(frozen=True)
class DeviceModel:
    """The convolution models of one device.

    Attributes:
        map_tile: Side of the tiles that maps are computed in; a part of a tile costs a whole one.
    """

    models: Mapping[ConvolutionKey, ConvolutionModel]
    map_tile: int = 1

    def convolution_ms(self, convolution: Convolution) -> tuple[float, float]:
        """Return the latency of a convolution in ms and its relative error (one sigma).

        Raises:
            InputError: If there is no model for a convolution of this kind, kernel and stride.
        """
        c = convolution
        stride = round(max(c.in_size, c.out_size) / min(c.in_size, c.out_size))
        model = self.models.get((c.kind, c.kernel, stride))
        if model is None:
            known = sorted({key[:2] for key in self.models})
            raise InputError(
                f"no latency model for a {c.kind} convolution of kernel {c.kernel} and stride {stride}; there are "
                f"{', '.join(f'{kind} {kernel}' for kind, kernel in known)}"
            )
        return model.ms(tiled(c, self.map_tile)), model.mape * MAPE_TO_SIGMA

    def operator_latency(self, operator: Operator) -> OperatorLatency:
        """Estimate an operator from its convolutions, whose errors count as independent."""
        parts = [self.convolution_ms(convolution) for convolution in operator.convolutions]
        variance = sum((sigma * ms) ** 2 for ms, sigma in parts)
        return OperatorLatency(significant(sum(ms for ms, _ in parts)), significant(math.sqrt(variance)), samples=0)


@cache
def device_models() -> Mapping[str, DeviceModel]:
    """Return the models of every device that has an estimated table."""
    models = {}
    for device, entry in read_yaml(MODELS_PATH).items():
        keys = [(item["kind"], item["kernel"], item["stride"]) for item in entry["models"]]
        fitted = [ConvolutionModel(item["mape"], item["costs"]) for item in entry["models"]]
        models[device] = DeviceModel(dict(zip(keys, fitted, strict=True)), entry["map_tile"])
    return models


def estimate_table(device: str, operators: Iterable[Operator]) -> LatencyTable:
    """Return a table of these operators, with the whole-network fit and the sources of the shipped estimate.

    Raises:
        InputError: If the device is unknown; the message lists the known ones.
    """
    if device not in device_models():
        raise InputError(f"unknown device {device!r}; known: {', '.join(device_models())}")
    model = device_models()[device]
    rows = {operator: model.operator_latency(operator) for operator in operators}
    return LatencyTable(LatencyTable.load(device).metadata, rows).with_metadata(made_by="litepose estimate-tables")
