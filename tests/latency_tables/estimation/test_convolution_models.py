"""Class models against sums by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from litepose_ofa.latency_tables.estimation.convolution_models import ConvolutionModel, DeviceModel
from litepose_ofa.supernet.archs.operators import Convolution, Operator
from litepose_ofa.supernet.errors import InputError

POINTWISE = ConvolutionModel(
    mape=0.1, overhead_ms=0.5, ms_per_mmac=2.0, ms_per_minput=3.0, ms_per_moutput=5.0, ms_per_mweight=7.0
)
DEPTHWISE = ConvolutionModel(mape=0.2, overhead_ms=0.25, ms_per_mmac=4.0)
RATIOS = {1: {3: 1.0, 5: 2.0, 7: 3.0}, 2: {3: 1.0, 5: 1.5, 7: 2.5}}
MODELS = {("conv", 1, 1): POINTWISE, ("depthwise", 3, 1): DEPTHWISE, ("depthwise", 3, 2): DEPTHWISE}
MODEL = DeviceModel(MODELS, transposed_work=4.0, transposed_mape=None, depthwise_ratios=RATIOS)


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
    own = ConvolutionModel(mape=0.1, ms_per_mmac=1.0)
    model = DeviceModel({**MODELS, ("depthwise", 7, 1): own}, 1.0, None, {})
    convolution = Convolution("depthwise", 8, 8, 7, in_size=64, out_size=64)
    assert model.convolution_ms(convolution)[0] == pytest.approx(convolution.macs / 1e6)


def test_transposed_is_a_pointwise_of_more_work() -> None:
    convolution = Convolution("transposed", 8, 16, 4, in_size=10, out_size=20)
    expected = 2.0 * 8 * 16 * 16 * 100 + 3.0 * 8 * 100 + 5.0 * 16 * 400 + 7.0 * 8 * 16 * 16
    assert MODEL.convolution_ms(convolution)[0] == pytest.approx(0.5 + 4.0 * expected / 1e6)


def test_the_error_of_a_transposed_one_may_be_an_assumption() -> None:
    convolution = Convolution("transposed", 8, 16, 4, in_size=10, out_size=20)
    assumed = replace(MODEL, transposed_mape=0.4)
    assert MODEL.convolution_ms(convolution)[1] == pytest.approx(0.1 * math.sqrt(math.pi / 2))
    assert assumed.convolution_ms(convolution)[1] == pytest.approx(0.4 * math.sqrt(math.pi / 2))


def test_a_part_of_a_tile_costs_a_whole_one() -> None:
    in_tiles = replace(MODEL, map_tile=8)
    for kind, kernel in (("conv", 1), ("depthwise", 3), ("depthwise", 7)):
        seven, eight, nine = (Convolution(kind, 16, 16, kernel, size, size) for size in (7, 8, 9))
        assert in_tiles.convolution_ms(seven) == MODEL.convolution_ms(eight) == in_tiles.convolution_ms(eight)
        assert in_tiles.convolution_ms(nine) == MODEL.convolution_ms(replace(nine, in_size=16, out_size=16))


def test_odd_maps_have_the_stride_they_were_made_with() -> None:
    convolution = Convolution("depthwise", 8, 8, 5, in_size=15, out_size=8)
    assert MODEL.convolution_ms(convolution)[0] == pytest.approx(0.25 + 1.5 * 4.0 * 8 * 9 * 64 / 1e6)


@pytest.mark.parametrize(("kind", "kernel", "stride"), [("depthwise", 9, 1), ("conv", 3, 1), ("conv", 1, 2)])
def test_a_convolution_without_a_model_is_named(kind: str, kernel: int, stride: int) -> None:
    message = (
        f"no latency model for a {kind} convolution of kernel {kernel} and stride {stride}; there are conv 1, depth"
    )
    with pytest.raises(InputError, match=message):
        MODEL.convolution_ms(Convolution(kind, 8, 8, kernel, 16, 16 // stride))


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
    assert latency.std_ms == pytest.approx(math.hypot(*(ms * sigma for ms, sigma in parts)), rel=1e-3)
    assert latency.samples == 0
    by_class = MODEL.class_ms(block.convolutions, multipliers)
    assert float(by_class @ np.array([0.5, 2.0])) == pytest.approx(sum(ms for ms, _ in parts))
