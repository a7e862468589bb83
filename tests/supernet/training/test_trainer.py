"""The loop: interrupted anywhere, it ends with the same bits; what is not finite stops it in the end; it learns."""

import copy
import dataclasses
import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from supernet.checkpoints import load_supernet, weights_digest
from supernet.data.coco import KeypointDataset
from supernet.data.loading import Batch, Sample, SampleRequest, TrainingImages
from supernet.elastic_litepose import LitePoseSupernet
from supernet.errors import InputError
from supernet.extract import extract_subnet
from supernet.litepose import Heads
from supernet.space import SearchSpace
from supernet.training import trainer as trainer_module
from supernet.training.distributed import Process
from supernet.training.recipe import Phase, StepPlan, SubnetPlan, SupernetPlan, WarmupCosine
from supernet.training.sampler import StepSampler
from supernet.training.settings import TrainingSettings
from supernet.training.step import PoseNetwork, StepResult, train_on_batch
from supernet.training.trainer import (
    BEST_FILE,
    CHECKPOINTS_FOLDER,
    MOST_SKIPPED,
    Trainer,
    TrainingDivergedError,
    Validate,
)

State = dict[str, Any]
MakeTrainer = Callable[..., Trainer]
MakePlan = Callable[..., SupernetPlan]

STEPS_OF_AN_EPOCH = 4
"""Of eight images at batch 2."""


class Interruption:
    """Stops a training after a number of its own steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.fixture
def make_trainer(
    make_supernet: Callable[[], LitePoseSupernet],
    images: TrainingImages,
    make_plan: MakePlan,
    make_settings: Callable[..., TrainingSettings],
    folder: Path,
) -> MakeTrainer:
    """Make a trainer as a fresh process would, resumed if the folder has a checkpoint; keywords change the settings."""

    def make(
        folder: Path = folder,
        *,
        images: TrainingImages = images,
        plan: SupernetPlan | None = None,
        validate: Validate | None = None,
        **changes: Any,
    ) -> Trainer:
        settings = make_settings(**changes)
        trainer = Trainer(make_supernet(), images, plan or make_plan(), settings, folder=folder, validate=validate)
        trainer.resume()
        return trainer

    return make


def progressive(steps: int) -> tuple[Phase, ...]:
    """The full network, then a dimension more a phase, ``steps`` each; with both kinds of channel sorting."""
    rate = WarmupCosine(peak=0.004)
    frozen = Phase("kernel", steps, rate, elastic=("resolution", "kernel"), teacher="frozen")
    return (
        Phase("full", steps, rate, elastic=("resolution",), rule="largest", num_random=0, teacher="none"),
        frozen,
        dataclasses.replace(frozen, name="depth", elastic=(*frozen.elastic, "depth")),
        dataclasses.replace(
            frozen, name="expansion", elastic=(*frozen.elastic, "depth", "expansion"), sort_channels="hidden"
        ),
        dataclasses.replace(
            frozen, name="width", elastic=(*frozen.elastic, "depth", "expansion", "width"), sort_channels="width"
        ),
    )


def states_of(trainer: Trainer) -> list[State]:
    """Train to the end; return the whole state after each step."""
    states: list[State] = []
    assert trainer.train(on_step=lambda step, result: states.append(copy.deepcopy(trainer.state_dict())))
    return states


def metrics(folder: Path) -> list[dict[str, float]]:
    """Lines of the log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(line.pop("images_per_second", 1) > 0 for line in lines)
    return lines


def assert_equal_states(ours: object, theirs: object) -> None:
    if isinstance(ours, dict):
        assert isinstance(theirs, dict)
        assert list(ours) == list(theirs)
        for key in ours:
            assert_equal_states(ours[key], theirs[key])
    elif isinstance(ours, list):
        assert isinstance(theirs, list)
        for a, b in zip(ours, theirs, strict=True):
            assert_equal_states(a, b)
    elif isinstance(ours, Tensor):
        assert isinstance(theirs, Tensor)
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


def is_equal(ours: State, theirs: State) -> bool:
    """Say whether two state dicts of tensors are bit-equal."""
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adamw": ({}, {"ema_decay": 0.9}),
    "sgd": ({"num_random": 2}, {"optimizer": "sgd", "accumulation": 2, "ema_decay": 0.9}),
    "single": ({"rule": "random", "teacher": "none"}, {}),
    "progressive": ({"phases": progressive(2)}, {"update": "per_sandwich", "ema_decay": 0.9}),
    "float16": ({"steps": 2}, {"precision": "float16"}),
}
"""What each changes in the plan and in the settings."""


@pytest.mark.parametrize("recipe", RECIPES)
def test_interrupted_after_every_step_it_ends_with_the_same_bits(
    make_trainer: MakeTrainer, make_plan: MakePlan, tmp_path: Path, recipe: str
) -> None:
    of_plan, of_settings = RECIPES[recipe]
    plan = make_plan(**of_plan)
    assert plan.steps % STEPS_OF_AN_EPOCH, "the last cut is to be inside an epoch"
    whole = make_trainer(tmp_path / "whole", plan=plan, **of_settings)
    for step, state in enumerate(states_of(whole), 1):
        part = make_trainer(tmp_path / "parts", plan=plan, **of_settings)
        assert part.step == step - 1
        assert part.train(should_stop=Interruption(1)) == (step == plan.steps)
        assert_equal_states(part.state_dict(), state)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert [line["step"] for line in metrics(tmp_path / "whole")] == list(range(plan.steps))


def test_cut_inside_phases_and_between_them_it_ends_with_the_same_bits(
    make_trainer: MakeTrainer, make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(phases=progressive(3))
    settings = {"ema_decay": 0.9, "optimizer": "adam"}
    whole = make_trainer(tmp_path / "whole", plan=plan, **settings)
    whole.train()
    for until in (1, 3, 5, 9, 14):
        part = make_trainer(tmp_path / "parts", plan=plan, **settings)
        assert not part.train(should_stop=Interruption(until - part.step))
        assert part.step == until
    rest = make_trainer(tmp_path / "parts", plan=plan, **settings)
    assert rest.train()
    assert_equal_states(rest.state_dict(), whole.state_dict())
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_a_kill_costs_only_the_steps_since_the_last_checkpoint(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(step: int, result: StepResult) -> None:
        if step == 5:
            raise KilledError

    whole = make_trainer(tmp_path / "whole")
    whole.train()
    killed = make_trainer(tmp_path / "killed", checkpoint_every=2)
    with pytest.raises(KilledError):
        killed.train(on_step=kill)
    assert [line["step"] for line in metrics(tmp_path / "killed")] == [0, 1, 2, 3, 4]
    rest = make_trainer(tmp_path / "killed", checkpoint_every=2)
    assert rest.step == 4
    rest.train()
    assert_equal_states(rest.state_dict(), whole.state_dict())
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")


def test_a_single_network_goes_on_too(
    images: TrainingImages, small_space: SearchSpace, make_settings: Callable[..., TrainingSettings], tmp_path: Path
) -> None:
    supernet = LitePoseSupernet(small_space)
    phase = Phase("alone", 4, WarmupCosine(peak=0.004), rule="largest", num_random=0, teacher="none")
    plan = SubnetPlan(small_space.smallest(), phase)

    def make(folder: Path) -> Trainer:
        network = extract_subnet(supernet, plan.arch)
        trainer = Trainer(network, images, plan, make_settings(ema_decay=0.9), folder=folder)
        trainer.resume()
        return trainer

    for step, state in enumerate(states_of(make(tmp_path / "whole")), 1):
        part = make(tmp_path / "parts")
        part.train(should_stop=Interruption(1))
        assert part.step == step
        assert_equal_states(part.state_dict(), state)


def test_training_takes_no_global_random_numbers(
    make_trainer: MakeTrainer, make_plan: MakePlan, tmp_path: Path
) -> None:
    trainer = make_trainer(plan=make_plan(phases=progressive(1)), ema_decay=0.9)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    trainer.train()
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    np.testing.assert_equal(after[1], before[1])
    assert after[2] == before[2]


def test_another_seed_trains_other_weights(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    digests = set()
    for seed in (0, 1):
        trainer = make_trainer(tmp_path / str(seed), seed=seed)
        trainer.train(should_stop=Interruption(1))
        digests.add(weights_digest(trainer.model))
    assert len(digests) == 2


def test_each_step_has_its_own_subnets_at_the_size_of_its_images(
    make_trainer: MakeTrainer, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[StepPlan, int]] = []

    def record(model: PoseNetwork, batch: Batch, plan: StepPlan, *rest: Any, **more: Any) -> StepResult:
        seen.append((plan, batch.images.shape[-1]))
        return train_on_batch(model, batch, plan, *rest, **more)

    monkeypatch.setattr(trainer_module, "train_on_batch", record)
    plan = make_plan(steps=4, num_random=2, seed=3)
    make_trainer(plan=plan).train()
    assert [of_step for of_step, _ in seen] == [plan(step) for step in range(4)]
    assert all(arch.image_size == size for of_step, size in seen for arch in of_step.subnets.values())
    assert len({size for _, size in seen}) == 2
    assert len({of_step.subnets["random0"] for of_step, _ in seen}) > 1


def test_a_finished_training_stays_as_it_is(make_trainer: MakeTrainer, make_plan: MakePlan, folder: Path) -> None:
    plan = make_plan(steps=2)
    first = make_trainer(plan=plan)
    first.train()
    again = make_trainer(plan=plan)
    assert again.train(on_step=lambda step, result: pytest.fail("nothing is left to do"))
    assert_equal_states(again.state_dict(), first.state_dict())
    assert len(metrics(folder)) == 2


def test_metrics_say_what_a_step_did(make_trainer: MakeTrainer, make_plan: MakePlan, folder: Path) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    trainer = make_trainer(plan=make_plan(steps=5, num_random=2), log_every=2)
    trainer.train(on_step=lambda step, result: seen.append((step, result.losses)))
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5]
    lines = metrics(folder)
    assert [line["step"] for line in lines] == [1, 3, 4]
    rate = WarmupCosine(peak=0.004)
    for line in lines:
        step = int(line["step"])
        named = {name: line[f"loss/{name}"] for name in ("largest", "smallest", "random0", "random1")}
        assert named == pytest.approx(seen[step][1], abs=1e-7)
        assert line["learning_rate"] == pytest.approx(rate(step, 5), abs=1e-8)
        guided = 0.02 * (1 - 0.75 * step / 5) * line["largest/guide"]
        grouped = 0.002 * (line["largest/push"] + line["largest/pull"])
        assert line["loss/largest"] == pytest.approx(line["largest/heatmap"] + grouped + guided, abs=1e-6)
        assert line["bad_images"] == line["skipped_updates"] == 0


@torch.no_grad()
def largest_outputs(model: PoseNetwork) -> Heads:
    """Return what the largest subnet makes of a fixed image in eval mode; the mode stays as it was."""
    assert isinstance(model, LitePoseSupernet)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mode = model.training
    model.eval()
    heads = model(image, model.space.largest())
    model.train(mode)
    return cast(Heads, heads)


@dataclasses.dataclass
class Moment:
    """A copy of what phases change, and what the largest subnet and its average compute."""

    state: State
    outputs: tuple[Heads, Heads]
    has_moments: bool

    @classmethod
    def of(cls, trainer: Trainer) -> "Moment":
        outputs = largest_outputs(trainer.model), largest_outputs(trainer.trained)
        return cls(copy.deepcopy(trainer.state_dict()), outputs, bool(trainer.optimizer.state))


@pytest.fixture
def phase_starts(
    make_trainer: MakeTrainer, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[Moment, Moment]]:
    """For every later phase of the progressive recipe: the moment before it begins, and that before its first step."""
    trainer = make_trainer(plan=make_plan(phases=progressive(2)), ema_decay=0.5)
    ends: list[Moment] = []
    starts: list[tuple[str, Moment]] = []

    def record(model: PoseNetwork, batch: Batch, plan: StepPlan, *rest: Any, **more: Any) -> StepResult:
        starts.append((plan.phase.name, Moment.of(trainer)))
        return train_on_batch(model, batch, plan, *rest, **more)

    monkeypatch.setattr(trainer_module, "train_on_batch", record)
    trainer.train(on_step=lambda step, result: ends.append(Moment.of(trainer)))
    return {starts[step][0]: (ends[step - 1], starts[step][1]) for step in (2, 4, 6, 8)}


def test_a_phase_begins_sorted_without_moments_and_with_the_first_phases_teacher(
    phase_starts: dict[str, tuple[Moment, Moment]],
) -> None:
    for name, (before, after) in phase_starts.items():
        assert before.has_moments
        assert not after.has_moments
        is_sorted = name in ("expansion", "width")
        for which in ("model", "average"):
            assert is_equal(before.state[which], after.state[which]) != is_sorted, f"{which} in {name}"
        for network in range(2):
            for ours, theirs in zip(before.outputs[network], after.outputs[network], strict=True):
                difference = float((ours - theirs).abs().max() / theirs.abs().max())
                assert difference < 1e-5 if is_sorted else difference == 0
    assert phase_starts["kernel"][0].state["frozen_teacher"] is None
    teachers = [after.state["frozen_teacher"] for _, after in phase_starts.values()]
    assert all(is_equal(teacher, teachers[0]) for teacher in teachers)


def test_the_frozen_teacher_is_the_full_network_of_the_first_phase(
    make_trainer: MakeTrainer, make_plan: MakePlan
) -> None:
    trainer = make_trainer(plan=make_plan(phases=progressive(2)))
    trainer.train(should_stop=Interruption(2))
    assert isinstance(trainer.model, LitePoseSupernet)
    largest = extract_subnet(trainer.model, trainer.model.space.largest()).state_dict()
    trainer.train(should_stop=Interruption(1))
    assert is_equal(trainer.state_dict()["frozen_teacher"], largest)


class PlannedScores:
    """A validation whose scores are planted by step; keeps the weights that it was given."""

    scores: dict[int, dict[str, float]] = {  # noqa: RUF012
        2: {"smallest": 0.2, "largest": 0.5},
        4: {"smallest": 0.3, "largest": 0.6},
        6: {"smallest": 0.1, "largest": 0.7},
    }
    best = 4

    def __init__(self) -> None:
        self.given: dict[int, State] = {}
        self.trainer: Trainer | None = None

    def __call__(self, model: PoseNetwork) -> dict[str, float]:
        assert self.trainer is not None
        assert model is self.trainer.trained
        self.given[self.trainer.step] = copy.deepcopy(model.state_dict())
        return self.scores[self.trainer.step]


@pytest.mark.parametrize(("cuts", "ema_decay"), [((), 0.5), ((3,), 0.5), ((4,), 0.5), ((5,), 0.0)])
def test_the_best_weights_are_kept(
    make_trainer: MakeTrainer, folder: Path, cuts: tuple[int, ...], ema_decay: float
) -> None:
    validate = PlannedScores()
    for until in (*cuts, 6):
        trainer = make_trainer(validate=validate, validate_every=2, ema_decay=ema_decay)
        validate.trainer = trainer
        trainer.train(should_stop=Interruption(until - trainer.step))
    assert list(validate.given) == [2, 4, 6]
    assert is_equal(load_supernet(folder / BEST_FILE).state_dict(), validate.given[validate.best])
    assert trainer.best_ap == pytest.approx(0.45)
    lines = [line for line in metrics(folder) if "ap/smallest" in line]
    assert [(line["step"] + 1, line["ap/smallest"], line["ap/largest"]) for line in lines] == [
        (step, *scores.values()) for step, scores in validate.scores.items()
    ]


@pytest.mark.parametrize("damage", ["cut short", "a bit flipped"])
def test_the_checkpoint_before_a_damaged_one_is_used(
    make_trainer: MakeTrainer, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    whole = make_trainer(tmp_path / "whole")
    whole.train()
    make_trainer(checkpoint_every=2).train(should_stop=Interruption(5))
    *_, before, last = sorted((folder / CHECKPOINTS_FOLDER).iterdir())
    content = bytearray(last.read_bytes())
    if damage == "a bit flipped":
        content[len(content) // 2] ^= 1
    last.write_bytes(content[: len(content) // 2] if damage == "cut short" else content)
    rest = make_trainer(checkpoint_every=2)
    assert rest.step == 4
    assert f"{last}: is damaged" in caplog.text
    assert before.exists()
    rest.train()
    assert_equal_states(rest.state_dict(), whole.state_dict())
    assert metrics(folder) == metrics(tmp_path / "whole")


def test_without_a_whole_checkpoint_it_does_not_start_over(make_trainer: MakeTrainer, folder: Path) -> None:
    make_trainer(checkpoint_every=1).train(should_stop=Interruption(2))
    for path in (folder / CHECKPOINTS_FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="no checkpoint is whole; remove the folder to start again"):
        make_trainer()


@pytest.mark.parametrize("state", [{"step": 1}, {"version": 1, "step": 1}])
def test_a_checkpoint_of_another_version_is_named(make_trainer: MakeTrainer, state: State) -> None:
    trainer = make_trainer()
    trainer.store.save(1, state)
    with pytest.raises(InputError, match=f"{CHECKPOINTS_FOLDER}: its checkpoints are of another version"):
        make_trainer()


class SpoiledImages(TrainingImages):
    """Training images that are masked with NaN at chosen steps of one sampler."""

    def __init__(self, images: TrainingImages, sampler: StepSampler, steps: set[int]) -> None:
        super().__init__(images.dataset, augmentation=images.augmentation)
        self.seeds = {request.seed for step in steps for request in sampler.requests(step)}

    def __getitem__(self, request: SampleRequest) -> Sample:
        sample = super().__getitem__(request)
        if request.seed not in self.seeds:
            return sample
        return dataclasses.replace(sample, mask=np.full_like(sample.mask, np.nan))


@pytest.fixture
def smallest_images(small_space: SearchSpace) -> SearchSpace:
    """The space at its lowest resolution."""
    return dataclasses.replace(small_space, image_sizes=small_space.image_sizes[:1])


@pytest.fixture
def make_spoiled(
    images: TrainingImages, make_trainer: MakeTrainer, make_plan: MakePlan, smallest_images: SearchSpace
) -> MakeTrainer:
    """Make trainers for 24 steps, with images that are not finite at some of them."""

    def make(folder: Path, *, steps: set[int], **changes: Any) -> Trainer:
        plan = make_plan(space=smallest_images, steps=24, num_random=0)
        sampler = StepSampler(
            len(images), batch_size=2, image_size_at=plan.image_size_at, seed=0, first_step=0, last_step=24
        )
        return make_trainer(folder, images=SpoiledImages(images, sampler, steps), plan=plan, **changes)

    return make


@pytest.mark.parametrize("update", ["per_subnet", "per_sandwich"])
def test_a_loss_that_is_not_finite_costs_its_step_alone(make_spoiled: MakeTrainer, folder: Path, update: str) -> None:
    trainer = make_spoiled(folder, steps={2}, update=update, ema_decay=0.5)
    states: list[State] = []
    skipped: list[str | None] = []

    def keep(step: int, result: StepResult) -> None:
        states.append(copy.deepcopy(trainer.state_dict()))
        skipped.append(result.skipped)

    trainer.train(on_step=keep, should_stop=Interruption(5))
    assert skipped == [None, None, "largest", None, None]
    for part in ("model", "optimizer", "average"):
        before, after = (dict(state[part]["state"]) if part == "optimizer" else state[part] for state in states[1:3])
        assert_equal_states(before, after)
    assert not is_equal(states[2]["model"], states[3]["model"])
    lines = metrics(folder)
    assert [line["skipped_updates"] for line in lines] == [0, 0, 1, 1, 1]
    assert [line["loss/largest"] is None for line in lines] == [False, False, True, False, False]
    assert trainer.skipped == 1


def test_nineteen_in_a_row_are_borne(make_spoiled: MakeTrainer, folder: Path) -> None:
    bad = {*range(1, MOST_SKIPPED), *range(MOST_SKIPPED + 1, 24)}
    trainer = make_spoiled(folder, steps=bad)
    assert trainer.train()
    assert (trainer.skipped, trainer.skipped_in_a_row) == (len(bad), 24 - MOST_SKIPPED - 1)


@pytest.mark.parametrize("cut", [None, 12])
def test_after_twenty_in_a_row_it_stops_with_step_architecture_and_images(
    make_spoiled: MakeTrainer, folder: Path, people: KeypointDataset, cut: int | None
) -> None:
    bad = set(range(2, 2 + MOST_SKIPPED))
    last = max(bad)
    trainer = make_spoiled(folder, steps=bad, checkpoint_every=1)
    if cut is not None:
        assert not trainer.train(should_stop=Interruption(cut))
        trainer = make_spoiled(folder, steps=bad, checkpoint_every=1)
        assert trainer.skipped_in_a_row == cut - 2
    kept = copy.deepcopy(trainer.state_dict()["model"]) if cut else None
    with pytest.raises(TrainingDivergedError) as raised:
        trainer.train()

    of_step = trainer.plan(last)
    requests = StepSampler(
        len(people), batch_size=2, image_size_at=trainer.plan.image_size_at, seed=0, first_step=0, last_step=24
    ).requests(last)
    ids = ", ".join(str(people.records[request.index].id) for request in requests)
    arch = of_step.subnets["largest"]
    told = (
        f"loss or gradient was not finite for 20 steps in a row, last at step {last} in subnet largest "
        f"({arch.digest}, {arch.image_size} px) on images {ids};"
    )
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)
    assert [line["step"] for line in metrics(folder)] == list(range(last))

    again = make_spoiled(folder, steps=bad, checkpoint_every=1)
    assert (again.step, again.skipped_in_a_row) == (last, MOST_SKIPPED - 1)
    assert all(tensor.isfinite().all() for tensor in again.model.state_dict().values())
    if kept is not None:
        assert is_equal(again.model.state_dict(), kept)


def test_images_that_do_not_decode_are_counted_once_each(
    people: KeypointDataset, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    records = [dataclasses.replace(people.records[0], path=broken), *people.records[1:4]]
    dataset = KeypointDataset(people.annotations_path, people.images_dir, people.skeleton, records, on_bad_image="skip")
    images = TrainingImages(dataset, augmentation=None)
    make_trainer(images=images).train(should_stop=Interruption(4))
    rest = make_trainer(images=images)
    rest.train()
    assert rest.bad_images == {str(broken)}
    assert [line["bad_images"] for line in metrics(rest.folder)][3:] == [1, 1, 1]
    dataset.on_bad_image = "error"
    with pytest.raises(InputError, match=r"broken\.jpg: does not decode"):
        make_trainer(tmp_path / "strict", images=images).train()


@pytest.mark.parametrize(
    ("world", "changes", "message"),
    [
        (1, {"batch_size": 9}, "batch_size is 9; the training split has only 8 images"),
        (3, {"batch_size": 4}, "batch_size is 4; it must be a multiple of the 3 processes"),
        (2, {"batch_size": 4, "accumulation": 4}, "accumulation is 4; it must divide the 2 images of each process"),
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_refused_before_anything_is_written(
    make_supernet: Callable[[], LitePoseSupernet],
    images: TrainingImages,
    make_plan: MakePlan,
    make_settings: Callable[..., TrainingSettings],
    folder: Path,
    world: int,
    changes: dict[str, int],
    message: str,
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Trainer(
            make_supernet(),
            images,
            make_plan(),
            make_settings(**changes),
            folder=folder,
            process=Process(rank=world - 1, world=world),
        )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["external", "frozen"])
def test_a_teacher_that_cannot_be_is_named(
    images: TrainingImages,
    small_space: SearchSpace,
    make_settings: Callable[..., TrainingSettings],
    folder: Path,
    kind: Any,
) -> None:
    network = extract_subnet(LitePoseSupernet(small_space), small_space.smallest())
    phase = Phase("alone", 2, WarmupCosine(peak=0.004), rule="largest", num_random=0, teacher=kind)
    trainer = Trainer(network, images, SubnetPlan(network.arch, phase), make_settings(), folder=folder)
    with pytest.raises(InputError, match=f"teacher is '{kind}'"):
        trainer.train()


@pytest.fixture
def same_images(people: KeypointDataset) -> TrainingImages:
    """Four images, the same at every step."""
    return TrainingImages(people.first(4), augmentation=None)


def test_the_loss_falls_on_a_few_images(
    same_images: TrainingImages, make_trainer: MakeTrainer, make_plan: MakePlan, smallest_images: SearchSpace
) -> None:
    losses: list[dict[str, float]] = []
    plan = make_plan(space=smallest_images, steps=40, learning_rate=WarmupCosine(peak=0.01))
    trainer = make_trainer(images=same_images, plan=plan, batch_size=4)
    trainer.train(on_step=lambda step, result: losses.append(result.losses))
    ratios = {name: losses[-1][name] / first for name, first in losses[0].items()}
    assert ratios["largest"] < 0.5
    assert max(ratios.values()) < 0.7
    assert all(map(math.isfinite, ratios.values()))
