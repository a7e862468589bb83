"""Which parameters decay; the moving average of the weights against its closed form."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.recipe import OptimizerName
from litepose_ofa.supernet.training.step import SGD_MOMENTUM, make_average, make_optimizer, parameter_groups


@pytest.fixture
def supernet(make_supernet: Callable[[], LitePoseSupernet]) -> LitePoseSupernet:
    return make_supernet()


def decays(model: nn.Module) -> dict[str, object]:
    """Weight decay by parameter name; every parameter is in exactly one group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, object] = {}
    for group in parameter_groups(model, 0.03):
        assert isinstance(group["params"], list)
        for parameter in group["params"]:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = group["weight_decay"]
    assert found.keys() == set(names.values())
    return found


def norm_parameters(model: nn.Module) -> set[str]:
    return {
        f"{owner}.{name}"
        for owner, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for name in ("weight", "bias")
    }


def test_norms_and_kernel_matrices_of_a_supernet_do_not_decay(supernet: LitePoseSupernet) -> None:
    found = decays(supernet)
    matrices = {name for name in found if name.rpartition(".")[2].startswith("matrix_")}
    assert len(matrices) == 16
    free = norm_parameters(supernet) | matrices
    assert {name for name, value in found.items() if value == 0.0} == free
    assert {name for name, value in found.items() if value == 0.03} == found.keys() - free


def test_norms_and_biases_of_any_network_do_not_decay(supernet: LitePoseSupernet) -> None:
    network = LitePose(supernet.space.smallest())
    assert {name for name, value in decays(network).items() if value == 0.0} == norm_parameters(network)
    assert decays(nn.Conv2d(2, 3, 1)) == {"weight": 0.03, "bias": 0.0}


@pytest.mark.parametrize(("name", "kind"), [("adamw", AdamW), ("adam", Adam), ("sgd", SGD)])
def test_an_optimizer_has_its_decay_and_no_rate_yet(
    supernet: LitePoseSupernet, name: OptimizerName, kind: type[Optimizer]
) -> None:
    optimizer = make_optimizer(name, supernet, weight_decay=0.03)
    assert type(optimizer) is kind
    assert [(group["weight_decay"], group["lr"]) for group in optimizer.param_groups] == [(0.03, 0.0), (0.0, 0.0)]
    if name == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {SGD_MOMENTUM} == {0.9}


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


def test_the_average_starts_with_the_first_trained_weights_and_soon_forgets_them() -> None:
    layer = nn.Linear(1, 1, bias=False).double()
    average = make_average(layer, 0.9998)
    with torch.no_grad():
        layer.weight.fill_(1000.0)
    average.update_parameters(layer)
    assert average.module.weight.item() == 1000.0
    with torch.no_grad():
        layer.weight.fill_(1.0)
    for _ in range(100):
        average.update_parameters(layer)
    assert average.module.weight.item() == pytest.approx(1.0, abs=1e-4)


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


def test_an_average_goes_on_from_its_state(supernet: LitePoseSupernet) -> None:
    def train(average: torch.optim.swa_utils.AveragedModel, network: nn.Module, steps: range) -> None:
        for step in steps:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.fill_(float(step))
            average.update_parameters(network)

    whole, first, rest = (make_average(supernet, 0.99) for _ in range(3))
    train(whole, copy.deepcopy(supernet), range(7))
    train(first, copy.deepcopy(supernet), range(3))
    rest.load_state_dict(first.state_dict())
    train(rest, copy.deepcopy(supernet), range(3, 7))
    assert all(torch.equal(value, rest.state_dict()[name]) for name, value in whole.state_dict().items())
