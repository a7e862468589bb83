"""The budgets that the config ships, against what is published and what the tables say."""

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace

PUBLISHED = {
    "jetson_nano": [22, 97, 144, 211],
    "snapdragon_855": [27, 76, 97, 168],
    "raspberry_pi_4b": [109, 420, 588, 1052],
}


def shipped_budgets(device: str) -> DictConfig:
    with initialize_config_module("litepose_ofa.conf", version_base="1.3"):
        return compose("search", overrides=[f"device={device}"]).device.budgets_ms


def shares_of_tiny(device: str, budgets: DictConfig) -> list[float]:
    """Where the budgets lie between the fastest and the slowest network of the space ``tiny``."""
    cost = CostModel(SearchSpace.preset("tiny"), tables={device: LatencyTable.load(device)})
    low_ms, high_ms = cost.fastest(device)[1], cost.slowest(device)[1]
    return [(budget - low_ms) / (high_ms - low_ms) for budget in budgets.tiny.values()]


@pytest.mark.parametrize("device", PUBLISHED)
def test_full_spaces_have_the_published_latencies_and_tiny_rises(device: str) -> None:
    budgets = shipped_budgets(device)
    for space in ("litepose", "litepose_released"):
        assert [budgets[space][tier] for tier in ("xs", "s", "m", "l")] == PUBLISHED[device]
    shares = shares_of_tiny(device, budgets)
    assert shares == sorted(shares)
    assert 0.04 < shares[0] < 0.2
    assert 0.8 < shares[-1] < 1


def test_budgets_of_the_measured_machine_are_its_tables_estimates() -> None:
    """Nothing is published for it, so a table that is measured again moves them."""
    budgets, table = shipped_budgets("host_cpu"), LatencyTable.load("host_cpu")
    for tier, budget in budgets.litepose.items():
        assert budget == pytest.approx(table.estimate(published_archs()[f"search-{tier.upper()}"]).ms, abs=0.5)
    assert shares_of_tiny("host_cpu", budgets) == pytest.approx([0.08, 0.19, 0.45, 0.9], abs=0.01)
