"""Budgets of tiers, and those that the config ships."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from litepose_ofa import conf
from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.tiers import budget_ms
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

BUDGETS: Any = {"tiny": {"xs": 2, "l": 5.5}, "odd": {"xs": "fast", "s": -1, "m": True}}
PUBLISHED = {
    "jetson_nano": (22, 97, 144, 211),
    "snapdragon_855": (27, 76, 97, 168),
    "raspberry_pi_4b": (109, 420, 588, 1052),
}


def test_budget_of_a_tier() -> None:
    assert budget_ms(BUDGETS, device="board", space="tiny", tier="l") == 5.5


@pytest.mark.parametrize(
    ("space", "tier", "message"),
    [
        ("mine", "xs", r"device board has no budgets for space 'mine' \(it has: tiny, odd\)"),
        ("tiny", "xl", "device board has no tier 'xl' for space 'tiny'; known: xs, l"),
        ("odd", "xs", "is 'fast'; it must be milliseconds above 0"),
        ("odd", "s", "is -1; it must be milliseconds above 0"),
        ("odd", "m", "is True; it must be milliseconds above 0"),
    ],
)
def test_unknown_names_and_impossible_values(space: str, tier: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        budget_ms(BUDGETS, device="board", space=space, tier=tier)


@pytest.mark.parametrize("device", PUBLISHED)
def test_shipped_budgets(device: str) -> None:
    """Full spaces have the published latencies; those of ``tiny`` rise and lie between its fastest and its slowest."""
    with initialize_config_dir(str(Path(conf.__file__).parent), version_base="1.3"):
        cfg = compose("search", overrides=[f"device={device}"])
    for space in ("litepose", "litepose_released"):
        tiers = tuple(
            budget_ms(cfg.device.budgets_ms, device=device, space=space, tier=t) for t in ("xs", "s", "m", "l")
        )
        assert tiers == PUBLISHED[device]
    tiny = SearchSpace.preset("tiny")
    cost = CostModel(tiny, tables={device: LatencyTable.load(cfg.device.table)})
    budgets = [
        budget_ms(cfg.device.budgets_ms, device=device, space="tiny", tier=tier) for tier in ("xs", "s", "m", "l")
    ]
    low_ms, high_ms = cost.fastest(device)[1], cost.slowest(device)[1]
    shares = [(budget - low_ms) / (high_ms - low_ms) for budget in budgets]
    assert shares == sorted(shares)
    assert 0.04 < shares[0] < 0.2
    assert 0.8 < shares[-1] < 1


def test_budgets_of_the_measured_machine_are_its_tables_estimates() -> None:
    """Nothing is published for it, so a table that is measured again moves them."""
    with initialize_config_dir(str(Path(conf.__file__).parent), version_base="1.3"):
        budgets = compose("search", overrides=["device=host_cpu"]).device.budgets_ms
    table, archs = LatencyTable.load("host_cpu"), published_archs()
    for tier, budget in budgets.litepose.items():
        assert budget == pytest.approx(table.estimate(archs[f"search-{tier.upper()}"]).ms, abs=0.5)
    cost = CostModel(SearchSpace.preset("tiny"), tables={"host_cpu": table})
    low_ms, high_ms = cost.fastest("host_cpu")[1], cost.slowest("host_cpu")[1]
    shares = [(budget - low_ms) / (high_ms - low_ms) for budget in budgets.tiny.values()]
    assert shares == pytest.approx([0.08, 0.22, 0.45, 0.9], abs=0.01)
