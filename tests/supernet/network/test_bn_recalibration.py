"""BN recalibration against statistics computed by hand.

Defect of the public code: it blended new statistics into old ones, and built autograd graphs while it did.
"""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from litepose_ofa.supernet.errors import NotFiniteError
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.litepose import LitePose


@pytest.fixture
def batches() -> list[Tensor]:
    """Three batches of different contrast and brightness."""
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(2, 3, 64, 64, generator=generator) + scale for scale in (0.5, 1.0, 2.0)]


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if "running_" in name}


@torch.no_grad()
def test_every_statistic_is_the_mean_over_batches(subnet: LitePose, batches: list[Tensor]) -> None:
    """Each batch alone, with momentum 1, leaves its own statistics; recalibration averages them."""
    sums: dict[str, Tensor] = {}
    for images in batches:
        one = copy.deepcopy(subnet).double().train()
        for norm in one.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = 1.0
        one(images.double())
        for name, value in statistics(one).items():
            sums[name] = sums.get(name, torch.zeros(())) + value
    recalibrated = copy.deepcopy(subnet).double()
    recalibrate_batch_norm(recalibrated, [images.double() for images in batches])
    for name, value in statistics(recalibrated).items():
        torch.testing.assert_close(value, sums[name] / 3, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("garbage", [1e6, math.nan])
def test_old_statistics_do_not_matter(garbage: float, subnet: LitePose, batches: list[Tensor]) -> None:
    spoilt = copy.deepcopy(subnet)
    for name, value in spoilt.state_dict().items():
        if "running_" in name:
            value.fill_(garbage)
        elif name.endswith("num_batches_tracked"):
            value.fill_(12345)
    assert recalibrate_batch_norm(subnet, batches) == recalibrate_batch_norm(spoilt, batches) == 6
    for (name, ours), theirs in zip(subnet.state_dict().items(), spoilt.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    recalibrate_batch_norm(spoilt, batches)  # a second time from the first time's
    assert all(torch.equal(a, b) for a, b in zip(statistics(subnet).values(), statistics(spoilt).values(), strict=True))


def test_only_statistics_change(subnet: LitePose, batches: list[Tensor]) -> None:
    before = {name: value.clone() for name, value in subnet.state_dict().items()}
    momenta = iter((0.1, 0.3, None))
    norms = [module for module in subnet.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms[:3]:
        norm.momentum = next(momenta)
    subnet.train()
    recalibrate_batch_norm(subnet, iter(batches))
    assert not any(module.training for module in subnet.modules())
    assert [norm.momentum for norm in norms] == [0.1, 0.3, None, *[0.1] * (len(norms) - 3)]
    for name, value in subnet.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == len(batches)
        else:
            assert torch.equal(value, before[name]) is not ("running_" in name), name


def test_nothing_to_calibrate_on_is_an_error(subnet: LitePose) -> None:
    before = {name: value.clone() for name, value in subnet.state_dict().items()}
    with pytest.raises(ValueError, match="BN recalibration needs at least one batch"):
        recalibrate_batch_norm(subnet, [])
    assert all(torch.equal(before[name], value) for name, value in subnet.state_dict().items())


def test_a_failing_source_of_batches_leaves_momenta_as_they_were(subnet: LitePose, batches: list[Tensor]) -> None:
    def failing() -> Iterator[Tensor]:
        yield batches[0]
        raise RuntimeError("image 2 does not decode")

    with pytest.raises(RuntimeError, match="image 2"):
        recalibrate_batch_norm(subnet, failing())
    assert {norm.momentum for norm in subnet.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}
    assert not any(module.training for module in subnet.modules())


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e38])
def test_statistics_that_are_not_finite_are_refused(value: float, subnet: LitePose, batches: list[Tensor]) -> None:
    subnet.get_parameter("first.0.0.weight").data[0] = value
    with pytest.raises(NotFiniteError, match="batch-norm statistics of the network are not finite"):
        recalibrate_batch_norm(subnet, batches)
