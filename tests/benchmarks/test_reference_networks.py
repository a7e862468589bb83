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


def test_a_transposed_convolution_counts_at_its_output() -> None:
    transposed = Convolution("transposed", 10, 20, 4, 8, 16)
    assert gmacs_as_published([transposed]) == pytest.approx(10 * 20 * 16 * 16**2 / 1e9)
