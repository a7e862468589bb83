"""A program for ``test_data_parallel.py`` to start on two ranks: train together, then each rank alone; save all of it.

Usage: train_ranks.py FOLDER ANNOTATIONS IMAGES
"""

import dataclasses
import errno
import math
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import Augmentation, Batch, TrainingImages
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.subnets import Calibration
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import PoseNetwork
from litepose_ofa.supernet.training import trainer as trainer_module
from litepose_ofa.supernet.training.distributed import SINGLE, Process, joined_process_group, run_on_main
from litepose_ofa.supernet.training.objective import LossSettings
from litepose_ofa.supernet.training.recipe import Phase, SupernetPlan, TrainingSettings, WarmupCosine
from litepose_ofa.supernet.training.step import StepResult, train_on_batch
from litepose_ofa.supernet.training.trainer import Trainer, TrainingDivergedError
from litepose_ofa.supernet.training.validation import Validator

BATCH_SIZE = 4
STEPS = 5
SPACE = dataclasses.replace(SearchSpace.preset("tiny"), name="small", image_sizes=(32, 48))
RATE = WarmupCosine(peak=0.004)
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
    image_ids: list[tuple[int, ...]] = []
    losses: list[dict[str, float]] = []

    def noted(model: PoseNetwork, batch: Batch, *rest: Any, **more: Any) -> StepResult:
        image_ids.append(batch.image_ids)
        return train_on_batch(model, dataclasses.replace(batch, images=batch.images.to(dtype)), *rest, **more)

    with mock.patch.object(trainer_module, "train_on_batch", noted):
        trainer.train(on_step=lambda step, result: losses.append(result.losses))
    return {"start": start, "state": trainer.state_dict(), "image_ids": image_ids, "losses": losses}


def diverge(images: TrainingImages, folder: Path, process: Process) -> dict[str, Any]:
    """Train on images of which those of rank 1 are not finite; return what it stopped with."""

    image_ids: list[tuple[int, ...]] = []

    def spoilt(model: PoseNetwork, batch: Batch, *rest: Any, **more: Any) -> StepResult:
        if process.rank == 1:
            batch = dataclasses.replace(batch, images=torch.full_like(batch.images, math.nan))
        image_ids.append(batch.image_ids)
        return train_on_batch(model, batch, *rest, **more)

    phases = (Phase("one", 30, RATE, elastic=("kernel",), rule="largest", num_random=0, teacher="none"),)
    settings = TrainingSettings(batch_size=BATCH_SIZE)
    space = dataclasses.replace(SPACE, image_sizes=(32,))
    plan = SupernetPlan(space, phases, 0)
    trainer = Trainer(LitePoseSupernet(space), images, plan, settings, folder=folder, process=process)
    with mock.patch.object(trainer_module, "train_on_batch", spoilt):
        try:
            trainer.train()
        except TrainingDivergedError as error:
            return {"message": str(error), "step": trainer.step, "image_ids": image_ids[-1]}
    raise AssertionError("it did not stop")


def _fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "run.json")


def share(images: TrainingImages, folder: Path, process: Process) -> dict[str, Any]:
    """Share out a validation, images that do not decode, and, wrongly, a run folder for each rank."""

    class Marked(Validator):
        """Measures how many architectures came before, in hundreds, and the rank."""

        def _measure(self, model: PoseNetwork, arch: Arch) -> float:
            return 100 * archs.index(arch) + process.rank

    space = dataclasses.replace(SPACE, image_sizes=(32,))
    archs = [space.sample(np.random.default_rng(seed)) for seed in range(3)]
    calibration = Calibration(images.dataset, num_images=1, batch_size=1)
    named = {str(index): arch for index, arch in enumerate(archs)}
    validator = Marked(named, calibration, images.dataset, settings=InferenceSettings(), batch_size=1, process=process)
    records = [dataclasses.replace(record, path=folder / f"{record.id}.jpg") for record in images.dataset.records]
    records[0] = images.dataset.records[0]
    whole = images.dataset
    broken = KeypointDataset(whole.annotations_path, whole.images_dir, whole.skeleton, records, on_bad_image="skip")
    phases = (Phase("one", 1, RATE, rule="largest", num_random=0, teacher="none"),)
    plan = SupernetPlan(space, phases, 0)
    broken_images = TrainingImages(broken, augmentation=None)
    settings = TrainingSettings(batch_size=2)

    def make(where: Path) -> Trainer:
        return Trainer(LitePoseSupernet(space), broken_images, plan, settings, folder=where, process=process)

    trainer = make(folder / "0")
    trainer.train()
    try:
        make(folder / str(process.rank)).resume()
    except InputError as error:
        message = str(error)
    try:
        run_on_main(_fill_the_disk, process)
    except (InputError, OSError) as error:
        stopped = [type(error).__name__, str(error)]
    return {
        "stopped": stopped,
        "scores": validator(trainer.model),
        "bad_images": sorted(trainer.bad_images),
        "saved": torch.load(next((folder / "0").rglob("*.pt")), weights_only=True)["bad_images"],
        "message": message,
    }


def main(folder: Path, annotations: Path, images_folder: Path) -> None:
    torch.set_num_threads(1)
    dataset = KeypointDataset.load(annotations, images_folder, CROWDPOSE)
    images = TrainingImages(dataset, augmentation=Augmentation(rotation_degrees=20.0))
    with joined_process_group(torch.device("cpu")) as process:
        together = {case: train(images, folder / "together" / case, process, case) for case in CASES}
        diverged = diverge(images, folder / "diverged", process)
        shared = share(images, folder / "shared", process)
    joint = process.is_main
    cases = [case for case in CASES if case.startswith("joint" if joint else "parts")]
    own = {case: train(images, folder / "alone" / case, SINGLE, case, accumulation=2 - joint) for case in cases}
    torch.save(
        {"together": together, "diverged": diverged, "shared": shared, "alone": own}, folder / f"{process.rank}.pt"
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
