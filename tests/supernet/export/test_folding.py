"""Folding: the same outputs without a batch norm, for any architecture and any statistics."""

import copy
import random
import runpy
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import LayerNames, operators_of, places_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.folding import fold_weights
from litepose_ofa.supernet.network.litepose import LitePose

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "folded_network.py"
fold_batch_norms = runpy.run_path(str(BENCHMARK))["fold_batch_norms"]


@st.composite
def networks(draw: st.DrawFn, least: st.SearchStrategy[float]) -> LitePose:
    """Draw a network, in double precision, some of whose channels have the least variance, are off, or turned round."""
    space = SearchSpace.preset(draw(st.sampled_from(["tiny", "litepose"])))
    arch = space.sample(random.Random(draw(st.integers(0, 2**32)))).with_image_size(32)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    least_variance = draw(least)
    network = LitePose(arch, draw(st.sampled_from([1, 14, 17]))).double().eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            _randomise(norm, generator, least_variance)
    return network


def _randomise(norm: nn.BatchNorm2d, generator: torch.Generator, least: float) -> None:
    def noise() -> Tensor:
        return torch.randn(norm.num_features, generator=generator, dtype=torch.float64)

    assert norm.running_mean is not None
    assert norm.running_var is not None
    dead = noise() > 1
    norm.weight.data = (1 + noise()).where(~dead, 0)
    norm.bias.data = noise()
    norm.running_mean.copy_(noise())
    norm.running_var.copy_((noise() ** 2 + 0.1).where(~(noise() > 1), least))


def relative_difference(ours: LitePose, theirs: LitePose, images: Tensor) -> float:
    with torch.inference_mode():
        pairs = list(zip(ours(images), theirs(images), strict=True))
    assert all(expected.isfinite().all() for _, expected in pairs)
    return max(float((head - expected).abs().max() / expected.abs().max()) for head, expected in pairs)


@settings(max_examples=5, deadline=None)
@given(networks(st.just(0.1)), st.integers(0, 2**32))
def test_heads_are_the_same_and_the_network_is_left_alone(network: LitePose, seed: int) -> None:
    images = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    before = copy.deepcopy(network.state_dict())
    folded = fold_batch_norms(network)
    assert relative_difference(folded, network, images) <= 1e-12
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert {tensor.data_ptr() for tensor in folded.parameters()}.isdisjoint(
        tensor.data_ptr() for tensor in network.parameters()
    )


@settings(max_examples=5, deadline=None)
@given(networks(st.sampled_from([0.0, 1e-12, 1e-6])), st.integers(0, 2**32))
def test_every_layer_is_the_same_with_variances_near_zero(network: LitePose, seed: int) -> None:
    """Layer by layer, for 30 norms that each magnify 300 times leave no digits of the heads."""
    generator = torch.Generator().manual_seed(seed)
    folded = fold_batch_norms(network)
    operators = operators_of(network.arch, network.num_keypoints)
    for place, operator in zip(places_of(network.arch.depths), operators, strict=True):
        layers = list(place.layers)
        inputs = [
            torch.randn(1, convolution.in_channels, 6, 6, generator=generator, dtype=torch.float64)
            for convolution in operator.convolutions
        ]
        with torch.no_grad():
            ours, expected = run(folded, layers, inputs), run(network, layers, inputs)
            if operator.kind == "fusion_deconv":  # one norm, after the sum
                layers, ours, expected = layers[:1], [ours[0] + ours[1]], [expected[0] + expected[1]]
            for layer, output, before in zip(layers, ours, expected, strict=True):
                after = before if layer.norm is None else network.get_submodule(layer.norm)(before)
                torch.testing.assert_close(output, after, rtol=0, atol=1e-12 * float(after.abs().max()))


def run(network: LitePose, layers: list[LayerNames], inputs: list[Tensor]) -> list[Tensor]:
    return [network.get_submodule(layer.convolution)(x) for layer, x in zip(layers, inputs, strict=True)]


def test_single_precision_stays_within_its_rounding(subnet: LitePose, images: Tensor) -> None:
    assert relative_difference(fold_batch_norms(subnet), subnet, images) <= 1e-5


def test_a_scale_of_one_leaves_a_depthwise_kernel(subnet: LitePose) -> None:
    subnet = copy.deepcopy(subnet)
    name = "stage.0.0.depth_conv"
    norm = subnet.get_submodule(f"{name}.1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    with torch.no_grad():
        norm.weight.copy_((norm.running_var.double() + norm.eps).sqrt())  # scale 1, as near as float32 has it
    kernel = subnet.get_parameter(f"{name}.0.weight")
    torch.testing.assert_close(fold_batch_norms(subnet).get_parameter(f"{name}.0.weight"), kernel, rtol=2e-7, atol=0)


@pytest.mark.parametrize("space", ["tiny", "litepose"])
def test_every_convolution_is_named_once_in_the_order_of_the_operators(space: str) -> None:
    arch: Arch = SearchSpace.preset(space).sample(random.Random(3))
    network = LitePose(arch)
    names, operators = [place.layers for place in places_of(arch.depths)], operators_of(arch)
    convolutions = [
        name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert sorted(layer.convolution for layers in names for layer in layers) == sorted(convolutions)
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {layer.norm for layers in names for layer in layers} - {None} == norms
    for layers, operator, weights in zip(names, operators, fold_weights(network), strict=True):
        for layer, convolution, folded in zip(layers, operator.convolutions, weights, strict=True):
            assert folded.name == layer.convolution
            assert folded.kernel.size == convolution.weights
            assert (folded.bias is not None) == convolution.norm


def test_a_network_in_training_mode_is_folded_as_it_evaluates(subnet: LitePose, images: Tensor) -> None:
    training = copy.deepcopy(subnet).train()
    folded = fold_batch_norms(training)
    assert training.training
    assert relative_difference(folded, subnet, images) <= 1e-5
