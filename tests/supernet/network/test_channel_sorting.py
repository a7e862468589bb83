"""Channel sorting: the largest network stays what it is, important channels come first, and narrow subnets gain."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.channel_sorting import channel_orders, permute_channels
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import Heads

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TINY = SearchSpace.preset("tiny")
TIED = dataclasses.replace(
    TINY, name="tied", stages=(*TINY.stages[:3], dataclasses.replace(TINY.stages[3], channels=TINY.stages[2].channels))
)
"""Stages 2 and 3 have equal largest widths, and stage 3 has stride 1: the largest network adds the two up."""

SPACES = {"tiny": TINY, "litepose": SearchSpace.preset("litepose"), "tied": TIED}
Make = Callable[..., LitePoseSupernet]


@pytest.fixture
def make(randomise: Any) -> Make:
    """Build a supernet in float64 whose weights, statistics and kernel matrices are random; in eval mode."""
    return lambda space: randomise(LitePoseSupernet(space), 0).double().eval()  # type: ignore[no-any-return]


@torch.no_grad()
def heads_of(supernet: LitePoseSupernet) -> Heads:
    """Run the largest subnet on the test's images; in training mode statistics stay as they were."""
    heads: Heads = copy.deepcopy(supernet)(IMAGES.double(), supernet.space.largest())
    return heads


def movement(before: Heads, after: Heads) -> float:
    """Return the largest change of a head, relative to its largest absolute value."""
    return max(float((b - a).abs().max() / b.abs().max()) for b, a in zip(before, after, strict=True))


def all_orders(supernet: LitePoseSupernet) -> dict[str, Tensor]:
    return channel_orders(supernet, "hidden") | channel_orders(supernet, "width")


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_largest_network_stays_what_it_is(space: SearchSpace, make: Make) -> None:
    supernet = make(space)
    before, weight, state = heads_of(supernet), supernet.first[2].weight, copy.deepcopy(supernet.state_dict())
    orders = all_orders(supernet)
    permute_channels(supernet, orders)
    assert movement(before, heads_of(supernet)) < 1e-12
    assert all(order.tolist() != sorted(order.tolist()) for order in orders.values())
    assert supernet.first[2].weight is weight
    for name, tensor in supernet.state_dict().items():
        stays = name.startswith(("first.0", "first.1")) or ".matrix_" in name or name.endswith("num_batches_tracked")
        assert torch.equal(tensor, state[name]) == stays, name


@given(seed=st.integers(0, 2**32 - 1), tied=st.booleans(), training=st.booleans())
@settings(deadline=None, derandomize=True, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_permutation_keeps_the_largest_network_and_has_an_inverse(
    seed: int, tied: bool, training: bool, make: Make
) -> None:
    generator = torch.Generator().manual_seed(seed)
    supernet = make(TIED if tied else TINY).train(training)
    original, before = copy.deepcopy(supernet.state_dict()), heads_of(supernet)
    orders = {name: torch.randperm(len(order), generator=generator) for name, order in all_orders(supernet).items()}
    permute_channels(supernet, orders)
    assert movement(before, heads_of(supernet)) < 1e-12
    permute_channels(supernet, {name: order.argsort() for name, order in orders.items()})
    assert all(torch.equal(tensor, original[name]) for name, tensor in supernet.state_dict().items())


READERS = {f"stage.{s}.{b}.hidden": [f"stage.{s}.{b}.point_conv.0"] for s in range(4) for b in range(2)} | {
    "stem": ["stage.0.0.inv.0", "final_raw.1.conv.3"],
    "stage.0": ["stage.0.1.inv.0", "stage.1.0.inv.0", "deconv_raw.2", "final_raw.0.conv.3"],
    "stage.1": ["stage.1.1.inv.0", "stage.2.0.inv.0", "deconv_raw.1"],
    "stage.2": ["stage.2.1.inv.0", "stage.3.0.inv.0", "deconv_raw.0"],
    "stage.3": ["stage.3.1.inv.0", "deconv_refined.0"],
    "deconv.0": ["deconv_refined.1"],
    "deconv.1": ["deconv_refined.2", "final_refined.0.conv.3"],
    "deconv.2": ["final_refined.1.conv.3"],
}
"""The convolutions that read each group of ``tiny``."""


def importances(supernet: LitePoseSupernet) -> dict[str, Tensor]:
    """L1 norms over the readers of every group, each (C,)."""

    def norm(name: str) -> Tensor:
        weight = supernet.get_parameter(f"{name}.weight").detach().abs()
        return weight.sum((1, 2, 3) if name.startswith("deconv") else (0, 2, 3))

    return {group: torch.stack([norm(name) for name in names]).sum(0) for group, names in READERS.items()}


def test_importances_descend_after_sorting(make: Make) -> None:
    supernet = make(TINY)
    before, orders = importances(supernet), all_orders(supernet)
    hidden, width = channel_orders(supernet, "hidden"), channel_orders(supernet, "width")
    assert [name for name in READERS if name.endswith(".hidden")] == list(hidden)
    permute_channels(supernet, width)
    assert all(torch.equal(order, hidden[name]) for name, order in channel_orders(supernet, "hidden").items())
    permute_channels(supernet, hidden)
    after = importances(supernet)
    assert orders.keys() == after.keys()
    for name, importance in after.items():
        assert (importance.diff() <= 0).all(), name
        torch.testing.assert_close(importance, before[name][orders[name]], rtol=1e-12, atol=0)
