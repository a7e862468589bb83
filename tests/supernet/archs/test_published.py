"""The published architectures and accuracies; their costs are compared with the paper's in the complexity tests."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.published import KERNEL_ABLATION_AP, PUBLISHED_AP, published_archs

SEARCHED = ["search-XS", "search-S", "search-M", "search-L"]
PRUNED = ["prune-S", "prune-M", "prune-L"]


def test_names_and_order() -> None:
    assert list(published_archs()) == SEARCHED + PRUNED


def test_they_round_trip(published_dicts: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    for name, arch in published_archs().items():
        assert Arch.from_dict(published_dicts[name]) == arch
        arch.save(tmp_path / "arch.json")
        assert Arch.load(tmp_path / "arch.json") == arch


def test_the_depths_expansions_and_kernels_of_all_are_the_full_ones() -> None:
    for arch in published_archs().values():
        assert [len(stage.blocks) for stage in arch.stages] == [6, 8, 10, 10]
        assert {(block.expansion, block.kernel) for stage in arch.stages for block in stage.blocks} == {(6, 7)}


def test_a_caller_may_change_the_dict() -> None:
    published_archs().clear()
    assert len(published_archs()) == 7


def test_each_family_ascends_in_cost() -> None:
    archs = published_archs()
    for family in (SEARCHED, PRUNED):
        costs = [measure_complexity(archs[name]) for name in family]
        assert all(a.macs < b.macs and a.params < b.params for a, b in itertools.pairwise(costs))


@pytest.mark.parametrize(("dataset", "smallest", "largest"), [("crowdpose", 0.495, 0.619), ("coco", 0.406, 0.625)])
def test_accuracies_ascend_with_the_networks(dataset: str, smallest: float, largest: float) -> None:
    accuracies = PUBLISHED_AP[dataset]
    assert list(accuracies) == SEARCHED
    assert list(accuracies.values()) == sorted(accuracies.values())
    assert (accuracies["search-XS"], accuracies["search-L"]) == (smallest, largest)


def test_seven_by_seven_is_the_best_kernel() -> None:
    assert list(KERNEL_ABLATION_AP) == [3, 5, 7, 9]
    assert max(KERNEL_ABLATION_AP, key=KERNEL_ABLATION_AP.__getitem__) == 7
    assert all(0 < accuracy < 1 for accuracy in KERNEL_ABLATION_AP.values())
