"""Products in 16 bits: gradients stay float32 and close, an overflow lowers the scale."""

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet


def in_float32(supernet: LitePoseSupernet, batch: Batch) -> tuple[LitePoseSupernet, Batch]:
    plain = dataclasses.replace(
        batch, images=batch.images.float(), keypoints=batch.keypoints.float(), mask=batch.mask.float()
    )
    return supernet.float(), plain


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_bfloat16_products_give_float32_gradients_close_to_float32_s(
    supernet: LitePoseSupernet, batch: Batch, steps: Any
) -> None:
    supernet, batch = in_float32(supernet, batch)
    exact, before = copy.deepcopy(supernet), steps.weights_of(supernet)
    types = set()
    for parameter in supernet.parameters():
        parameter.register_post_accumulate_grad_hook(lambda tensor: types.add(tensor.grad.dtype))
    seen: list[torch.dtype] = []
    supernet.register_forward_hook(lambda module, arguments, heads: seen.append(heads[0].dtype))
    plan = steps.plan(rule="largest", teacher="none")
    result = steps.run(supernet, batch, plan, precision="bfloat16")
    reference = steps.run(exact, batch, plan)
    assert seen == [torch.bfloat16]
    assert types == {torch.float32}
    assert result.losses["largest"] == pytest.approx(reference.losses["largest"], rel=0.02)
    ours, theirs = steps.moves(supernet, before), steps.moves(exact, before)
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
def test_float16_gradients_are_scaled_and_unscaled(supernet: LitePoseSupernet, batch: Batch, steps: Any) -> None:
    supernet, batch = in_float32(supernet, batch)
    exact, before = copy.deepcopy(supernet), steps.weights_of(supernet)
    plan = steps.plan(num_random=0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    steps.run(supernet, batch, plan, update="per_sandwich", precision="float16", scaler=scaler, clip_norm=1.0)
    steps.run(exact, batch, plan, update="per_sandwich", clip_norm=1.0)
    ours, theirs = steps.moves(supernet, before), steps.moves(exact, before)
    assert cosine(ours, theirs) > 0.99
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.02)
    assert scaler.get_scale() == 2.0**10


@pytest.mark.usefixtures("needs_float16")
def test_a_float16_overflow_is_skipped_and_lowers_the_scale(
    supernet: LitePoseSupernet, batch: Batch, steps: Any
) -> None:
    supernet, batch = in_float32(supernet, batch)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    result = steps.run(supernet, batch, steps.plan(num_random=0), precision="float16", scaler=scaler)
    assert result.skipped == "largest"
    assert math.isfinite(result.losses["largest"])
    steps.assert_same_bits(supernet.state_dict(), before)
    assert scaler.get_scale() == 2.0**59
