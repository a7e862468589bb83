"""Trainings on two gloo ranks under torchrun against trainings in one process."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset

TOLERANCE = 1e-5
ROUNDED_TOLERANCE = 1e-4
"""Of float32 variances deep in the network, over as few as eight values."""

CASES = ("joint/per_sandwich", "joint/per_subnet", "parts/per_sandwich", "parts/per_subnet")
Rank = dict[str, Any]


@pytest.fixture(scope="module")
def ranks(people: KeypointDataset, run_two_ranks: Callable[..., list[Rank]]) -> list[Rank]:
    """What each of two ranks saved of its trainings with the other and of those alone."""
    return run_two_ranks("train_ranks.py", people.annotations_path, people.images_dir)


def is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")


def furthest(ours: dict[str, Tensor], theirs: dict[str, Tensor], *, statistics: bool) -> float:
    """Return the largest difference of an element, relative above 1, of weights or of running statistics."""
    assert ours.keys() == theirs.keys()
    names = [name for name in ours if is_statistic(name) == statistics]
    pairs = [(ours[name].double(), theirs[name].double()) for name in names]
    return max(float(((a - b).abs() / b.abs().clamp(min=1)).max()) for a, b in pairs)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(ranks: list[Rank], case: str) -> None:
    """With joint statistics: the whole batch at once; without: the batch in two parts, one after the other."""
    joint = case.startswith("joint")
    ours = ranks[0]["together"][case]
    theirs = ranks[0 if joint else 1]["alone"][case]
    for which in ("model", "average"):
        assert furthest(ours["state"][which], theirs["state"][which], statistics=False) < TOLERANCE
    assert furthest(ours["state"]["model"], ours["start"], statistics=False) > 10 * TOLERANCE, "it was to learn"
    if joint:
        rounded = ours["start"]["first.0.0.weight"].dtype == torch.float32
        tolerance = ROUNDED_TOLERANCE if rounded else TOLERANCE
        for which in ("model", "average"):
            assert furthest(ours["state"][which], theirs["state"][which], statistics=True) < tolerance
    for mine, alone in zip(ours["losses"], theirs["losses"], strict=True):
        assert mine == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("case", [*CASES, "frozen/per_sandwich"])
def test_ranks_end_with_the_same_bits(ranks: list[Rank], case: str) -> None:
    """All of them, but for the statistics of batch norms that each see their own part."""
    first, second = (rank["together"][case]["state"] for rank in ranks)
    for which in ("model", "average", "frozen_teacher"):
        for name, tensor in (first[which] or {}).items():
            if which == "frozen_teacher" or case.startswith("joint") or not is_statistic(name):
                assert torch.equal(tensor, second[which][name]), name
    for ours, theirs in zip(first["optimizer"]["state"].values(), second["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_ranks_share_out_the_images_of_one_process(ranks: list[Rank]) -> None:
    first, second = (rank["together"]["joint/per_subnet"]["image_ids"] for rank in ranks)
    alone = ranks[0]["alone"]["joint/per_subnet"]["image_ids"]
    joint = [(*mine, *others) for mine, others in zip(first, second, strict=True)]
    assert joint == alone
    epochs = [[*joint[0], *joint[1]], [*joint[2], *joint[3]]]
    assert all(sorted(epoch) == sorted(range(1, 9)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_loss_that_is_not_finite_on_one_rank_stops_both_and_names_its_images(ranks: list[Rank]) -> None:
    first, second = (rank["diverged"] for rank in ranks)
    assert first["message"] == second["message"]
    assert first["step"] == second["step"] == 19
    images = ", ".join(map(str, second["image_ids"]))
    assert "for 20 steps in a row, last at step 19 in subnet largest (" in first["message"]
    assert f" px) on images {images};" in first["message"]
    assert set(first["image_ids"]).isdisjoint(second["image_ids"])


def test_ranks_share_a_validation_bad_images_checkpoints_and_failures(ranks: list[Rank]) -> None:
    first, second = (rank["shared"] for rank in ranks)
    assert list(first["scores"].items()) == list(second["scores"].items()) == [("0", 0), ("1", 101), ("2", 200)]
    assert first["bad_images"] == second["bad_images"] == first["saved"] != []
    for shared in (first, second):
        assert "processes find steps 1, None in it; all nodes must share one" in shared["message"]
    words = "[Errno 28] No space left on device: 'run.json'"
    assert [first["stopped"], second["stopped"]] == [["OSError", words], ["InputError", words]]
