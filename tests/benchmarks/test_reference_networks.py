"""Networks of other families: their multiply-accumulates are those that their authors give."""

from importlib import import_module

import pytest

from litepose_ofa.supernet.archs.operators import Convolution

networks = import_module("reference_networks")
conv, gmacs_as_published, reference_network = networks.conv, networks.gmacs_as_published, networks.reference_network

TIMED = sorted(networks._descriptions())


@pytest.mark.parametrize("name", TIMED)
def test_multiply_accumulates_are_the_published_ones(name: str) -> None:
    tolerance = 0.03 if name.startswith("HigherHRNet") else 0.016
    assert gmacs_as_published(reference_network(name)) == pytest.approx(networks.published_gmacs(name), rel=tolerance)


@pytest.mark.parametrize("name", TIMED)
def test_maps_fit_together(name: str) -> None:
    """No convolution reads more channels or a larger map than something before it wrote."""
    written = {(3, reference_network(name)[0].in_size)}
    for convolution in reference_network(name):
        if convolution.kind != "transposed":  # reads features and maps joined
            assert (convolution.in_channels, convolution.in_size) in written
        written.add((convolution.out_channels, convolution.out_size))


def test_inverted_bottleneck_by_hand() -> None:
    expand, depthwise, project = networks.inverted_bottleneck(16, 24, kernel=5, size=15, stride=2, expansion=6)
    assert (expand.macs, depthwise.macs, project.macs) == (16 * 96 * 225, 96 * 25 * 64, 96 * 24 * 64)
    assert len(list(networks.inverted_bottleneck(16, 24, kernel=3, size=15, stride=1, expansion=1))) == 2


def test_high_resolution_module_by_hand() -> None:
    convolutions = list(networks.high_resolution_module([8, 16, 32], [64, 32, 16], blocks=1, outputs=3))
    assert convolutions[:6] == [conv(w, w, 3, s) for w, s in ((8, 64), (16, 32), (32, 16)) for _ in range(2)]
    assert convolutions[6:] == [
        *(conv(16, 8, 1, 32), conv(32, 8, 1, 16)),
        *(conv(8, 16, 3, 64, 2), conv(32, 16, 1, 16)),
        *(conv(8, 8, 3, 64, 2), conv(8, 32, 3, 32, 2), conv(16, 32, 3, 32, 2)),
    ]
    assert len(list(networks.high_resolution_module([8, 16, 32], [64, 32, 16], blocks=1, outputs=1))) == 8


def test_a_transposed_convolution_counts_at_its_output() -> None:
    transposed = Convolution("transposed", 10, 20, 4, 8, 16)
    assert gmacs_as_published([transposed]) == pytest.approx(10 * 20 * 16 * 16**2 / 1e9)
