"""What the steps of a training see, what they write down, and that they learn."""

import copy
import dataclasses
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import TrainingImages
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import load_supernet
from litepose_ofa.supernet.network.litepose import PoseNetwork
from litepose_ofa.supernet.training.distributed import Process
from litepose_ofa.supernet.training.recipe import WarmupCosine
from litepose_ofa.supernet.training.trainer import BEST_FILE


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


@pytest.mark.parametrize(
    ("world", "changes", "message"),
    [
        (1, {"batch_size": 9}, "batch_size is 9; the training split has only 8 images"),
        (3, {"batch_size": 4}, "batch_size is 4; it must be a multiple of the 3 processes"),
        (2, {"batch_size": 4, "accumulation": 4}, "accumulation is 4; it must divide the 2 images of each process"),
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_refused_before_anything_is_written(
    folder: Path, world: int, changes: dict[str, int], message: str, trainings: Any
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        trainings.make(process=Process(rank=world - 1, world=world), **changes)
    assert list(folder.iterdir()) == []


SCORES = {
    2: {"smallest": 0.2, "largest": 0.5},
    4: {"smallest": 0.3, "largest": 0.6},
    6: {"smallest": 0.1, "largest": 0.7},
}
"""Planted by step; the best mean is that of step 4."""


@pytest.mark.parametrize(("cuts", "ema_decay"), [((), 0.5), ((3,), 0.5), ((4,), 0.0)])
def test_the_best_weights_are_kept(folder: Path, cuts: tuple[int, ...], ema_decay: float, trainings: Any) -> None:
    given: dict[int, dict[str, Any]] = {}

    def validate(model: PoseNetwork) -> dict[str, float]:
        assert model is trainer.trained
        given[trainer.step] = copy.deepcopy(model.state_dict())
        return SCORES[trainer.step]

    for until in (*cuts, 6):
        trainer = trainings.make(validate=validate, validate_every=2, ema_decay=ema_decay)
        trainer.train(should_stop=trainings.stop_after(until - trainer.step))
    assert list(given) == [2, 4, 6]
    assert trainings.is_equal(load_supernet(folder / BEST_FILE).state_dict(), given[4])
    assert trainer.best_ap == pytest.approx(0.45)
    lines = [line for line in trainings.metrics(folder) if "ap/smallest" in line]
    assert {line["step"] + 1: (line["ap/smallest"], line["ap/largest"]) for line in lines} == {
        step: tuple(scores.values()) for step, scores in SCORES.items()
    }
