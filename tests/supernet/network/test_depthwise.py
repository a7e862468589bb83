"""Depthwise convolution and its gradients against torch's."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from litepose_ofa.supernet.network import cpu_kernels, depthwise
from litepose_ofa.supernet.network.depthwise import depthwise_conv2d

KERNELS = (1, 3, 5, 7, 9, 11)
SIZES = ((1, 1), (2, 3), (4, 4), (17, 16), (32, 33))
CHANNELS = (1, 5, 16, 40)


def random_case(
    channels: int, size: tuple[int, int], kernel: int, *, channels_last: bool = True
) -> tuple[Tensor, Tensor]:
    """Input (2, channels, H, W) and weight (channels, 1, k, k)."""
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(2, channels, *size, generator=generator)
    weight = torch.randn(channels, 1, kernel, kernel, generator=generator)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return x.contiguous(memory_format=memory_format).requires_grad_(), weight.requires_grad_()


def plain(x: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))


def results(convolve: Callable[..., Tensor], x: Tensor, weight: Tensor, stride: int) -> list[Tensor]:
    """Values, and the gradients of a random linear function of them for input and weight."""
    y = convolve(x, weight, stride=stride)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(9)).to(y)
    return [y.detach(), *torch.autograd.grad(y, (x, weight), direction)]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("channels_last", [True, False])
def test_values_and_gradients_are_those_of_float64(stride: int, kernel: int, channels_last: bool) -> None:
    for channels in CHANNELS:
        for size in SIZES:
            x, weight = random_case(channels, size, kernel, channels_last=channels_last)
            ours = results(depthwise_conv2d, x, weight, stride)
            exact = results(
                plain, x.detach().double().requires_grad_(), weight.detach().double().requires_grad_(), stride
            )
            for found, expected in zip(ours, exact, strict=True):
                assert found.shape == expected.shape
                assert (found - expected).abs().max() <= 5e-6 * expected.abs().max(), (channels, size)


@pytest.mark.usefixtures("needs_compiler")
def test_the_compiled_functions_are_the_same_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_kernels.functions() is not None
    x, weight = random_case(40, (17, 16), 7)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append([result for stride in (1, 2) for result in results(depthwise_conv2d, x, weight, stride)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize("wanted", ["x", "weight"])
def test_only_the_gradient_that_is_asked_for(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """A frozen stem's input needs none; the kernels of frozen blocks need none."""
    x, weight = random_case(16, (32, 32), 7)
    asked, other = (weight, x) if wanted == "weight" else (x, weight)
    other.requires_grad_(False)
    y = depthwise_conv2d(x, weight, stride=1)
    unwanted = "depthwise_conv2d" if wanted == "weight" else "depthwise_gradient"
    monkeypatch.setattr(cpu_kernels, unwanted, None)
    (ours,) = torch.autograd.grad(y.square().sum(), asked)
    (expected,) = torch.autograd.grad(plain(x, weight, stride=1).square().sum(), asked)
    assert (ours - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize(
    "case",
    ["no gradient", "inference mode", "frozen weight", "not channels-last", "autocast", "float64", "no compiler"],
)
def test_elsewhere_it_is_torch_s_convolution_bit_for_bit(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "_Depthwise", None)
    if case == "no compiler":
        monkeypatch.setattr(cpu_kernels, "functions", lambda: None)
    x, weight = random_case(16, (32, 32), 7, channels_last=case != "not channels-last")
    if case == "float64":
        x, weight = x.double(), weight.double()
    contexts: dict[str, AbstractContextManager[object]] = {
        "no gradient": torch.no_grad(),
        "inference mode": torch.inference_mode(),
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
    }
    if case == "frozen weight":
        weight.requires_grad_(False)
    with contexts.get(case, nullcontext()):
        ours, expected = depthwise_conv2d(x, weight, stride=1), plain(x, weight, stride=1)
        assert torch.equal(ours, expected)
        assert ours.dtype == {"autocast": torch.bfloat16, "float64": torch.float64}.get(case, torch.float32)
