"""BN recalibration against statistics computed by hand.

Defect of the public code: it blended new statistics into old ones, and built autograd graphs while it did.
"""

import copy
import math

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
    alone = []
    for images in batches:
        one = copy.deepcopy(subnet).double().train()
        for norm in one.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = 1.0
        one(images.double())
        alone.append(statistics(one))
    recalibrate_batch_norm(subnet.double(), [images.double() for images in batches])
    for name, value in statistics(subnet).items():
        expected = torch.stack([one[name] for one in alone]).mean(0)
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("garbage", [1e6, math.nan])
def test_old_statistics_do_not_matter(garbage: float, subnet: LitePose, batches: list[Tensor]) -> None:
    spoilt = copy.deepcopy(subnet)
    spoilt.get_buffer("first.3.num_batches_tracked").fill_(12345)
    for value in statistics(spoilt).values():
        value.fill_(garbage)
    for _ in range(2):  # the second time from the first time's
        recalibrate_batch_norm(subnet, batches)
        recalibrate_batch_norm(spoilt, batches)
        for (name, ours), theirs in zip(subnet.state_dict().items(), spoilt.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs), name


def test_only_statistics_change(subnet: LitePose, batches: list[Tensor]) -> None:
    before = {name: value.clone() for name, value in subnet.state_dict().items()}
    recalibrate_batch_norm(subnet.train(), iter(batches))
    assert not any(module.training for module in subnet.modules())
    assert {module.momentum for module in subnet.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
    for name, value in subnet.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == len(batches)
        else:
            assert torch.equal(value, before[name]) is not ("running_" in name), name


@pytest.mark.parametrize("value", [math.nan, 1e38])
def test_statistics_that_are_not_finite_are_refused(value: float, subnet: LitePose, batches: list[Tensor]) -> None:
    subnet.get_parameter("first.0.0.weight").data[0] = value
    with pytest.raises(NotFiniteError, match="batch-norm statistics of the network are not finite"):
        recalibrate_batch_norm(subnet, batches)
