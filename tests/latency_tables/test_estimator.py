"""Class models against sums by hand."""

import math

import numpy as np
import pytest

from latency_tables.estimator import ConvolutionModel, DeviceModel
from supernet.errors import InputError
from supernet.operators import Convolution, Operator

POINTWISE = ConvolutionModel(0.5, 2.0, mape=0.1, ms_per_minput=3.0, ms_per_moutput=5.0, ms_per_mweight=7.0)
DEPTHWISE = ConvolutionModel(0.25, 4.0, mape=0.2)
RATIOS = {1: {3: 1.0, 5: 2.0, 7: 3.0}, 2: {3: 1.0, 5: 1.5, 7: 2.5}}
MODEL = DeviceModel({("conv", 1): POINTWISE, ("depthwise", 3): DEPTHWISE}, transposed_work=4.0, depthwise_ratios=RATIOS)


def test_pointwise_by_hand() -> None:
    convolution = Convolution("conv", 20, 50, 1, in_size=100, out_size=100)
    ms, sigma = MODEL.convolution_ms(convolution)
    assert ms == pytest.approx(0.5 + 2.0 * 10.0 + 3.0 * 0.2 + 5.0 * 0.5 + 7.0 * 0.001)
    assert sigma == pytest.approx(0.1 * math.sqrt(math.pi / 2))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [5, 7])
def test_larger_kernels_cost_their_ratio_beyond_the_overhead(kernel: int, stride: int) -> None:
    three, larger = (
        MODEL.convolution_ms(Convolution("depthwise", 8, 8, k, in_size=64, out_size=64 // stride))[0]
        for k in (3, kernel)
    )
    assert (larger - 0.25) / (three - 0.25) == pytest.approx(RATIOS[stride][kernel])


def test_a_kernel_with_its_own_model_needs_no_ratio() -> None:
    own = ConvolutionModel(0.0, 1.0, mape=0.1)
    model = DeviceModel({**MODEL.models, ("depthwise", 7): own}, 1.0, {})
    convolution = Convolution("depthwise", 8, 8, 7, in_size=64, out_size=64)
    assert model.convolution_ms(convolution)[0] == pytest.approx(convolution.macs / 1e6)


def test_transposed_is_a_pointwise_of_more_work() -> None:
    convolution = Convolution("transposed", 8, 16, 4, in_size=10, out_size=20)
    expected = 2.0 * 8 * 16 * 16 * 100 + 3.0 * 8 * 100 + 5.0 * 16 * 400 + 7.0 * 8 * 16 * 16
    assert MODEL.convolution_ms(convolution)[0] == pytest.approx(0.5 + 4.0 * expected / 1e6)


@pytest.mark.parametrize(("kind", "kernel"), [("depthwise", 9), ("conv", 3)])
def test_a_convolution_without_a_model_is_named(kind: str, kernel: int) -> None:
    with pytest.raises(InputError, match=f"no latency model for a {kind} convolution of kernel {kernel}"):
        MODEL.convolution_ms(Convolution(kind, 8, 8, kernel, 16, 16))


def test_an_operator_adds_its_convolutions_and_their_independent_errors() -> None:
    block = Operator("bottleneck", 32, 16, 96, 24, 3, 2, 6)
    multipliers = {"conv": 0.5, "depthwise": 2.0}
    parts = [
        (multipliers[convolution.kind] * ms, sigma)
        for convolution in block.convolutions
        for ms, sigma in [MODEL.convolution_ms(convolution)]
    ]
    latency = MODEL.operator_latency(block, multipliers)
    assert latency.ms == pytest.approx(sum(ms for ms, _ in parts), rel=1e-3)
    assert latency.spread_ms == pytest.approx(math.hypot(*(ms * sigma for ms, sigma in parts)), rel=1e-3)
    assert latency.samples == 0
    by_class = MODEL.class_ms([block], multipliers)
    assert float(by_class @ np.array([0.5, 2.0])) == pytest.approx(sum(ms for ms, _ in parts))
