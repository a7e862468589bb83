"""Products in 16 bits: gradients stay float32 and close, an overflow lowers the scale."""

import copy
import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from litepose_ofa.supernet.data.loading import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.recipe import StepPlan
from litepose_ofa.supernet.training.step import StepResult

AssertSameBits = Callable[[dict[str, Tensor], dict[str, Tensor]], None]
Moves = Callable[[nn.Module, list[Tensor]], Tensor]
RunStep = Callable[..., StepResult]
WeightsOf = Callable[[nn.Module], list[Tensor]]


def in_float32(supernet: LitePoseSupernet, batch: Batch) -> tuple[LitePoseSupernet, Batch]:
    plain = dataclasses.replace(
        batch, images=batch.images.float(), keypoints=batch.keypoints.float(), mask=batch.mask.float()
    )
    return supernet.float(), plain


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_bfloat16_products_give_float32_gradients_close_to_float32_s(
    supernet: LitePoseSupernet,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    run_step: RunStep,
    weights_of: WeightsOf,
    moves: Moves,
) -> None:
    supernet, batch = in_float32(supernet, batch)
    exact, before = copy.deepcopy(supernet), weights_of(supernet)
    types = set()
    for parameter in supernet.parameters():
        parameter.register_post_accumulate_grad_hook(lambda tensor: types.add(tensor.grad.dtype))
    seen: list[torch.dtype] = []
    supernet.register_forward_hook(lambda module, arguments, heads: seen.append(heads[0].dtype))
    plan = make_step_plan(rule="largest", teacher="none")
    result = run_step(supernet, batch, plan, precision="bfloat16")
    reference = run_step(exact, batch, plan)
    assert seen == [torch.bfloat16]
    assert types == {torch.float32}
    assert result.losses["largest"] == pytest.approx(reference.losses["largest"], rel=0.02)
    ours, theirs = moves(supernet, before), moves(exact, before)
    assert cosine(ours, theirs) > 0.99
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.05)


@pytest.fixture
def needs_float16() -> None:
    try:
        with torch.autocast("cpu", dtype=torch.float16):
            layer = nn.Conv2d(8, 8, 3, groups=8)
            layer(torch.ones(1, 8, 4, 4)).sum().backward()
    except RuntimeError as error:
        pytest.skip(f"this CPU has no float16 convolution ({error})")


@pytest.mark.usefixtures("needs_float16")
def test_a_float16_overflow_is_skipped_and_lowers_the_scale(
    supernet: LitePoseSupernet,
    batch: Batch,
    make_step_plan: Callable[..., StepPlan],
    run_step: RunStep,
    assert_same_bits: AssertSameBits,
) -> None:
    supernet, batch = in_float32(supernet, batch)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    result = run_step(supernet, batch, make_step_plan(num_random=0), precision="float16", scaler=scaler)
    assert result.skipped == "largest"
    assert math.isfinite(result.losses["largest"])
    assert_same_bits(supernet.state_dict(), before)
    assert scaler.get_scale() == 2.0**59
