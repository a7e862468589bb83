"""Latency of one operator from models of its convolutions, by operator class.

Legend: an operator class is the kind of a convolution: ``conv`` (1x1, and the stem's 3x3), ``depthwise``,
``transposed``. M in a name means 10^6 at batch 1.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latency_tables.rows import OperatorLatency
from supernet.errors import InputError
from supernet.operators import Convolution, Operator

MAPE_TO_SIGMA = math.sqrt(math.pi / 2)
"""Standard deviation over mean absolute deviation of a normal distribution."""

SIGNIFICANT_DIGITS = 4


@dataclass(frozen=True, slots=True)
class ConvolutionModel:
    """Latency of a convolution with its batch norm and activation fused, linear in what it computes and moves.

    Attributes:
        overhead_ms: Cost of running it at all.
        ms_per_mmac: Per 10^6 multiply-accumulates.
        ms_per_minput: Per 10^6 input elements.
        ms_per_moutput: Per 10^6 output elements.
        ms_per_mweight: Per 10^6 weights.
        mape: Cross-validated mean absolute relative error of the model.
    """

    overhead_ms: float
    ms_per_mmac: float
    mape: float
    ms_per_minput: float = 0.0
    ms_per_moutput: float = 0.0
    ms_per_mweight: float = 0.0

    def variable_ms(self, convolution: Convolution) -> float:
        """Return the latency in ms beyond the overhead."""
        c = convolution
        inputs, outputs = c.in_channels * c.in_size**2, c.out_channels * c.out_size**2
        work = self.ms_per_mmac * c.macs + self.ms_per_mweight * c.weights
        return (work + self.ms_per_minput * inputs + self.ms_per_moutput * outputs) / 1e6


@dataclass(frozen=True)
class DeviceModel:
    """The class models of one device.

    Attributes:
        models: By convolution kind and kernel.
        transposed_work: Factor on what the 1x1 model gives a transposed convolution's multiply-accumulates.
        depthwise_ratios: Cost of a depthwise convolution over that of kernel 3, by stride and kernel; used where
            ``models`` has only kernel 3.
    """

    models: Mapping[tuple[str, int], ConvolutionModel]
    transposed_work: float
    depthwise_ratios: Mapping[int, Mapping[int, float]]

    def convolution_ms(self, convolution: Convolution) -> tuple[float, float]:
        """Return the latency of a convolution in ms before calibration, and its relative error (one sigma).

        Raises:
            InputError: If there is no model for a convolution of this kind and kernel.
        """
        c = convolution
        if c.kind == "transposed":
            key, ratio = ("conv", 1), self.transposed_work
        elif (c.kind, c.kernel) in self.models:
            key, ratio = (c.kind, c.kernel), 1.0
        else:
            key, ratio = (c.kind, 3), self._kernel_ratio(c)
            c = replace(c, kernel=3)
        model = self.models[key]
        return model.overhead_ms + ratio * model.variable_ms(c), model.mape * MAPE_TO_SIGMA

    def class_ms(self, operators: Iterable[Operator], classes: Iterable[str]) -> NDArray[np.float64]:
        """Sum the convolutions of a network by class, in ms before calibration, in the order of ``classes``."""
        totals = dict.fromkeys(classes, 0.0)
        for operator in operators:
            for convolution in operator.convolutions:
                totals[convolution.kind] += self.convolution_ms(convolution)[0]
        return np.array(list(totals.values()))

    def operator_latency(self, operator: Operator, multipliers: Mapping[str, float]) -> OperatorLatency:
        """Estimate an operator from its convolutions, each times its class's multiplier, their errors independent."""
        ms, variance = 0.0, 0.0
        for convolution in operator.convolutions:
            base_ms, sigma = self.convolution_ms(convolution)
            part = base_ms * multipliers[convolution.kind]
            ms, variance = ms + part, variance + (sigma * part) ** 2
        return OperatorLatency(_rounded(ms), _rounded(math.sqrt(variance)), samples=0)

    def _kernel_ratio(self, convolution: Convolution) -> float:
        ratios = self.depthwise_ratios.get(convolution.in_size // convolution.out_size, {})
        if convolution.kind != "depthwise" or convolution.kernel not in ratios:
            known = sorted({*self.models, *(("depthwise", kernel) for kernel in ratios)})
            raise InputError(
                f"no latency model for a {convolution.kind} convolution of kernel {convolution.kernel}; "
                f"there are {', '.join(f'{kind} {kernel}' for kind, kernel in known)}"
            )
        return ratios[convolution.kernel]


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
