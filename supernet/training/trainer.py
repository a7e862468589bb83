"""The training loop: declares its state, saves it, goes on from it."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from litepose_ofa.supernet.data.loading.batches import Batch, Sample, TrainingImages, collate_bytes
from litepose_ofa.supernet.data.loading.processes import WAIT_SECONDS, loaded, prepare_worker
from litepose_ofa.supernet.errors import InputError, NotFiniteError
from litepose_ofa.supernet.network.channel_sorting import channel_orders, permute_channels
from litepose_ofa.supernet.network.checkpoints import require_finite, save_network
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import PoseNetwork
from litepose_ofa.supernet.training.checkpoint_store import CheckpointStore
from litepose_ofa.supernet.training.distributed import (
    SINGLE,
    Process,
    any_rank,
    broadcast_state,
    gather_objects,
    run_on_main,
    run_together,
    synchronise_batch_norms,
)
from litepose_ofa.supernet.training.metrics import metrics_log
from litepose_ofa.supernet.training.recipe import Plan, StepPlan, TeacherKind, TrainingSettings
from litepose_ofa.supernet.training.sampler import StepSampler
from litepose_ofa.supernet.training.step import (
    StepResult,
    WeightUpdate,
    make_average,
    make_optimizer,
    share_result,
    train_on_batch,
)
from litepose_ofa.supernet.training.teacher import Teacher, largest_as_teacher

logger = logging.getLogger(__name__)

CHECKPOINTS_FOLDER = "checkpoints"
BEST_FILE = "best.safetensors"
STATE_VERSION = 1
MOST_SKIPPED = 20
"""Updates in a row that may be left out because their gradients are not finite."""
LAST_SKIPPED = 5
"""Updates in a row that may not be left out at the end of a training."""
ADVICE = "a lower learning rate helps"

Validate = Callable[[PoseNetwork], dict[str, float]]
"""Measures a network on every rank; returns AP by name, the same on every rank."""


class Trainer:
    """Trains a supernet or one network in place; ``step`` is the number of finished steps.

    Checkpoints, metrics and the best weights go to ``folder``, the same one for all ranks. ``teacher`` is who is learnt
    from in phases with the teacher ``external``; ``validate`` measures the network, if ``settings`` ask for it.

    Raises:
        InputError: If there are fewer images than a batch needs, or the ranks cannot share a batch evenly.
    """

    def __init__(
        self,
        model: PoseNetwork,
        images: TrainingImages,
        plan: Plan,
        settings: TrainingSettings,
        *,
        folder: Path,
        process: Process = SINGLE,
        teacher: Teacher | None = None,
        validate: Validate | None = None,
    ) -> None:
        self.images = images
        self.plan = plan
        self.settings = settings
        self.folder = folder
        self.process = process
        self.store = CheckpointStore(folder / CHECKPOINTS_FOLDER)
        self.step = 0
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.bad_images: set[str] = set()
        self.best_ap = -math.inf
        self._teachers: dict[TeacherKind, Teacher] = {} if teacher is None else {"external": teacher}
        self._validate = validate
        self._requests()  # refuses a batch that cannot be shared out
        self.model: PoseNetwork = model.to(device=process.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if settings.sync_batch_norm:
            synchronise_batch_norms(self.model, process)
        broadcast_state(self.model, process)
        self.average = make_average(self.model, settings.ema_decay) if settings.ema_decay else None
        self.optimizer = make_optimizer(settings.optimizer, self.model, weight_decay=settings.weight_decay)
        self.scaler = torch.amp.GradScaler(process.device.type, enabled=settings.precision == "float16")
        self._update = WeightUpdate(self.model, self.optimizer, settings.clip_norm, self.scaler, process)

    @property
    def trained(self) -> PoseNetwork:
        """The network to evaluate and to save: the average where there is one."""
        return self.model if self.average is None else cast(PoseNetwork, self.average.module)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on (randomness follows from seed and step)."""
        frozen = self._teachers.get("frozen")
        return {
            "version": STATE_VERSION,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "frozen_teacher": None if frozen is None else frozen.model.state_dict(),
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "bad_images": sorted(self.bad_images),
            "best_ap": self.best_ap,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that ``state_dict`` returned."""
        for name in ("model", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if state["frozen_teacher"] is not None:
            self._teachers["frozen"] = largest_as_teacher(self.model)
            self._teachers["frozen"].model.load_state_dict(state["frozen_teacher"])
        for name in ("step", "skipped", "skipped_in_a_row", "best_ap"):
            setattr(self, name, state[name])
        self.bad_images = set(state["bad_images"])

    def resume(self) -> bool:
        """Go on from the last whole checkpoint in the folder; say whether there was one.

        Raises:
            InputError: If none is whole, the last one is of another version, or ranks find different ones.
        """
        state = self.store.load_last()
        steps = gather_objects(None if state is None else state.get("step"), self.process)
        if len(set(steps)) > 1:
            found = ", ".join(map(str, steps))
            raise InputError(f"{self.store.folder}: processes find steps {found} in it; all nodes must share one")
        if state is None:
            return False
        if state.get("version") != STATE_VERSION or state.keys() != self.state_dict().keys():
            raise InputError(f"{self.store.folder}: its checkpoints are of another version; remove it to start again")
        self.load_state_dict(state)
        return True

    def train_step(self, batch: Batch) -> StepResult:
        """Train on this rank's part of a step's batch, and advance ``step``."""
        plan = self.plan(self.step)
        if plan.is_first:
            self._enter(plan)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate
        batch = batch.to(self.process.device)
        kind = plan.phase.teacher
        teacher = self._teachers[kind] if kind in ("external", "frozen") else None
        result = train_on_batch(self.model, batch, plan, self._update, self.settings, teacher=teacher)
        if self.average is not None and result.skipped is None:
            self.average.update_parameters(self.model)
        self.bad_images.update(str(path) for path in batch.bad_images)
        self._count(result, plan, batch)
        self.step += 1
        return result

    def train(
        self,
        *,
        on_step: Callable[[int, StepResult], None] = lambda step, result: None,
        on_values: Callable[[int, Mapping[str, float]], None] = lambda step, values: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train to the last step, or until any rank is to stop; leave a checkpoint either way.

        ``on_step`` is called after each step with the number of finished steps and its losses, means over the ranks;
        ``on_values`` with that number and what goes to the metrics. ``should_stop`` is asked before each step, and
        while the loading processes have no batch for it; all ranks then stop before the same step. The result says
        whether the training is complete.

        Raises:
            NotFiniteError: If gradients were not finite for ``MOST_SKIPPED`` steps in a row or up to the end, or
                weights are not finite where they would be measured or saved.
        """
        settings = self.settings
        self.model.train()
        began, logged = time.perf_counter(), self.step
        folder = self.folder if self.process.is_main else None
        with metrics_log(folder, first_step=self.step) as log, loaded(self._loader()) as batches:

            def tell(values: Mapping[str, float]) -> None:
                log(self.step - 1, values)
                on_values(self.step, values)

            for batch in batches:
                stopping = should_stop()
                if batch is None and not stopping:
                    continue
                if any_rank(stopping, self.process):
                    self._save()
                    break
                result = share_result(self.train_step(batch), self.process)
                if self._is_due(settings.log_every):
                    self.bad_images.update(*gather_objects(self.bad_images, self.process))
                    rate = (self.step - logged) * settings.batch_size / (time.perf_counter() - began)
                    tell(self._values(result, rate))
                on_step(self.step, result)
                if self.step == self.plan.steps:
                    self._require_trained()
                if settings.validate_every and self._is_due(settings.validate_every):
                    tell(self._validated())
                if self._is_due(settings.checkpoint_every):
                    self._save()
                if self._is_due(settings.log_every):
                    began, logged = time.perf_counter(), self.step
        return self.step >= self.plan.steps

    def _loader(self) -> "DataLoader[Sample]":
        """Return this rank's parts of the batches of the steps that are left, images as bytes."""
        return DataLoader(
            self.images,
            batch_sampler=self._requests(),
            collate_fn=collate_bytes,
            num_workers=self.settings.workers,
            timeout=WAIT_SECONDS if self.settings.workers else 0,
            worker_init_fn=prepare_worker,
            pin_memory=self.process.device.type == "cuda",
            generator=torch.Generator(),  # or else it takes a number from the global one
        )

    def _is_due(self, every: int) -> bool:
        """Say whether what is done every so many steps, and after the last, is to be done now."""
        return self.step % every == 0 or self.step == self.plan.steps

    def _enter(self, plan: StepPlan) -> None:
        """Begin a phase: sort channels, freeze a teacher, forget the optimiser's moments of the phase before."""
        phase = plan.phase
        logger.info("phase %s: %d steps from step %d", phase.name, phase.steps, self.step)
        if phase.sort_channels != "none" and isinstance(self.model, LitePoseSupernet):
            orders = channel_orders(self.model, phase.sort_channels)
            for network in {self.model, self.trained}:
                permute_channels(cast(LitePoseSupernet, network), orders)
        if phase.teacher == "frozen" and "frozen" not in self._teachers:
            self._teachers["frozen"] = largest_as_teacher(self.model)
            broadcast_state(self._teachers["frozen"].model, self.process)  # batch-norm statistics are rank 0's
        self.optimizer.state.clear()

    def _count(self, result: StepResult, plan: StepPlan, batch: Batch) -> None:
        """Count skipped updates in a row; after too many, name the images of the ranks with a bad loss, or all."""
        if result.skipped is None:
            self.skipped_in_a_row = 0
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row < MOST_SKIPPED:
            return
        culprit = not all(map(math.isfinite, result.losses.values()))
        seen = gather_objects((culprit, batch.image_ids), self.process)
        guilty = [ids for bad, ids in seen if bad] or [ids for _, ids in seen]
        images, arch = ", ".join(str(image) for ids in guilty for image in ids), plan.subnets[result.skipped]
        raise NotFiniteError(
            f"loss or gradient was not finite for {MOST_SKIPPED} steps in a row, last at step {self.step} in subnet "
            f"{result.skipped} ({arch.digest}, {arch.image_size} px) on images {images}; {ADVICE}"
        )

    def _values(self, result: StepResult, images_per_second: float) -> dict[str, float]:
        first = next(iter(result.losses))
        return {
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **{f"loss/{name}": loss for name, loss in result.losses.items()},
            **{f"{first}/{name}": value for name, value in result.parts.items()},
            "images_per_second": images_per_second,
            "skipped_updates": float(self.skipped),
            "bad_images": float(len(self.bad_images)),
        }

    def _validated(self) -> dict[str, float]:
        """Measure the network; keep its weights if their mean AP is the best so far."""
        assert self._validate is not None
        self._require_finite()
        scores = self._validate(self.trained)
        mean = sum(scores.values()) / len(scores)
        if mean > self.best_ap:
            self.best_ap = mean
            info = {"step": self.step, "ap": scores}
            skeleton, path = self.images.dataset.skeleton, self.folder / BEST_FILE
            run_on_main(lambda: save_network(path, self.trained, info, skeleton=skeleton), self.process)
        return {f"ap/{name}": ap for name, ap in scores.items()}

    def _save(self) -> None:
        self._require_finite()
        self.bad_images.update(*gather_objects(self.bad_images, self.process))
        run_on_main(lambda: self.store.save(self.step, self.state_dict()), self.process)

    def _require_trained(self) -> None:
        """Refuse to end with updates that were left out, over half of the training or ``LAST_SKIPPED`` steps."""
        row, steps = self.skipped_in_a_row, self.plan.steps
        if 2 * row >= min(steps, 2 * LAST_SKIPPED):
            raise NotFiniteError(f"loss or gradient was not finite in the last {row} of {steps} steps; {ADVICE}")

    def _require_finite(self) -> None:
        """Refuse to go on with a network that is ruined on any rank; a collective."""

        def check() -> None:
            for model in (self.model, self.trained):
                require_finite(model, f"the network is ruined at step {self.step}; {ADVICE}")

        run_together(check, self.process)

    def _requests(self) -> StepSampler:
        """Return this rank's requests of the steps that are left."""
        teacher = self._teachers.get("external")
        size = teacher.image_size if teacher else None
        return StepSampler(
            len(self.images), self.plan, self.settings, self.process, first_step=self.step, teacher_size=size
        )
