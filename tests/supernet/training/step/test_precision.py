"""Products in 16 bits: gradients stay float32 and close, an overflow lowers the scale."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet


@pytest.fixture
def supernet(make_supernet: Callable[[], LitePoseSupernet]) -> LitePoseSupernet:
    return make_supernet().train()


@pytest.fixture
def batch(batch_of: Callable[[int, int], Batch]) -> Batch:
    return batch_of(4, 32)


@pytest.mark.parametrize(("precision", "clip_norm"), [("bfloat16", math.inf), ("float16", 1.0)])
def test_products_in_16_bits_give_float32_gradients_close_to_float32_s(
    supernet: LitePoseSupernet, batch: Batch, precision: str, clip_norm: float, steps: Any
) -> None:
    """A scale of the loss is gone again before gradients are clipped."""
    exact, before = copy.deepcopy(supernet), steps.weights_of(supernet)
    types = set()
    for parameter in supernet.parameters():
        parameter.register_post_accumulate_grad_hook(lambda tensor: types.add(tensor.grad.dtype))
    seen: list[torch.dtype] = []
    supernet.register_forward_hook(lambda module, arguments, heads: seen.append(heads[0].dtype))
    plan = steps.plan(rule="largest", teacher="none")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=precision == "float16")
    result = steps.run(supernet, batch, plan, precision=precision, scaler=scaler, clip_norm=clip_norm)
    reference = steps.run(exact, batch, plan, clip_norm=clip_norm)
    assert seen == [getattr(torch, precision)]
    assert types == {torch.float32}
    assert result.losses["largest"] == pytest.approx(reference.losses["largest"], rel=0.02)
    ours, theirs = steps.moves(supernet, before), steps.moves(exact, before)
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.99
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.05)


def test_a_float16_overflow_is_skipped_and_lowers_the_scale(
    supernet: LitePoseSupernet, batch: Batch, steps: Any
) -> None:
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    result = steps.run(supernet, batch, steps.plan(num_random=0), precision="float16", scaler=scaler)
    assert result.skipped == "largest"
    assert math.isfinite(result.losses["largest"])
    steps.assert_same_bits(supernet.state_dict(), before)
    assert scaler.get_scale() == 2.0**59
