"""What a step sees follows from (seed, step) alone; learning rates against their closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.data.loading import SampleRequest
from supernet.errors import InputError
from supernet.space import PRESETS, SearchSpace
from supernet.training.schedule import StepSampler, WarmupCosine, WarmupSteps, image_size_at, sandwich_archs

TINY = SearchSpace.preset("tiny")
seeds = st.integers(0, 2**31 - 1)
steps = st.integers(0, 10**6)


def requests(num_images: int, batch_size: int, *, first: int, last: int, seed: int = 0) -> list[list[SampleRequest]]:
    sampler = StepSampler(num_images, batch_size=batch_size, space=TINY, seed=seed, first_step=first, last_step=last)
    batches = list(sampler)
    assert len(sampler) == len(batches)
    return batches


@given(seed=seeds, batch_size=st.integers(1, 8), spare=st.integers(0, 7), batches=st.integers(1, 6))
def test_an_epoch_sees_every_image_once(seed: int, batch_size: int, spare: int, batches: int) -> None:
    num_images = batch_size * batches + spare % batch_size
    for epoch in range(3):
        first = epoch * batches
        seen = [
            r.index for b in requests(num_images, batch_size, first=first, last=first + batches, seed=seed) for r in b
        ]
        assert len(seen) == len(set(seen)) == batch_size * batches
        assert set(seen) <= set(range(num_images))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(r.index for batch in requests(40, 8, first=first, last=first + 5, seed=seed) for r in batch)
        for first, seed in ((0, 0), (5, 0), (10, 0), (0, 1))
    }
    assert len(orders) == 4
    assert all(sorted(order) == list(range(40)) for order in orders)


@given(seed=seeds, num_images=st.integers(3, 30), start=st.integers(0, 25))
def test_a_sampler_that_starts_later_gives_the_rest_of_the_full_one(seed: int, num_images: int, start: int) -> None:
    full = requests(num_images, 3, first=0, last=26, seed=seed)
    assert requests(num_images, 3, first=start, last=26, seed=seed) == full[start:]
    assert all(len(batch) == 3 for batch in full)


def test_no_two_samples_are_augmented_alike() -> None:
    drawn = [request.seed for batch in requests(4, 4, first=0, last=50) for request in batch]
    assert len(set(drawn)) == len(drawn)


@given(seed=seeds, step=steps, num_random=st.integers(0, 3), name=st.sampled_from(sorted(PRESETS)))
def test_a_sandwich_is_largest_smallest_and_random_at_one_resolution(
    seed: int, step: int, num_random: int, name: str
) -> None:
    space = SearchSpace.preset(name)
    archs = sandwich_archs(space, num_random=num_random, seed=seed, step=step)
    size = image_size_at(space, seed, step)
    assert archs[:2] == [space.largest().with_image_size(size), space.smallest().with_image_size(size)]
    assert len(archs) == 2 + num_random
    assert all(space.contains(arch) and arch.image_size == size for arch in archs)
    assert archs == sandwich_archs(space, num_random=num_random, seed=seed, step=step)


def test_images_come_at_the_resolution_of_the_step_s_subnets() -> None:
    sizes = [{request.size for request in batch} for batch in requests(8, 4, first=0, last=60, seed=3)]
    assert sizes == [{sandwich_archs(TINY, num_random=1, seed=3, step=step)[2].image_size} for step in range(60)]
    assert set().union(*sizes) == set(TINY.image_sizes)


def test_training_reaches_every_block_and_every_choice() -> None:
    """Regression: the public sampler's depths are below the network's, so that a fifth of the weights never trains."""
    space = SearchSpace.preset("litepose")
    archs = [arch for step in range(60) for arch in sandwich_archs(space, num_random=2, seed=0, step=step)]
    for s, stage in enumerate(space.stages):
        drawn = [arch.stages[s] for arch in archs]
        assert {len(one.blocks) for one in drawn} == set(stage.depths)
        assert {one.channels for one in drawn} == set(stage.channels)
        for b in range(stage.depths[-1]):
            blocks = [one.blocks[b] for one in drawn if b < len(one.blocks)]
            assert {block.expansion for block in blocks} == set(stage.expansions)
            assert {block.kernel for block in blocks} == set(stage.kernels)


def test_a_batch_larger_than_the_dataset_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size is 9; the training split has only 8 images"):
        requests(8, 9, first=0, last=1)


def test_cosine_in_closed_form() -> None:
    rate = WarmupCosine(peak=0.8, steps=120, warmup=1 / 6)
    assert [rate(step) for step in (0, 9, 19)] == pytest.approx([0.04, 0.4, 0.8])
    assert [rate(step) for step in (20, 70, 120)] == pytest.approx([0.8, 0.4, 0.0])
    assert rate(45) == pytest.approx(0.4 * (1 + math.sqrt(0.5)))


@given(length=st.integers(1, 500), warmup=st.floats(0, 1))
def test_cosine_rises_then_falls_and_is_never_zero_in_training(length: int, warmup: float) -> None:
    rate = WarmupCosine(peak=0.01, steps=length, warmup=warmup)
    rates = [rate(step) for step in range(length)]
    top = rates.index(max(rates))
    assert all(0 < value < 0.01 * (1 + 1e-12) for value in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_steps_in_closed_form() -> None:
    rate = WarmupSteps(peak=0.4, steps=1000, warmup=0.004, milestones=(0.7, 0.96), factor=0.1)
    expected = {0: 0.1, 1: 0.2, 3: 0.4, 4: 0.4, 699: 0.4, 700: 0.04, 959: 0.04, 960: 0.004, 999: 0.004}
    assert {step: rate(step) for step in expected} == pytest.approx(expected)
    assert WarmupSteps(peak=0.4, steps=10)(0) == 0.4
