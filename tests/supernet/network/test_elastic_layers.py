"""Elastic layers against plain torch layers that hold the sliced weights."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from litepose_ofa.supernet.network.elastic_layers import ElasticBatchNorm2d, ElasticDepthwiseConv2d


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


def test_batch_norms_refuse_to_cumulate() -> None:
    with pytest.raises(ValueError, match="recalibrate an extracted subnet"):
        ElasticBatchNorm2d(2, momentum=None)(torch.zeros(2, 2, 4, 4))


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
        expected = transform_by_loops(elastic.weight[:channels], matrices[:used])
        found = elastic.active_weight(channels, 7 - 2 * used)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
