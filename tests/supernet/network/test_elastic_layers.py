"""Elastic layers against plain torch layers that hold the sliced weights."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from litepose_ofa.supernet.network.elastic_layers import ElasticBatchNorm2d, ElasticDepthwiseConv2d


def transformed(weight: Tensor, chain: list[Tensor]) -> Tensor:
    """Shrink kernels (C, 1, k, k) by two a matrix: entry j of the small kernel is sum_i centre_i matrix[i, j]."""
    for matrix in chain:
        side = weight.shape[-1] - 2
        small = torch.einsum("ci,ij->cj", weight[:, 0, 1:-1, 1:-1].flatten(1), matrix)
        weight = small.unflatten(1, (1, side, side))
    return weight


def test_batch_norms_refuse_to_cumulate() -> None:
    norm = ElasticBatchNorm2d(2)
    norm.momentum = None
    with pytest.raises(ValueError, match="recalibrate an extracted subnet"):
        norm(torch.zeros(2, 2, 4, 4))


def test_depthwise_matrices() -> None:
    elastic = ElasticDepthwiseConv2d(4, (3, 5, 7))
    for parameter in elastic.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    assert {name: tuple(p.shape) for name, p in elastic.named_parameters()} == {
        "weight": (4, 1, 7, 7),
        "matrix_7to5": (25, 25),
        "matrix_5to3": (9, 9),
    }
    matrices = [elastic.get_parameter("matrix_7to5"), elastic.get_parameter("matrix_5to3")]
    for channels, used in itertools.product((1, 4), (0, 1, 2)):
        expected = transformed(elastic.weight[:channels], matrices[:used])
        found = elastic.active_weight(channels, 7 - 2 * used)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("side", [5, 16])
def test_gradients_of_elastic_kernels(kernel: int, side: int) -> None:
    """Finite differences; from a side of 16 on the widest ones' gradients come in strips."""
    elastic, generator = ElasticDepthwiseConv2d(2, (3, 5, 7)).double(), torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, side, side, generator=generator, dtype=torch.float64).to(memory_format=torch.channels_last)
    for parameter in elastic.parameters():
        nn.init.normal_(parameter, generator=generator)

    def convolve(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(dict(elastic.named_parameters()), parameters, strict=True))
        y: Tensor = torch.func.functional_call(elastic, named, (x, kernel))
        return y

    assert torch.autograd.gradcheck(convolve, (x.requires_grad_(), *elastic.parameters()), fast_mode=True)
