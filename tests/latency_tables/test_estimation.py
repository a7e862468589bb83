"""Convolution models against sums by hand, and the shipped estimates against the models that are shipped with them."""

import math
from dataclasses import replace

import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.estimation import ConvolutionModel, DeviceModel, device_models, estimate_table
from litepose_ofa.supernet.archs.operators import Convolution, Operator
from litepose_ofa.supernet.errors import InputError

COSTS = {"overhead_ms": 0.5, "ms_per_mmac": 2.0, "ms_per_minput": 3.0, "ms_per_moutput": 5.0, "ms_per_mweight": 7.0}
POINTWISE = ConvolutionModel(0.1, COSTS)
DEPTHWISE = ConvolutionModel(0.2, {"overhead_ms": 0.25, "ms_per_mmac": 4.0})
MODEL = DeviceModel(
    {
        ("conv", 1, 1): POINTWISE,
        ("depthwise", 3, 1): DEPTHWISE,
        ("depthwise", 3, 2): replace(DEPTHWISE, costs={"ms_per_mmac": 6.0}),
        ("transposed", 4, 2): POINTWISE,
    }
)


@pytest.mark.parametrize(
    ("convolution", "millions"),
    [
        (Convolution("conv", 20, 50, 1, 100, 100), (10.0, 0.2, 0.5, 0.001)),
        (Convolution("transposed", 8, 16, 4, 10, 20), (0.2048, 0.0008, 0.0064, 0.002048)),
    ],
)
def test_a_convolution_by_hand(convolution: Convolution, millions: tuple[float, ...]) -> None:
    ms, sigma = MODEL.convolution_ms(convolution)
    assert ms == pytest.approx(0.5 + sum(c * m for c, m in zip((2.0, 3.0, 5.0, 7.0), millions, strict=True)))
    assert sigma == pytest.approx(0.1 * math.sqrt(math.pi / 2))


def test_odd_maps_have_the_stride_they_were_made_with() -> None:
    odd = Convolution("depthwise", 8, 8, 3, in_size=15, out_size=8)
    assert MODEL.convolution_ms(odd)[0] == pytest.approx(6.0 * 8 * 9 * 64 / 1e6)


def test_a_part_of_a_tile_costs_a_whole_one() -> None:
    in_tiles = replace(MODEL, map_tile=8)
    for kind, kernel in (("conv", 1), ("depthwise", 3)):
        seven, eight, nine, sixteen = (Convolution(kind, 16, 16, kernel, size, size) for size in (7, 8, 9, 16))
        assert in_tiles.convolution_ms(seven) == MODEL.convolution_ms(eight) == in_tiles.convolution_ms(eight)
        assert in_tiles.convolution_ms(nine) == MODEL.convolution_ms(sixteen)


def test_a_convolution_without_a_model_is_named() -> None:
    message = "no latency model for a depthwise convolution of kernel 9 and stride 2; there are conv 1, depthwise 3, tr"
    with pytest.raises(InputError, match=message):
        MODEL.convolution_ms(Convolution("depthwise", 8, 8, 9, 16, 8))


def test_an_operator_adds_its_convolutions_and_their_independent_errors() -> None:
    block = Operator("bottleneck", 32, 16, 96, 24, 3, 2, 6)
    parts = [MODEL.convolution_ms(convolution) for convolution in block.convolutions]
    latency = MODEL.operator_latency(block)
    assert latency.ms == pytest.approx(sum(ms for ms, _ in parts), rel=1e-3)
    assert latency.std_ms == pytest.approx(math.hypot(*(ms * sigma for ms, sigma in parts)), rel=1e-3)
    assert latency.samples == 0


@pytest.mark.parametrize("device", device_models())
def test_the_shipped_tables_are_of_the_shipped_models(device: str) -> None:
    shipped = LatencyTable.load(device)
    made = estimate_table(device, shipped.rows)
    assert made.rows == shipped.rows
    assert made.with_metadata(made_by=shipped.metadata.made_by).checksum == shipped.checksum


def test_an_unknown_device_lists_the_known_ones() -> None:
    message = "'pixel'; known: snapdragon_855, raspberry_pi_4b, jetson_nano, snapdragon_855_cpu"
    with pytest.raises(InputError, match=message):
        estimate_table("pixel", [])
