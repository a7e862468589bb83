"""Steps that are not finite leave no weight, moment or statistic changed."""

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.recipe import StepPlan, Update
from litepose_ofa.supernet.training.step import make_optimizer


def snapshot(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Every weight, statistic and moment, copied."""
    moments = {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    return {name: torch.as_tensor(value).clone() for name, value in (model.state_dict() | moments).items()}


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_bad_image_changes_no_weight_no_moment_and_no_statistic(
    supernet: LitePoseSupernet, batch: Batch, update: Update, value: float, accumulation: int, steps: Any
) -> None:
    plan = steps.plan(num_random=0)
    optimizer = make_optimizer("adamw", supernet, weight_decay=0.01)
    for group in optimizer.param_groups:
        group["lr"] = 0.001
    steps.run(supernet, batch, plan, optimizer=optimizer, clip_norm=5.0, update=update)
    before = snapshot(supernet, optimizer)
    assert len(before) > 2 * len(supernet.state_dict()), "weights and moments"
    images = batch.images.clone()
    images[2, 1, 7, 9] = value
    spoiled = dataclasses.replace(batch, images=images)
    changes: dict[str, Any] = {"clip_norm": 5.0, "update": update, "accumulation": accumulation}
    result = steps.run(supernet, spoiled, plan, optimizer=optimizer, **changes)
    assert result.skipped in plan.subnets
    assert not math.isfinite(result.losses["largest"])
    steps.assert_same_bits(snapshot(supernet, optimizer), before)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert steps.run(supernet, batch, plan, optimizer=optimizer, **changes).skipped is None


def spoil_small_kernels(supernet: LitePoseSupernet) -> None:
    """Make every subnet but the largest fail: it alone never crops a kernel."""
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if name.endswith("matrix_7to5"):
                parameter.fill_(math.nan)


def test_earlier_updates_of_a_skipped_step_remain_and_statistics_go_back(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, steps: Any
) -> None:
    spoil_small_kernels(supernet)
    expected = copy.deepcopy(supernet)
    before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    steps.run(expected, batch, steps.plan(rule="largest", teacher="none"))
    result = steps.run(supernet, batch, plan, update="per_subnet")
    assert result.skipped == "smallest"
    assert list(result.losses) == ["largest", "smallest"]
    steps.assert_same_bits(dict(supernet.named_parameters()), dict(expected.named_parameters()))
    steps.assert_same_bits(dict(supernet.named_buffers()), before)
    assert not torch.equal(expected.state_dict()["first.3.running_mean"], before["first.3.running_mean"])


def test_a_sandwich_with_one_bad_subnet_is_skipped_as_a_whole(
    supernet: LitePoseSupernet, batch: Batch, plan: StepPlan, steps: Any
) -> None:
    spoil_small_kernels(supernet)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    result = steps.run(supernet, batch, plan, update="per_sandwich")
    assert result.skipped is not None
    assert math.isfinite(result.losses["largest"])
    assert not math.isfinite(result.losses["smallest"])
    steps.assert_same_bits(supernet.state_dict(), before)
