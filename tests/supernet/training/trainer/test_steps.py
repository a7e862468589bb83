"""What the steps of a training see, what they write down, and that they learn."""

import dataclasses
import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading import TrainingImages
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.distributed import Process
from litepose_ofa.supernet.training.recipe import SupernetPlan, TrainingSettings, WarmupCosine
from litepose_ofa.supernet.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
MakePlan = Callable[..., SupernetPlan]
AfterSteps = Callable[[int], Callable[[], bool]]
ReadMetrics = Callable[[Path], list[dict[str, float]]]


def test_training_takes_no_global_random_numbers(
    make_trainer: MakeTrainer, make_plan: MakePlan, tmp_path: Path
) -> None:
    trainer = make_trainer(plan=make_plan(progressive=1), ema_decay=0.9)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    trainer.train()
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    np.testing.assert_equal(after[1], before[1])
    assert after[2] == before[2]


def test_metrics_say_what_a_step_did(
    make_trainer: MakeTrainer, make_plan: MakePlan, folder: Path, read_metrics: ReadMetrics
) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    trainer = make_trainer(plan=make_plan(steps=5, num_random=2), log_every=2)
    trainer.train(on_step=lambda step, result: seen.append((step, result.losses)))
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5]
    lines = read_metrics(folder)
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
    people: KeypointDataset,
    make_trainer: MakeTrainer,
    tmp_path: Path,
    after_steps: AfterSteps,
    read_metrics: ReadMetrics,
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    records = [dataclasses.replace(people.records[0], path=broken), *people.records[1:4]]
    dataset = KeypointDataset(people.annotations_path, people.images_dir, people.skeleton, records, on_bad_image="skip")
    images = TrainingImages(dataset, augmentation=None)
    make_trainer(images=images).train(should_stop=after_steps(4))
    rest = make_trainer(images=images)
    rest.train()
    assert rest.bad_images == {str(broken)}
    assert [line["bad_images"] for line in read_metrics(rest.folder)][3:] == [1, 1, 1]
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
