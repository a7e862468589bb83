"""The budgets that the config ships, against what is published and what the tables say."""

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.table import shipped_tables
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


def shares_of_range(device: str, space: str) -> list[float]:
    """Where the budgets of a space lie between its fastest and its slowest network."""
    cost = CostModel(SearchSpace.preset(space), tables={device: LatencyTable.load(device)})
    low_ms, high_ms = cost.fastest(device)[1], cost.slowest(device)[1]
    return [(budget - low_ms) / (high_ms - low_ms) for budget in shipped_budgets(device)[space].values()]


@pytest.mark.parametrize("device", PUBLISHED)
def test_full_spaces_have_the_published_latencies(device: str) -> None:
    budgets = shipped_budgets(device)
    for space in ("litepose", "litepose_released"):
        assert [budgets[space][tier] for tier in ("xs", "s", "m", "l")] == PUBLISHED[device]


@pytest.mark.parametrize("space", ["small", "tiny"])
@pytest.mark.parametrize("device", shipped_tables())
def test_spaces_without_published_latencies_have_four_budgets_over_their_range(device: str, space: str) -> None:
    shares = shares_of_range(device, space)
    assert len(shares) == 4
    assert shares == sorted(set(shares))
    assert 0.04 < shares[0] < 0.1
    assert 0.8 < shares[-1] < 1


def test_budgets_of_the_measured_machine_are_its_tables_estimates() -> None:
    """Nothing is published for it, so a table that is measured again moves them."""
    budgets, table = shipped_budgets("host_cpu"), LatencyTable.load("host_cpu")
    for tier, budget in budgets.litepose.items():
        assert budget == pytest.approx(table.estimate(published_archs()[f"search-{tier.upper()}"]).ms, abs=0.5)
    for space in ("small", "tiny"):
        assert shares_of_range("host_cpu", space) == pytest.approx([0.08, 0.19, 0.45, 0.9], abs=0.01)


@pytest.mark.parametrize("device", ["host_cpu", "jetson_nano", "raspberry_pi_4b"])
def test_every_budget_of_small_holds_a_network_of_the_published_style(device: str) -> None:
    """Full depth, kernel 7, greatest expansion, one width for all: what searched networks are compared with."""
    space, table = SearchSpace.preset("small"), LatencyTable.load(device)

    def pick(choice: str, values: tuple[int, ...]) -> int:
        return values[-1 if choice.endswith((".depth", ".kernel", ".expansion")) else 0]

    assert table.estimate(space.assemble(pick)).ms <= min(shipped_budgets(device).small.values())
