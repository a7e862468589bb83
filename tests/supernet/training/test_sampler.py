"""Which images a step sees follows from (seed, step) alone, whatever the number of ranks and wherever it begins."""

from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litepose_ofa.supernet.data.loading.batches import SampleRequest
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.training.distributed import SINGLE, Process
from litepose_ofa.supernet.training.recipe import Plan, TrainingSettings
from litepose_ofa.supernet.training.sampler import StepSampler, epoch_order

seeds = st.integers(0, 2**31 - 1)


@dataclass
class Sizes:
    """Stands in for a plan."""

    steps: int

    def image_size_at(self, step: int) -> int:
        return 32 + 16 * (step % 3)


def requests(
    num_images: int, batch_size: int, first: int, last: int, seed: int = 0, process: Process = SINGLE, **more: Any
) -> list[list[SampleRequest]]:
    settings, plan = TrainingSettings(batch_size=batch_size, seed=seed), cast(Plan, Sizes(last))
    return list(StepSampler(num_images, plan, settings, process, first_step=first, **more))


@given(seed=seeds, batch_size=st.integers(1, 8), spare=st.integers(0, 7), batches=st.integers(1, 6))
def test_an_epoch_sees_every_image_once(seed: int, batch_size: int, spare: int, batches: int) -> None:
    num_images = batch_size * batches + spare % batch_size
    for epoch in range(3):
        first = epoch * batches
        drawn = requests(num_images, batch_size, first=first, last=first + batches, seed=seed)
        seen = [request.index for batch in drawn for request in batch]
        assert len(seen) == len(set(seen)) == batch_size * batches
        assert seen == epoch_order(num_images, seed, epoch)[: len(seen)].tolist()


@given(seed=seeds, num_images=st.integers(3, 30), start=st.integers(0, 25))
def test_a_sampler_that_starts_later_gives_the_rest_of_the_full_one(seed: int, num_images: int, start: int) -> None:
    full = requests(num_images, 3, first=0, last=26, seed=seed)
    assert requests(num_images, 3, first=start, last=26, seed=seed) == full[start:]
    assert all(len(batch) == 3 for batch in full)


@given(world=st.integers(1, 6), each=st.integers(1, 3), spare=st.integers(0, 20), seed=seeds, first=st.integers(0, 9))
def test_ranks_share_out_the_single_process_s_batches_in_order(
    world: int, each: int, spare: int, seed: int, first: int
) -> None:
    batch_size = world * each
    whole, *ranks = (
        requests(batch_size + spare, batch_size, first=first, last=first + 5, seed=seed, process=process)
        for process in (SINGLE, *(Process(rank, world) for rank in range(world)))
    )
    assert all(len(batch) == each for rank in ranks for batch in rank)
    joined = [[request for part in parts for request in part] for parts in zip(*ranks, strict=True)]
    assert joined == whole


@pytest.mark.parametrize("teacher_size", [None, 48])
def test_images_come_at_the_resolution_of_their_step_and_no_two_are_augmented_alike(teacher_size: int | None) -> None:
    drawn = requests(8, 4, first=2, last=52, teacher_size=teacher_size)
    for step, batch in enumerate(drawn, start=2):
        assert {(request.size, request.teacher_size) for request in batch} == {(32 + 16 * (step % 3), teacher_size)}
    assert len({request.seed for batch in drawn for request in batch}) == 4 * len(drawn) == 200


@pytest.mark.parametrize(
    ("world", "changes", "message"),
    [
        (1, {"batch_size": 9}, "batch_size is 9; the training split has only 8 images"),
        (3, {"batch_size": 4}, "batch_size is 4; it must be a multiple of the 3 processes"),
        (2, {"batch_size": 4, "accumulation": 4}, "accumulation is 4; it must divide the 2 images of each process"),
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_refused(world: int, changes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StepSampler(8, cast(Plan, Sizes(1)), TrainingSettings(**changes), Process(world - 1, world))
