"""Elastic layers against plain torch layers that hold the sliced weights."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litepose_ofa.supernet.network.elastic_layers import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticConvTranspose2d,
    ElasticDepthwiseConv2d,
)


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


@pytest.mark.parametrize(("in_channels", "out_channels"), [(8, 12), (8, 4), (3, 12), (3, 4), (1, 1)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2)])
def test_convolution(in_channels: int, out_channels: int, kernel: int, stride: int, generator: torch.Generator) -> None:
    elastic = ElasticConv2d(8, 12, kernel, stride, kernel // 2, bias=False)
    plain = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    plain.weight.data.copy_(elastic.weight[:out_channels, :in_channels])
    x = normal(generator, 2, in_channels, 8, 8)
    assert torch.equal(elastic(x, out_channels), plain(x))


@pytest.mark.parametrize(("in_channels", "out_channels"), [(8, 12), (8, 4), (3, 12), (3, 4)])
def test_transposed_convolution(in_channels: int, out_channels: int, generator: torch.Generator) -> None:
    elastic = ElasticConvTranspose2d(8, 12, 4, stride=2, padding=1, bias=False)
    plain = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
    plain.weight.data.copy_(elastic.weight[:in_channels, :out_channels])
    x = normal(generator, 2, in_channels, 5, 6)
    assert elastic(x, out_channels).shape == (2, out_channels, 10, 12)
    assert torch.equal(elastic(x, out_channels), plain(x))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels", [1, 5, 8])
def test_batch_norm(channels: int, training: bool, generator: torch.Generator) -> None:
    elastic = ElasticBatchNorm2d(8).train(training)
    with torch.no_grad():
        for tensor in (elastic.weight, elastic.bias, elastic.running_mean, elastic.running_var):
            assert tensor is not None
            tensor.copy_(normal(generator, 8) ** 2 + 0.5)
    plain = nn.BatchNorm2d(channels).train(training)
    state = elastic.state_dict()
    plain.load_state_dict({k: v if v.ndim == 0 else v[:channels].clone() for k, v in state.items()})
    before = {k: v.clone() for k, v in state.items()}
    x = normal(generator, 4, channels, 6, 6)
    assert torch.equal(elastic(x), plain(x))
    for key in ("running_mean", "running_var"):
        assert torch.equal(state[key][:channels], plain.state_dict()[key])
        assert torch.equal(state[key][channels:], before[key][channels:])  # of inactive channels
        assert torch.equal(state[key], before[key]) is not training


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels", [1, 5, 8])
def test_synchronised_batch_norm_alone(channels: int, training: bool, generator: torch.Generator) -> None:
    plain, synchronised = ElasticBatchNorm2d(8).train(training), ElasticBatchNorm2d(8).train(training)
    synchronised.synchronised = True
    x = normal(generator, 4, channels, 6, 6)
    tolerance = 1e-5 if training else 0.0
    torch.testing.assert_close(synchronised(x), plain(x), rtol=tolerance, atol=tolerance)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(synchronised.state_dict()[key], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("synchronised", [False, True])
def test_batch_norms_refuse_to_cumulate(synchronised: bool) -> None:
    norm = ElasticBatchNorm2d(2, momentum=None)
    norm.synchronised = synchronised
    with pytest.raises(ValueError, match="recalibrate an extracted subnet"):
        norm(torch.zeros(2, 2, 4, 4))


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_depthwise_with_identity_matrices_is_the_centre_crop(
    kernel: int, stride: int, channels: int, generator: torch.Generator
) -> None:
    elastic = ElasticDepthwiseConv2d(6, (3, 5, 7), stride=stride)
    edge = (7 - kernel) // 2
    crop = elastic.weight[:channels, :, edge : 7 - edge, edge : 7 - edge]
    assert torch.equal(elastic.active_weight(channels, kernel), crop)
    x = normal(generator, 2, channels, 8, 8)
    expected = F.conv2d(x, crop.contiguous(), stride=stride, padding=kernel // 2, groups=channels)
    assert torch.equal(elastic(x, kernel), expected)


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
