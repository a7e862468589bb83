"""Depthwise convolution and its stripwise weight gradient against torch's."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from litepose_ofa.supernet.network import depthwise
from litepose_ofa.supernet.network.depthwise import LEAST_SIDE, STRIP, depthwise_conv2d

KERNELS = (1, 3, 5, 7, 9)
SIZES = ((16, 16), (17, 16), (31, 20), (32, 33), (35, 34), (40, 64))
CHANNELS = 5


def random_case(
    size: tuple[int, int], kernel: int, *, dtype: torch.dtype = torch.float64, channels_last: bool = True
) -> tuple[Tensor, Tensor]:
    """Input (2, 5, H, W) and weight (5, 1, k, k)."""
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(2, CHANNELS, *size, generator=generator, dtype=dtype)
    weight = torch.randn(CHANNELS, 1, kernel, kernel, generator=generator, dtype=dtype)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return x.contiguous(memory_format=memory_format).requires_grad_(), weight.requires_grad_()


def plain(x: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))


def results(convolve: Callable[..., Tensor], x: Tensor, weight: Tensor, stride: int) -> list[Tensor]:
    """Values, and the gradients of a random linear function of them for input and weight."""
    y = convolve(x, weight, stride=stride)
    seed = torch.Generator().manual_seed(9)
    direction = torch.randn(y.shape, generator=seed, dtype=y.dtype).contiguous(memory_format=torch.channels_last)
    return [y.detach(), *torch.autograd.grad(y, (x, weight), direction)]


@pytest.fixture
def strips(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Notes whenever a gradient is computed in strips."""
    mock = Mock(side_effect=depthwise._strips)
    monkeypatch.setattr(depthwise, "_strips", mock)
    return mock


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("channels_last", [True, False])
def test_values_and_gradients_are_torch_s(strips: Mock, stride: int, kernel: int, channels_last: bool) -> None:
    for size in SIZES:
        strips.reset_mock()
        x, weight = random_case(size, kernel, channels_last=channels_last)
        ours = results(depthwise_conv2d, x, weight, stride)
        is_large = min(size) >= stride * LEAST_SIDE
        assert strips.call_count == (kernel > STRIP and channels_last and is_large)
        for found, expected in zip(ours, results(plain, x, weight, stride), strict=True):
            assert found.shape == expected.shape
            assert (found - expected).abs().max() <= 1e-12 * expected.abs().max(), size


@pytest.mark.parametrize("wanted", ["x", "weight"])
def test_only_the_gradient_that_is_asked_for(strips: Mock, wanted: str) -> None:
    x, weight = random_case((32, 32), 7)
    (x if wanted == "weight" else weight).requires_grad_(False)
    asked = weight if wanted == "weight" else x
    (ours,) = torch.autograd.grad(depthwise_conv2d(x, weight, stride=1).square().sum(), asked)
    (expected,) = torch.autograd.grad(plain(x, weight, stride=1).square().sum(), asked)
    assert (ours - expected).abs().max() <= 1e-12 * expected.abs().max()
    assert strips.call_count == (wanted == "weight")


@pytest.mark.parametrize("case", ["no gradient", "inference mode", "frozen weight", "not channels-last", "autocast"])
def test_without_the_slow_gradient_it_is_torch_s_convolution_bit_for_bit(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depthwise, "_StripwiseDepthwise", None)
    x, weight = random_case((32, 32), 7, dtype=torch.float32, channels_last=case != "not channels-last")
    contexts: dict[str, AbstractContextManager[object]] = {
        "no gradient": torch.no_grad(),
        "inference mode": torch.inference_mode(),
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
    }
    weight.requires_grad_(case != "frozen weight")
    with contexts.get(case, nullcontext()):
        ours, expected = depthwise_conv2d(x, weight, stride=1), plain(x, weight, stride=1)
        assert torch.equal(ours, expected)
        assert ours.dtype == (torch.bfloat16 if case == "autocast" else torch.float32)
