"""Interrupted anywhere or killed, a training ends with the same bits; steps that are not finite change nothing."""

import copy
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.augmentation import Augmentation
from litepose_ofa.supernet.data.loading.batches import Batch, Sample, SampleRequest, TrainingImages
from litepose_ofa.supernet.data.loading.mixture import Labelling, Member
from litepose_ofa.supernet.data.loading.mosaic import Mosaic
from litepose_ofa.supernet.errors import InputError, NotFiniteError
from litepose_ofa.supernet.network.checkpoints import load_supernet
from litepose_ofa.supernet.network.litepose import PoseNetwork
from litepose_ofa.supernet.training import trainer as trainer_module
from litepose_ofa.supernet.training.objective import LossSettings
from litepose_ofa.supernet.training.sampler import StepSampler
from litepose_ofa.supernet.training.step import StepResult, train_on_batch
from litepose_ofa.supernet.training.trainer import BEST_FILE, CHECKPOINTS_FOLDER, LAST_SKIPPED, MOST_SKIPPED, Trainer

State = dict[str, Any]
MakeTrainer = Callable[..., Trainer]
STEPS_OF_AN_EPOCH = 4
"""Of eight images at batch 2."""


@pytest.fixture
def make_spoiled(trainings: Any, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> MakeTrainer:
    """Make trainers for 24 steps, with masks that are not finite at some of them."""

    def make(folder: Path, *, steps: set[int], **changes: Any) -> Trainer:
        smallest = dataclasses.replace(small_space, image_sizes=small_space.image_sizes[:1])
        plan = trainings.plan(space=smallest, steps=24, num_random=0)
        trainer: Trainer = trainings.make(folder, plan=plan, **changes)

        def spoil(model: PoseNetwork, batch: Batch, *rest: Any, **more: Any) -> StepResult:
            if trainer.step in steps:
                batch = dataclasses.replace(batch, mask=torch.full_like(batch.mask, torch.nan))
            return train_on_batch(model, batch, *rest, **more)

        monkeypatch.setattr(trainer_module, "train_on_batch", spoil)
        return trainer

    return make


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_loss_that_is_not_finite_costs_its_step_alone(
    make_spoiled: MakeTrainer, folder: Path, update: str, trainings: Any
) -> None:
    trainer = make_spoiled(folder, steps={2}, update=update, ema_decay=0.5)
    states: list[State] = []
    trainer.train(
        on_step=lambda step, result: states.append(copy.deepcopy(trainer.state_dict())),
        should_stop=trainings.stop_after(5),
    )
    assert [state["skipped"] for state in states] == [0, 0, 1, 1, 1]
    for part in ("model", "optimizer", "average"):
        before, after = (dict(state[part]["state"]) if part == "optimizer" else state[part] for state in states[1:3])
        trainings.assert_equal(before, after)
    assert not trainings.is_equal(states[2]["model"], states[3]["model"])
    lines = trainings.metrics(folder)
    assert [line["skipped_updates"] for line in lines] == [0, 0, 1, 1, 1]
    assert [line["loss/largest"] is None for line in lines] == [False, False, True, False, False]


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

    requests = StepSampler(len(trainer.images), trainer.plan, trainer.settings).requests(last)
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


RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adamw": ({}, {"ema_decay": 0.9}),
    "sgd": ({"num_random": 2}, {"optimizer": "sgd", "accumulation": 2, "ema_decay": 0.9}),
    "single": ({"rule": "random", "teacher": "none"}, {}),
    "progressive": ({"progressive": 2}, {"update": "per_sandwich", "ema_decay": 0.9}),
    "float16": ({"steps": 2}, {"precision": "float16"}),
}
"""What each changes in the plan and in the settings."""


@pytest.mark.parametrize("recipe", RECIPES)
def test_interrupted_after_every_step_it_ends_with_the_same_bits(tmp_path: Path, recipe: str, trainings: Any) -> None:
    of_plan, of_settings = RECIPES[recipe]
    plan = trainings.plan(**of_plan)
    assert plan.steps % STEPS_OF_AN_EPOCH, "the last cut is to be inside an epoch"
    whole = trainings.make(tmp_path / "whole", plan=plan, **of_settings)
    states: list[State] = []
    assert whole.train(on_step=lambda step, result: states.append(copy.deepcopy(whole.state_dict())))
    for step, state in enumerate(states, 1):
        part = trainings.make(tmp_path / "parts", plan=plan, **of_settings)
        assert part.step == step - 1
        assert part.train(should_stop=trainings.stop_after(1)) == (step == plan.steps)
        trainings.assert_equal(part.state_dict(), state)
    assert trainings.metrics(tmp_path / "parts") == trainings.metrics(tmp_path / "whole")
    assert [line["step"] for line in trainings.metrics(tmp_path / "whole")] == list(range(plan.steps))


def test_mosaics_of_a_mixture_from_workers_are_the_same_after_an_interruption(
    tmp_path: Path, people: KeypointDataset, trainings: Any
) -> None:
    """Whole without workers, in parts with one and with two; the cut is inside an epoch of eight and three images."""
    augmentation = Augmentation(mosaic=Mosaic(probability=0.7))
    loss = LossSettings(sigmas=(1.5, 2.5), tag_weight=0.002, unlabelled_weight=0.2)
    limbs = Member("limbs", people, 0.3, Labelling((True,) * 12 + (False,) * 2, 0.5))
    images = TrainingImages(people, augmentation=augmentation, mixture=[limbs])
    common = {"images": images, "loss": loss, "ema_decay": 0.9}
    whole = trainings.make(tmp_path / "whole", **common)
    whole.train()
    for workers in (1, 2):
        part = trainings.make(tmp_path / "parts", workers=workers, **common)
        part.train(should_stop=trainings.stop_after(3))
    assert part.step == part.plan.steps
    trainings.assert_equal(part.state_dict(), whole.state_dict())
    assert trainings.metrics(tmp_path / "parts") == trainings.metrics(tmp_path / "whole")


class Hanging(TrainingImages):
    """Images of which a loading process reads one batch, and no more."""

    left = 2

    def __getitem__(self, request: SampleRequest) -> Sample:
        self.left -= 1
        if self.left < 0:
            threading.Event().wait()
        return super().__getitem__(request)


def test_stopped_while_it_waits_for_images_it_keeps_the_last_step(
    tmp_path: Path, people: KeypointDataset, images: TrainingImages, trainings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "WAIT_SECONDS", 0.05)
    slow = Hanging(people, augmentation=images.augmentation)
    hanging = trainings.make(tmp_path / "parts", images=slow, workers=1)
    assert not hanging.train(should_stop=lambda: hanging.step == 1)
    rest = trainings.make(tmp_path / "parts")
    assert rest.step == 1
    rest.train()
    whole = trainings.make(tmp_path / "whole")
    whole.train()
    trainings.assert_equal(rest.state_dict(), whole.state_dict())
    assert trainings.metrics(tmp_path / "parts") == trainings.metrics(tmp_path / "whole")


def test_a_kill_costs_only_the_steps_since_the_last_checkpoint(tmp_path: Path, trainings: Any) -> None:
    class KilledError(Exception):
        pass

    def kill(step: int, result: StepResult) -> None:
        if step == 5:
            raise KilledError

    whole = trainings.make(tmp_path / "whole")
    whole.train()
    killed = trainings.make(tmp_path / "killed", checkpoint_every=2)
    with pytest.raises(KilledError):
        killed.train(on_step=kill)
    assert [line["step"] for line in trainings.metrics(tmp_path / "killed")] == [0, 1, 2, 3, 4]
    rest = trainings.make(tmp_path / "killed", checkpoint_every=2)
    assert rest.step == 4
    rest.train()
    again = trainings.make(tmp_path / "killed")
    assert again.train(on_step=lambda step, result: pytest.fail("nothing is left to do"))
    for trainer in (rest, again):
        trainings.assert_equal(trainer.state_dict(), whole.state_dict())
    assert trainings.metrics(tmp_path / "killed") == trainings.metrics(tmp_path / "whole")


@pytest.mark.parametrize("state", [{"step": 1}, {"version": 1, "step": 1}])
def test_a_checkpoint_of_another_version_is_named(state: State, trainings: Any) -> None:
    trainer = trainings.make()
    trainer.store.save(1, state)
    with pytest.raises(InputError, match=f"{CHECKPOINTS_FOLDER}: its checkpoints are of another version"):
        trainings.make()
