"""Elastic layers against plain torch layers that hold the sliced weights."""

import itertools

import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.network.elastic_layers import ElasticBatchNorm2d, ElasticDepthwiseConv2d


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


def randomised(layer: ElasticDepthwiseConv2d, generator: torch.Generator) -> ElasticDepthwiseConv2d:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(normal(generator, *parameter.shape))
    return layer


def transform_by_loops(weight: Tensor, chain: list[Tensor]) -> Tensor:
    """Shrink kernels (C, 1, k, k) by two a matrix: entry j of the small kernel is sum_i centre_i matrix[i, j]."""
    kernels = weight[:, 0].tolist()
    for matrix in chain:
        side = len(kernels[0]) - 2
        values = matrix.tolist()
        shrunk = []
        for kernel in kernels:
            centre = [kernel[1 + y][1 + x] for y in range(side) for x in range(side)]
            flat = [sum(centre[i] * values[i][j] for i in range(side**2)) for j in range(side**2)]
            shrunk.append([flat[side * y : side * (y + 1)] for y in range(side)])
        kernels = shrunk
    return torch.tensor(kernels)[:, None]


@pytest.mark.parametrize("synchronised", [False, True])
def test_batch_norms_refuse_to_cumulate(synchronised: bool) -> None:
    norm = ElasticBatchNorm2d(2, momentum=None)
    norm.synchronised = synchronised
    with pytest.raises(ValueError, match="recalibrate an extracted subnet"):
        norm(torch.zeros(2, 2, 4, 4))


def test_depthwise_matrices(generator: torch.Generator) -> None:
    elastic = randomised(ElasticDepthwiseConv2d(4, (3, 5, 7)), generator)
    assert {name: tuple(p.shape) for name, p in elastic.named_parameters()} == {
        "weight": (4, 1, 7, 7),
        "matrix_7to5": (25, 25),
        "matrix_5to3": (9, 9),
    }
    matrices = [elastic.get_parameter("matrix_7to5"), elastic.get_parameter("matrix_5to3")]
    for channels, used in itertools.product((1, 4), (0, 1, 2)):
        expected = transform_by_loops(elastic.weight[:channels], matrices[:used])
        found = elastic.active_weight(channels, 7 - 2 * used)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_depthwise_kernels_may_skip_a_size(generator: torch.Generator) -> None:
    elastic = randomised(ElasticDepthwiseConv2d(2, (3, 7)), generator)
    centre = elastic.weight[:, :, 2:5, 2:5].reshape(2, 9)
    expected = torch.einsum("ci,ij->cj", centre, elastic.get_parameter("matrix_7to3")).view(2, 1, 3, 3)
    torch.testing.assert_close(elastic.active_weight(2, 3), expected)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_gradients_are_right(kernel: int, generator: torch.Generator) -> None:
    elastic = randomised(ElasticDepthwiseConv2d(2, (3, 5, 7), stride=2), generator).double()
    x = normal(generator, 1, 2, 4, 4).double()
    parameters = [p for name, p in elastic.named_parameters() if not name.startswith("matrix") or kernel < 7]
    if kernel == 5:
        parameters = parameters[:2]

    def run(*_: Tensor) -> Tensor:
        output: Tensor = elastic(x, kernel)
        return output

    assert torch.autograd.gradcheck(run, tuple(parameters), fast_mode=True)
