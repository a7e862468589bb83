"""Latency of one operator from models of its convolutions, by operator class.

Legend: an operator class is the kind of a convolution: ``conv`` (1x1, and the stem's 3x3), ``depthwise``,
``transposed``. M in a name means 10^6 at batch 1.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables.rows import OperatorLatency
from litepose_ofa.supernet.archs.operators import Convolution, Operator
from litepose_ofa.supernet.errors import InputError

MAPE_TO_SIGMA = math.sqrt(math.pi / 2)
"""Standard deviation over mean absolute deviation of a normal distribution."""

SIGNIFICANT_DIGITS = 4


def amounts_of(convolution: Convolution) -> dict[str, float]:
    """Return what a convolution computes and moves, by the name of the cost in ``ConvolutionModel``."""
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


def significant(value: float) -> float:
    """Round to the digits that a table and its models keep."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


@dataclass(frozen=True, slots=True)
class ConvolutionModel:
    """Latency of a convolution with its batch norm and activation fused, linear in what it computes and moves.

    Attributes:
        mape: Mean absolute relative error on convolutions that the fit did not see.
        overhead_ms: Cost of running it at all.
        ms_per_mmac: Per 10^6 multiply-accumulates.
        ms_per_minput: Per 10^6 input elements.
        ms_per_moutput: Per 10^6 output elements.
        ms_per_mweight: Per 10^6 weights.
    """

    mape: float
    overhead_ms: float = 0.0
    ms_per_mmac: float = 0.0
    ms_per_minput: float = 0.0
    ms_per_moutput: float = 0.0
    ms_per_mweight: float = 0.0

    def variable_ms(self, convolution: Convolution) -> float:
        """Return the latency in ms beyond the overhead."""
        amounts = amounts_of(convolution)
        return (
            self.ms_per_mmac * amounts["ms_per_mmac"]
            + self.ms_per_minput * amounts["ms_per_minput"]
            + self.ms_per_moutput * amounts["ms_per_moutput"]
            + self.ms_per_mweight * amounts["ms_per_mweight"]
        )


@dataclass(frozen=True)
class DeviceModel:
    """The class models of one device.

    Attributes:
        models: By convolution kind, kernel and stride.
        transposed_work: Factor on what the 1x1 model gives a transposed convolution beyond its overhead.
        transposed_mape: Error of that estimate where the factor is an assumption; None where whole networks set it.
        depthwise_ratios: Cost of a depthwise convolution over that of kernel 3, by stride and kernel; used where
            ``models`` has only kernel 3.
        map_tile: Side of the tiles that maps are computed in; a part of a tile costs a whole one.
    """

    models: Mapping[tuple[str, int, int], ConvolutionModel]
    transposed_work: float
    transposed_mape: float | None
    depthwise_ratios: Mapping[int, Mapping[int, float]]
    map_tile: int = 1

    def convolution_ms(self, convolution: Convolution) -> tuple[float, float]:
        """Return the latency of a convolution in ms before calibration, and its relative error (one sigma).

        Raises:
            InputError: If there is no model for a convolution of this kind, kernel and stride.
        """
        c, ratio, mape = convolution, 1.0, None
        key: tuple[str, int, int] = (c.kind, c.kernel, _stride(c))
        if c.kind == "transposed":
            key, ratio, mape = ("conv", 1, 1), self.transposed_work, self.transposed_mape
        elif key not in self.models:
            key, ratio, c = (c.kind, 3, _stride(c)), self._kernel_ratio(c), replace(c, kernel=3)
        model = self.models[key]
        sigma = (model.mape if mape is None else mape) * MAPE_TO_SIGMA
        return model.overhead_ms + ratio * model.variable_ms(tiled(c, self.map_tile)), sigma

    def class_ms(self, convolutions: Iterable[Convolution], classes: Iterable[str]) -> NDArray[np.float64]:
        """Sum the convolutions of a network by class, in ms before calibration, in the order of ``classes``."""
        totals = dict.fromkeys(classes, 0.0)
        for convolution in convolutions:
            totals[convolution.kind] += self.convolution_ms(convolution)[0]
        return np.array(list(totals.values()))

    def operator_latency(self, operator: Operator, multipliers: Mapping[str, float]) -> OperatorLatency:
        """Estimate an operator from its convolutions, each times its class's multiplier, their errors independent."""
        ms, variance = 0.0, 0.0
        for convolution in operator.convolutions:
            base_ms, sigma = self.convolution_ms(convolution)
            part = base_ms * multipliers[convolution.kind]
            ms, variance = ms + part, variance + (sigma * part) ** 2
        return OperatorLatency(significant(ms), significant(math.sqrt(variance)), samples=0)

    def _kernel_ratio(self, convolution: Convolution) -> float:
        ratios = self.depthwise_ratios.get(_stride(convolution), {})
        if convolution.kind != "depthwise" or convolution.kernel not in ratios:
            known = {key[:2] for key in self.models} | {("depthwise", kernel) for kernel in ratios}
            raise InputError(
                f"no latency model for a {convolution.kind} convolution of kernel {convolution.kernel} and stride "
                f"{_stride(convolution)}; there are {', '.join(f'{kind} {kernel}' for kind, kernel in sorted(known))}"
            )
        return ratios[convolution.kernel]


def _stride(convolution: Convolution) -> int:
    return round(convolution.in_size / convolution.out_size)
