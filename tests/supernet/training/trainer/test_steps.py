"""What the steps of a training see and write down, and where a phase begins."""

import copy
import dataclasses
import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import TrainingImages
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import load_supernet
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import PoseNetwork
from litepose_ofa.supernet.training import trainer as trainer_module
from litepose_ofa.supernet.training.recipe import WarmupCosine
from litepose_ofa.supernet.training.step import StepResult, train_on_batch
from litepose_ofa.supernet.training.trainer import BEST_FILE, Trainer


def test_training_takes_no_global_random_numbers(tmp_path: Path, trainings: Any) -> None:
    trainer = trainings.make(plan=trainings.plan(progressive=1), ema_decay=0.9)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    trainer.train()
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    np.testing.assert_equal(after[1], before[1])
    assert after[2] == before[2]


def test_metrics_say_what_a_step_did(folder: Path, trainings: Any) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    trainer = trainings.make(plan=trainings.plan(steps=5, num_random=2), log_every=2)
    trainer.train(on_step=lambda step, result: seen.append((step, result.losses)))
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5]
    lines = trainings.metrics(folder)
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


def test_images_that_do_not_decode_are_counted_once_each(
    people: KeypointDataset, tmp_path: Path, trainings: Any
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    records = [dataclasses.replace(people.records[0], path=broken), *people.records[1:4]]
    dataset = KeypointDataset(people.annotations_path, people.images_dir, people.skeleton, records, on_bad_image="skip")
    images = TrainingImages(dataset, augmentation=None)
    trainings.make(images=images).train(should_stop=trainings.stop_after(4))
    rest = trainings.make(images=images)
    rest.train()
    assert rest.bad_images == {str(broken)}
    assert [line["bad_images"] for line in trainings.metrics(rest.folder)][3:] == [1, 1, 1]
    dataset.on_bad_image = "error"
    with pytest.raises(InputError, match=r"broken\.jpg: does not decode"):
        trainings.make(tmp_path / "strict", images=images).train()


SCORES = {2: (0.2, 0.5), 4: (0.3, 0.6), 6: (0.1, 0.7)}
"""Planted by step, of the smallest and the largest; the best mean is that of step 4."""


@pytest.mark.parametrize(("cuts", "ema_decay"), [((), 0.5), ((3,), 0.5), ((4,), 0.0)])
def test_the_best_weights_are_kept(folder: Path, cuts: tuple[int, ...], ema_decay: float, trainings: Any) -> None:
    given: dict[int, dict[str, Any]] = {}

    def validate(model: PoseNetwork) -> dict[str, float]:
        assert model is trainer.trained
        given[trainer.step] = copy.deepcopy(model.state_dict())
        return dict(zip(("smallest", "largest"), SCORES[trainer.step], strict=True))

    for until in (*cuts, 6):
        trainer = trainings.make(validate=validate, validate_every=2, ema_decay=ema_decay)
        trainer.train(should_stop=trainings.stop_after(until - trainer.step))
    assert list(given) == [2, 4, 6]
    assert trainings.is_equal(load_supernet(folder / BEST_FILE).state_dict(), given[4])
    assert trainer.best_ap == pytest.approx(0.45)
    lines = [line for line in trainings.metrics(folder) if "ap/smallest" in line]
    assert {line["step"] + 1: (line["ap/smallest"], line["ap/largest"]) for line in lines} == SCORES


@torch.no_grad()
def moment(trainer: Trainer) -> tuple[dict[str, Any], list[Tensor], bool]:
    """Copy what phases change; what the largest subnet and its average make of an image; whether there are moments."""
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    networks = [copy.deepcopy(cast(LitePoseSupernet, model)).eval() for model in (trainer.model, trainer.trained)]
    outputs = [head for network in networks for head in network(image, network.space.largest())]
    return copy.deepcopy(trainer.state_dict()), outputs, bool(trainer.optimizer.state)


def test_a_phase_begins_sorted_without_moments_and_with_the_first_phases_teacher(
    monkeypatch: pytest.MonkeyPatch, trainings: Any
) -> None:
    """The progressive recipe has two steps a phase: compared are the end of a step and the begin of the next."""
    trainer = trainings.make(plan=trainings.plan(progressive=2), ema_decay=0.5)
    ends, starts = [], []

    def record(model: Any, batch: Any, plan: Any, *rest: Any, **more: Any) -> StepResult:
        starts.append((plan.phase.name, *moment(trainer)))
        return train_on_batch(model, batch, plan, *rest, **more)

    monkeypatch.setattr(trainer_module, "train_on_batch", record)
    trainer.train(on_step=lambda step, result: ends.append(moment(trainer)))
    for step in (2, 4, 6, 8):
        (before, outputs, had_moments), (name, after, sorted_outputs, has_moments) = ends[step - 1], starts[step]
        assert (had_moments, has_moments) == (True, False)
        is_sorted = name in ("expansion", "width")
        for which in ("model", "average"):
            assert trainings.is_equal(before[which], after[which]) != is_sorted, f"{which} in {name}"
        for ours, theirs in zip(outputs, sorted_outputs, strict=True):
            difference = float((ours - theirs).abs().max() / theirs.abs().max())
            assert difference < 1e-5 if is_sorted else difference == 0
        assert trainings.is_equal(after["frozen_teacher"], starts[2][1]["frozen_teacher"])
    assert ends[1][0]["frozen_teacher"] is None
    assert [start[0] for start in starts[2::2]] == ["kernel", "depth", "expansion", "width"]


def test_the_frozen_teacher_is_the_full_network_of_the_first_phase(trainings: Any) -> None:
    trainer = trainings.make(plan=trainings.plan(progressive=2))
    trainer.train(should_stop=trainings.stop_after(2))
    largest = extract_subnet(trainer.model, trainer.model.space.largest()).state_dict()
    trainer.train(should_stop=trainings.stop_after(1))
    assert trainings.is_equal(trainer.state_dict()["frozen_teacher"], largest)
