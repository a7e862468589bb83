"""The synchronised norm in one process, without a group: plain batch norm, by formula and by torch."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from litepose_ofa.supernet.network.synchronised_norm import synchronised_batch_norm

BATCH_NORM = partial(F.batch_norm, training=True)
CUDA = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]
)
Norm = Callable[..., Tensor]


def make_inputs(channels: int, dtype: torch.dtype, memory_format: torch.memory_format) -> tuple[Tensor, ...]:
    """Return x (3, C, 4, 6) off zero, weight and bias (C,), and the output's gradient."""
    generator = torch.Generator().manual_seed(0)
    x, gradient = torch.randn(2, 3, channels, 4, 6, generator=generator, dtype=dtype).unbind()
    x = (2 * x + 5).contiguous(memory_format=memory_format)
    weight = 1 + 0.3 * torch.randn(channels, generator=generator, dtype=dtype)
    bias = torch.randn(channels, generator=generator, dtype=dtype)
    return x, weight, bias, gradient.contiguous(memory_format=memory_format)


def run(norm: Norm, x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Return output, gradients and running statistics."""
    leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
    mean, var = torch.full_like(weight, 0.5), torch.full_like(weight, 2.0)
    y = norm(leaves[0], mean, var, *leaves[1:], momentum=0.2, eps=1e-5)
    of_x, of_weight, of_bias = torch.autograd.grad(y, leaves, gradient)
    return {"y": y.detach(), "dx": of_x, "dweight": of_weight, "dbias": of_bias, "mean": mean, "var": var}


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_alone_it_is_batch_norm(
    dtype: torch.dtype, tolerance: float, memory_format: torch.memory_format, channels: int, device: str
) -> None:
    inputs = [tensor.to(device) for tensor in make_inputs(channels, dtype, memory_format)]
    found, expected = run(synchronised_batch_norm, *inputs), run(BATCH_NORM, *inputs)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)
    assert found["y"].is_contiguous(memory_format=memory_format)
    assert found["dx"].is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_inputs_have_float32_statistics(dtype: torch.dtype, device: str) -> None:
    """Near 1000 the spacing of bfloat16 is 4, so that statistics in it would be off by more than the values' spread."""
    x, weight, bias, gradient = (tensor.to(device) for tensor in make_inputs(4, torch.float32, torch.channels_last))
    x, gradient = (x + 1000).to(dtype), gradient.to(dtype)
    found = run(synchronised_batch_norm, x, weight, bias, gradient)
    exact = run(BATCH_NORM, x.double(), weight.double(), bias.double(), gradient.double())
    assert found["y"].dtype == found["dx"].dtype == dtype
    for name in ("mean", "var", "dweight", "dbias"):
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name].double(), exact[name], rtol=1e-3, atol=1e-3, msg=name)
    spacing = torch.finfo(dtype).eps
    for name in ("y", "dx"):
        torch.testing.assert_close(found[name].double(), exact[name], rtol=spacing, atol=2e-3, msg=name)
