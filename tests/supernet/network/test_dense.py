"""Dense convolution against torch's in float64, whichever way it goes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from litepose_ofa.supernet.network import dense
from litepose_ofa.supernet.network.dense import MOST_PIXELS, dense_conv2d

SMALL, LARGE = (2, 16, 32), (2, 17, 32)
"""Batch, height and width of as many pixels as a product is for, and of more."""


def random_case(size: tuple[int, int, int], kernel: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(kernel)
    batch, height, width = size
    x = torch.randn(batch, 5, height, width, generator=generator, dtype=dtype)
    weight = torch.randn(7, 5, kernel, kernel, generator=generator, dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_values_and_gradients_are_those_of_float64(kernel: int, stride: int, size: tuple[int, int, int]) -> None:
    x, weight = random_case(size, kernel)
    exact_x, exact_weight = (tensor.detach().double().requires_grad_() for tensor in (x, weight))
    y = dense_conv2d(x, weight, stride=stride, padding=kernel // 2)
    exact = F.conv2d(exact_x, exact_weight, None, stride, kernel // 2)
    assert y.is_contiguous(memory_format=torch.channels_last)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(y, (x, weight), direction)
    exact_gradients = torch.autograd.grad(exact, (exact_x, exact_weight), direction.double())
    for found, expected in zip((y, *gradients), (exact, *exact_gradients), strict=True):
        assert (found - expected).abs().max() <= 2e-6 * expected.abs().max()


def test_leading_weights_of_larger_ones_give_the_same_bits() -> None:
    """An elastic layer's weights are a part of larger ones, with other strides than those of the subnet cut out."""
    x, weight = random_case(SMALL, 1)
    larger = torch.zeros(20, 30, 1, 1)
    larger[:7, :5] = weight.detach()
    part = larger[:7, :5].requires_grad_()
    results = []
    for each in (weight, part):
        y = dense_conv2d(x, each, stride=1, padding=0)
        results.append([y, *torch.autograd.grad(y.square().sum(), (x, each))])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_small_maps_are_trained_as_products(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int, int]) -> None:
    monkeypatch.setattr(dense, "_Product", None)
    x, weight = random_case(size, 1)
    with torch.no_grad():
        assert torch.isfinite(dense_conv2d(x, weight, stride=1, padding=0)).all()
    if size[0] * size[1] * size[2] > MOST_PIXELS:
        dense_conv2d(x, weight, stride=1, padding=0)
    else:
        with pytest.raises(AttributeError):
            dense_conv2d(x, weight, stride=1, padding=0)
