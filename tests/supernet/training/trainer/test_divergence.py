"""Steps that are not finite: one changes nothing, twenty in a row stop the training."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import Sample, SampleRequest, TrainingImages
from litepose_ofa.supernet.errors import NotFiniteError
from litepose_ofa.supernet.network.checkpoints import load_supernet
from litepose_ofa.supernet.training.recipe import TrainingSettings
from litepose_ofa.supernet.training.sampler import StepSampler
from litepose_ofa.supernet.training.step import StepResult
from litepose_ofa.supernet.training.trainer import BEST_FILE, LAST_SKIPPED, MOST_SKIPPED, Trainer

State = dict[str, Any]
MakeTrainer = Callable[..., Trainer]


class SpoiledImages(TrainingImages):
    """Training images that are masked with NaN at chosen steps of one sampler."""

    def __init__(self, images: TrainingImages, sampler: StepSampler, steps: set[int]) -> None:
        super().__init__(images.dataset, augmentation=images.augmentation)
        self.sampler = sampler
        self.seeds = {request.seed for step in steps for request in sampler.requests(step)}

    def __getitem__(self, request: SampleRequest) -> Sample:
        sample = super().__getitem__(request)
        if request.seed not in self.seeds:
            return sample
        return dataclasses.replace(sample, mask=np.full_like(sample.mask, np.nan))


@pytest.fixture
def make_spoiled(images: TrainingImages, trainings: Any) -> MakeTrainer:
    """Make trainers for 24 steps, with images that are not finite at some of them."""

    def make(folder: Path, *, steps: set[int], **changes: Any) -> Trainer:
        plan = trainings.plan(space=trainings.smallest_images, steps=24, num_random=0)
        sampler = StepSampler(len(images), plan, TrainingSettings(batch_size=2))
        return trainings.make(folder, images=SpoiledImages(images, sampler, steps), plan=plan, **changes)

    return make


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_loss_that_is_not_finite_costs_its_step_alone(
    make_spoiled: MakeTrainer, folder: Path, update: str, trainings: Any
) -> None:
    trainer = make_spoiled(folder, steps={2}, update=update, ema_decay=0.5)
    states: list[State] = []
    skipped: list[str | None] = []

    def keep(step: int, result: StepResult) -> None:
        states.append(copy.deepcopy(trainer.state_dict()))
        skipped.append(result.skipped)

    trainer.train(on_step=keep, should_stop=trainings.stop_after(5))
    assert skipped == [None, None, "largest", None, None]
    for part in ("model", "optimizer", "average"):
        before, after = (dict(state[part]["state"]) if part == "optimizer" else state[part] for state in states[1:3])
        trainings.assert_equal(before, after)
    assert not trainings.is_equal(states[2]["model"], states[3]["model"])
    lines = trainings.metrics(folder)
    assert [line["skipped_updates"] for line in lines] == [0, 0, 1, 1, 1]
    assert [line["loss/largest"] is None for line in lines] == [False, False, True, False, False]
    assert trainer.skipped == 1


def test_nineteen_in_a_row_are_borne(make_spoiled: MakeTrainer, folder: Path) -> None:
    bad = {*range(1, MOST_SKIPPED), *range(MOST_SKIPPED + 1, 24)}
    trainer = make_spoiled(folder, steps=bad)
    assert trainer.train()
    assert (trainer.skipped, trainer.skipped_in_a_row) == (len(bad), 24 - MOST_SKIPPED - 1)


def test_after_twenty_in_a_row_it_stops_with_step_architecture_and_images(
    make_spoiled: MakeTrainer, folder: Path, people: KeypointDataset, trainings: Any
) -> None:
    bad = set(range(2, 2 + MOST_SKIPPED))
    last = max(bad)
    trainer = make_spoiled(folder, steps=bad, checkpoint_every=1)
    assert not trainer.train(should_stop=trainings.stop_after(12))
    trainer = make_spoiled(folder, steps=bad, checkpoint_every=1)
    assert trainer.skipped_in_a_row == 10
    with pytest.raises(NotFiniteError) as raised:
        trainer.train()

    requests = trainer.images.sampler.requests(last)
    ids = ", ".join(str(people.records[request.index].id) for request in requests)
    arch = trainer.plan(last).subnets["largest"]
    assert str(raised.value).startswith(
        f"loss or gradient was not finite for 20 steps in a row, last at step {last} in subnet largest "
        f"({arch.digest}, {arch.image_size} px) on images {ids};"
    )
    assert "\n" not in str(raised.value)
    assert [line["step"] for line in trainings.metrics(folder)] == list(range(last))

    again = make_spoiled(folder, steps=bad, checkpoint_every=1)
    assert (again.step, again.skipped_in_a_row) == (last, MOST_SKIPPED - 1)
    assert all(tensor.isfinite().all() for tensor in again.model.state_dict().values())


def test_updates_left_out_to_the_end_are_no_success(make_spoiled: MakeTrainer, folder: Path) -> None:
    trainer = make_spoiled(folder, steps=set(range(24 - LAST_SKIPPED, 24)))
    with pytest.raises(NotFiniteError, match=f"not finite in the last {LAST_SKIPPED} of 24 steps; a lower"):
        trainer.train()


@pytest.mark.parametrize("averaged", [False, True])
def test_ruined_weights_are_neither_kept_nor_measured(averaged: bool, folder: Path, trainings: Any) -> None:
    measured: list[int] = []

    def validate(network: object) -> dict[str, float]:
        measured.append(trainer.step)
        return {"AP": 0.5}

    trainer = trainings.make(checkpoint_every=1, validate_every=1, ema_decay=0.5 * averaged, validate=validate)

    def ruin(step: int, result: StepResult) -> None:
        if step == 3:
            next(iter((trainer.trained if averaged else trainer.model).parameters())).data[0] = float("nan")

    with pytest.raises(NotFiniteError, match=r"the network is ruined at step 3; .*: first\.0\.0\.weight is not fin"):
        trainer.train(on_step=ruin)
    assert measured == [1, 2]
    assert (trainings.make().step, load_supernet(folder / BEST_FILE).training) == (2, False)
