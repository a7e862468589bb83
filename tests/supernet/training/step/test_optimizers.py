"""Which parameters decay; the moving average of the weights against its closed form."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.step import make_average, make_optimizer


@pytest.fixture
def supernet(make_supernet: Callable[[], LitePoseSupernet]) -> LitePoseSupernet:
    return make_supernet()


def decays(model: nn.Module) -> dict[str, float]:
    """Weight decay by parameter name; every parameter is in exactly one group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = make_optimizer("adamw", model, weight_decay=0.03).param_groups
    found = [(names[id(parameter)], group["weight_decay"]) for group in groups for parameter in group["params"]]
    assert sorted(name for name, _ in found) == sorted(names.values())
    return dict(found)


@pytest.mark.parametrize("static", [False, True])
def test_norms_and_kernel_matrices_do_not_decay(supernet: LitePoseSupernet, static: bool) -> None:
    network = LitePose(supernet.space.smallest()) if static else supernet
    found = decays(network)
    matrices = {name for name in found if name.rpartition(".")[2].startswith("matrix_")}
    assert len(matrices) == (0 if static else 16)
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    free = {f"{norm}.{name}" for norm in norms for name in ("weight", "bias")} | matrices
    assert found == {name: 0.0 if name in free else 0.03 for name in found}


def averaged_by_hand(weights: list[Tensor], decay: float) -> Tensor:
    """Weighted sum of the weights of every step, each with the product of the decays that came after."""
    decays = [min(decay, (1 + n) / (10 + n)) for n in range(1, len(weights))]
    shares = [1.0, *(1 - one for one in decays)]
    total = torch.zeros_like(weights[0])
    for step, (weight, share) in enumerate(zip(weights, shares, strict=True)):
        total += share * torch.tensor(decays[step:], dtype=torch.float64).prod() * weight
    return total


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9998])
def test_the_average_in_closed_form(decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(3, 2, bias=False).double()
    average = make_average(layer, decay)
    weights = []
    for _ in range(40):
        with torch.no_grad():
            layer.weight.copy_(torch.randn(2, 3, generator=generator, dtype=torch.float64))
        weights.append(layer.weight.detach().clone())
        average.update_parameters(layer)
        expected = averaged_by_hand(weights, decay)
        torch.testing.assert_close(average.module.weight.detach(), expected, rtol=1e-12, atol=1e-14)


def test_statistics_are_the_model_s_latest(supernet: LitePoseSupernet) -> None:
    average = make_average(supernet, 0.9)
    before = copy.deepcopy(supernet.state_dict())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        supernet.train()(images, supernet.space.largest())
        average.update_parameters(supernet)
    moved = 0
    for (name, ours), (_, theirs) in zip(average.module.named_buffers(), supernet.named_buffers(), strict=True):
        assert torch.equal(ours, theirs), name
        moved += int(not torch.equal(ours, before[name]))
    assert moved > 0
    assert not {id(value) for value in average.module.buffers()} & {id(value) for value in supernet.buffers()}
