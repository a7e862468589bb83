"""A program for ``test_distributed.py`` to start on two ranks: collectives, trainings together and alone; save all.

Usage: run_ranks.py FOLDER ANNOTATIONS IMAGES, or run_ranks.py RANK for that rank to die without a word.
"""

import dataclasses
import errno
import math
import os
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import Augmentation, Batch, Sample, SampleRequest, TrainingImages
from litepose_ofa.supernet.data.loading.mixture import Labelling, Member
from litepose_ofa.supernet.data.loading.mosaic import Mosaic
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError, NotFiniteError
from litepose_ofa.supernet.network.elastic_layers import ElasticBatchNorm2d
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import PoseNetwork
from litepose_ofa.supernet.training import trainer as trainer_module
from litepose_ofa.supernet.training.distributed import (
    SINGLE,
    Process,
    average_gradients,
    joined_process_group,
    run_on_main,
    synchronise_batch_norms,
)
from litepose_ofa.supernet.training.objective import LossSettings
from litepose_ofa.supernet.training.recipe import Phase, SupernetPlan, TrainingSettings, WarmupCosine
from litepose_ofa.supernet.training.step import StepResult, train_on_batch
from litepose_ofa.supernet.training.trainer import Trainer
from litepose_ofa.supernet.training.validation import Validator

BATCH_SIZE = 4
STEPS = 5
SPACE = dataclasses.replace(SearchSpace.preset("tiny"), name="small", image_sizes=(32, 48))
SMALLEST = dataclasses.replace(SPACE, image_sizes=(32,))
RATE = WarmupCosine(peak=0.004)
LARGEST = Phase("one", 30, RATE, rule="largest", num_random=0, teacher="none")
SANDWICH = (Phase("sandwich", STEPS, RATE),)
FROZEN = (
    Phase("full", 1, RATE, rule="largest", num_random=0, teacher="none"),
    Phase("all", 1, RATE, teacher="frozen", sort_channels="width"),
)
CASES: dict[str, tuple[tuple[Phase, ...], torch.dtype, dict[str, Any]]] = {
    "joint/per_sandwich": (SANDWICH, torch.float32, {"sync_batch_norm": True, "optimizer": "sgd"}),
    "joint/per_subnet": (SANDWICH, torch.float64, {"sync_batch_norm": True}),
    "parts/per_sandwich": (SANDWICH, torch.float64, {}),
    "parts/per_subnet": (SANDWICH, torch.float32, {"optimizer": "sgd"}),
    "frozen/per_sandwich": (FROZEN, torch.float32, {}),
}
"""Phases, dtype of the weights, and settings.

Adam's first steps are as long as the rate however small a gradient is, so that rounding decides them wherever it should
be zero: it is compared in float64, SGD in float32.
"""


def train(images: TrainingImages, folder: Path, process: Process, case: str, **changes: Any) -> dict[str, Any]:
    """Train a case; ranks begin with different weights, of which those of rank 0 hold."""
    phases, dtype, of_case = CASES[case]
    torch.manual_seed(process.rank)
    settings = TrainingSettings(
        batch_size=BATCH_SIZE,
        ema_decay=0.5,
        loss=LossSettings(sigmas=(1.5, 2.5), foreground_weight=5.0, tag_weight=0.002, guide_weight=0.02),
        log_every=1,
        update="per_subnet" if case.endswith("per_subnet") else "per_sandwich",
        **of_case | changes,
    )
    plan = SupernetPlan(SPACE, phases, 0)
    trainer = Trainer(LitePoseSupernet(SPACE).to(dtype), images, plan, settings, folder=folder, process=process)
    start = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    losses: list[dict[str, float]] = []

    def noted(model: PoseNetwork, batch: Batch, *rest: Any, **more: Any) -> StepResult:
        return train_on_batch(model, dataclasses.replace(batch, images=batch.images.to(dtype)), *rest, **more)

    with mock.patch.object(trainer_module, "train_on_batch", noted):
        trainer.train(on_step=lambda step, result: losses.append(result.losses))
    return {"start": start, "state": trainer.state_dict(), "losses": losses}


def diverge(images: TrainingImages, folder: Path, process: Process) -> dict[str, Any]:
    """Train on images of which those of rank 1 are not finite; return what it stopped with."""

    image_ids: list[tuple[int, ...]] = []

    def spoilt(model: PoseNetwork, batch: Batch, *rest: Any, **more: Any) -> StepResult:
        if process.rank == 1:
            batch = dataclasses.replace(batch, images=torch.full_like(batch.images, math.nan))
        image_ids.append(batch.image_ids)
        return train_on_batch(model, batch, *rest, **more)

    plan, settings = SupernetPlan(SMALLEST, (LARGEST,), 0), TrainingSettings(batch_size=BATCH_SIZE)
    trainer = Trainer(LitePoseSupernet(SMALLEST), images, plan, settings, folder=folder, process=process)
    with mock.patch.object(trainer_module, "train_on_batch", spoilt), pytest.raises(NotFiniteError) as stopped:
        trainer.train()
    return {"message": str(stopped.value), "step": trainer.step, "image_ids": image_ids[-1]}


def share(images: TrainingImages, folder: Path, process: Process) -> dict[str, Any]:
    """Share out a validation, images that do not decode, and, wrongly, a run folder for each rank."""

    class Marked(Validator):
        """Measures how many architectures came before, in hundreds, and the rank."""

        def _measure(self, model: PoseNetwork, arch: Arch) -> float:
            return 100 * archs.index(arch) + process.rank

    archs = [SMALLEST.sample(np.random.default_rng(seed)) for seed in range(3)]
    unused: Any = None
    validator = Marked({str(index): arch for index, arch in enumerate(archs)}, unused, unused, process)
    plan, settings = SupernetPlan(SMALLEST, (dataclasses.replace(LARGEST, steps=1),), 0), TrainingSettings(batch_size=2)

    def make(where: Path) -> Trainer:
        return Trainer(LitePoseSupernet(SMALLEST), images, plan, settings, folder=where, process=process)

    def fill_the_disk() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run.json")

    trainer = make(folder / "0")
    trainer.bad_images = {f"{process.rank}.jpg"}
    trainer.train()
    with pytest.raises(InputError) as apart:
        make(folder / str(process.rank)).resume()
    with pytest.raises(OSError, match="No space left") as stopped:
        run_on_main(fill_the_disk, process)
    return {
        "stopped": str(stopped.value),
        "scores": validator(trainer.model),
        "bad_images": sorted(trainer.bad_images),
        "saved": torch.load(next((folder / "0").rglob("*.pt")), weights_only=True)["bad_images"],
        "message": str(apart.value),
    }


class Hanging(TrainingImages):
    """Images of which a loading process reads the first alone."""

    left = 1

    def __getitem__(self, request: SampleRequest) -> Sample:
        self.left -= 1
        if self.left < 0:
            threading.Event().wait()
        return super().__getitem__(request)


def wait(images: TrainingImages, folder: Path, process: Process) -> int:
    """Train while the images of rank 1 do not come, and it alone is to stop; return where this rank stops."""
    if process.rank == 1:
        images = Hanging(images.dataset, augmentation=None)
    plan, settings = SupernetPlan(SMALLEST, (LARGEST,), 0), TrainingSettings(batch_size=2, workers=1)
    trainer = Trainer(LitePoseSupernet(SMALLEST), images, plan, settings, folder=folder, process=process)
    trainer.train(should_stop=lambda: process.rank == 1 and trainer.step == 1)
    return trainer.step


def check_gradients(process: Process) -> dict[str, Any]:
    """Average gradients that are None, channels-last on one rank alone, or plain."""
    generator = torch.Generator().manual_seed(process.rank)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((4, 3, 2, 2), (5,), (), (2, 2))]
    for parameter in parameters[:3]:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    if process.rank == 0 and parameters[0].grad is not None:
        parameters[0].grad = parameters[0].grad.contiguous(memory_format=torch.channels_last)
    before = [None if p.grad is None else p.grad.clone() for p in parameters]
    average_gradients(parameters, process)
    return {"before": before, "after": [p.grad for p in parameters]}


def check_norm(process: Process) -> dict[str, Any]:
    """Run one synchronised norm forward and backward on this rank's part of the batch, one image or four."""
    generator = torch.Generator().manual_seed(process.rank)
    x, gradient = torch.randn(2, 1 + 3 * process.rank, 5, 4, 6, generator=generator, dtype=torch.float64)
    x = (x + 2 * process.rank).requires_grad_()
    norm = ElasticBatchNorm2d(8).double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, 8))
        norm.bias.copy_(torch.linspace(-1, 1, 8))
    synchronise_batch_norms(norm, process)
    y = norm(x)
    y.backward(gradient)
    gradients = {"of_x": x.grad, "of_weight": norm.weight.grad, "of_bias": norm.bias.grad}
    return {"x": x.detach(), "gradient": gradient, "y": y.detach(), **gradients, "after": norm.state_dict()}


def main(folder: Path, annotations: Path, images_folder: Path) -> None:
    dataset = KeypointDataset.load(annotations, images_folder, CROWDPOSE)
    augmentation = Augmentation(rotation_degrees=20.0, mosaic=Mosaic(probability=0.5))
    limbs = Member("limbs", dataset, 0.3, Labelling((True,) * 12 + (False,) * 2, 0.5))
    images = TrainingImages(dataset, augmentation=augmentation, mixture=[limbs])
    with joined_process_group(torch.device("cpu")) as process:
        results = {
            "process": process,
            "gradients": check_gradients(process),
            "norm": check_norm(process),
            "together": {case: train(images, folder / "together" / case, process, case) for case in CASES},
            "diverged": diverge(images, folder / "diverged", process),
            "waited": wait(images, folder / "waited", process),
            "shared": share(images, folder / "shared", process),
        }
    results["left"] = not dist.is_initialized()
    joint = process.is_main
    cases = [case for case in CASES if case.startswith("joint" if joint else "parts")]
    own = {case: train(images, folder / "alone" / case, SINGLE, case, accumulation=2 - joint) for case in cases}
    torch.save(results | {"alone": own}, folder / f"{process.rank}.pt")


def die(rank: int) -> None:
    with joined_process_group(torch.device("cpu")) as process:
        if process.rank == rank:
            os._exit(7)
        check_gradients(process)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 2:
        main(*map(Path, sys.argv[1:]))
    else:
        die(int(sys.argv[1]))
