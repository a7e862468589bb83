"""Batch norm with activation against the two layers apart, in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn

from litepose_ofa.supernet.network import cpu_kernels
from litepose_ofa.supernet.network.activated_norm import ActivatedNorm

CEILINGS = (None, 6.0, float("inf"))
SHAPES = ((1, 1, 1, 2), (2, 5, 3, 3), (3, 16, 9, 20), (2, 40, 16, 17))
"""The last two have more than one part of 256 pixels."""


@pytest.fixture(params=["compiled", "torch"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(cpu_kernels, "functions", lambda: None)
    else:
        request.getfixturevalue("needs_compiler")
    return str(request.param)


def random_norm(channels: int, ceiling: float | None) -> ActivatedNorm:
    norm = ActivatedNorm(channels, ceiling)
    generator = torch.Generator().manual_seed(channels)
    with torch.no_grad():
        for vector in (norm.weight, norm.bias, norm.running_mean):
            vector.copy_(torch.randn(channels, generator=generator))
    return norm


def apart(norm: ActivatedNorm) -> nn.Sequential:
    """The two layers, in float64."""
    plain = nn.BatchNorm2d(norm.num_features, momentum=norm.momentum)
    plain.load_state_dict(norm.state_dict())
    activations = {None: nn.Identity(), 6.0: nn.ReLU6(), float("inf"): nn.ReLU()}
    return nn.Sequential(plain, activations[norm.ceiling]).double()


def random_maps(shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (3 + 2 * torch.randn(shape, generator=generator)).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("ceiling", CEILINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_results_gradients_and_running_statistics(kind: str, ceiling: float | None, shape: tuple[int, ...]) -> None:
    norm = random_norm(shape[1], ceiling)
    exact, x = apart(norm), random_maps(shape).requires_grad_()
    y, expected = norm(x), exact(x64 := x.detach().double().requires_grad_())
    direction = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    of_x, *of_vectors = torch.autograd.grad(y, (x, norm.weight, norm.bias), direction)
    exact_of_x, *exact_of_vectors = torch.autograd.grad(
        expected, (x64, exact[0].weight, exact[0].bias), direction.double()
    )
    pairs = [(y, expected), (of_x, exact_of_x), *zip(of_vectors, exact_of_vectors, strict=True)]
    pairs += [(norm.running_mean, exact[0].running_mean), (norm.running_var, exact[0].running_var)]
    for found, wanted in pairs:
        assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp(min=1)
    assert norm.num_batches_tracked == 1


def test_cumulative_statistics_are_averages_over_batches(kind: str) -> None:
    norm = random_norm(16, 6.0)
    norm.momentum = None
    norm.reset_running_stats()
    batches = [random_maps((2, 16, 5, 5)) + shift for shift in (0.0, 1.0, 5.0)]
    with torch.no_grad():
        for batch in batches:
            norm(batch)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, means.mean(0))


@pytest.mark.usefixtures("needs_compiler")
def test_a_large_mean_costs_no_digits_of_the_variance() -> None:
    """Squares of values near 1,000 leave float32 no digit for a variance of 1."""
    norm, x = random_norm(16, None), random_maps((2, 16, 40, 40)) + 1000
    exact = apart(norm)
    assert (norm(x) - exact(x.double())).abs().max() < 1e-3


@pytest.mark.usefixtures("needs_compiler")
def test_it_is_the_same_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_kernels.functions() is not None
    norm, x, found = random_norm(40, 6.0), random_maps((4, 40, 30, 30)).requires_grad_(), []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        same = copy.deepcopy(norm)
        y = same(x)
        found.append([y, *torch.autograd.grad(y.square().sum(), (x, same.weight)), same.running_var])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
