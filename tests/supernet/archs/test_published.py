"""The published architectures and accuracies; their costs are compared with the paper's in the complexity tests."""

import itertools

import pytest

from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.published import PUBLISHED_AP, published_archs

SEARCHED = ["search-XS", "search-S", "search-M", "search-L"]
PRUNED = ["prune-S", "prune-M", "prune-L"]


def test_names_and_order() -> None:
    assert list(published_archs()) == SEARCHED + PRUNED


def test_the_depths_expansions_and_kernels_of_all_are_the_full_ones() -> None:
    for arch in published_archs().values():
        assert [len(stage.blocks) for stage in arch.stages] == [6, 8, 10, 10]
        assert {(block.expansion, block.kernel) for stage in arch.stages for block in stage.blocks} == {(6, 7)}


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
