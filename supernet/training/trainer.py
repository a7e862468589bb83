"""The training loop of a supernet: declares its state, saves it, goes on from it."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch.optim import Adam, AdamW, Optimizer
from torch.utils.data import DataLoader

from supernet.checkpoints import read_torch_file
from supernet.data.loading import Batch, TrainingImages, collate
from supernet.elastic_litepose import LitePoseSupernet
from supernet.errors import InputError, require
from supernet.files import replacing
from supernet.training.metrics import MetricsLog
from supernet.training.objective import LossSettings
from supernet.training.sandwich import NonFiniteGradientError, StepResult, Update, parameter_groups, sandwich_step
from supernet.training.schedule import StepSampler, WarmupCosine, WarmupSteps, sandwich_archs

CHECKPOINT_NAME = "checkpoint.pt"
OPTIMIZERS: dict[str, type[Adam] | type[AdamW]] = {"adam": Adam, "adamw": AdamW}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a supernet is trained.

    Attributes:
        steps: Sandwich steps of the whole training.
        batch_size: Images a step.
        learning_rate: Rate at every step.
        optimizer: ``adam`` or ``adamw``.
        weight_decay: Decay of convolution weights; batch norms and kernel matrices have none.
        num_random: Random subnets a step, besides the largest and the smallest.
        update: An optimiser step after each subnet, or one a sandwich.
        clip_norm: Largest gradient norm.
        loss: Loss weights.
        seed: Seed of data order, augmentation, resolutions and architectures.
        workers: Data loading processes; 0 loads in this one.
        log_every: Steps between two lines of metrics.
        checkpoint_every: Steps between two checkpoints.

    Raises:
        InputError: If a value is impossible; the message names it.
    """

    steps: int
    batch_size: int
    learning_rate: WarmupCosine | WarmupSteps
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = 1e-4
    num_random: int = 1
    update: Update = "per_subnet"
    clip_norm: float = 5.0
    loss: LossSettings = field(default_factory=LossSettings)
    seed: int = 0
    workers: int = 0
    log_every: int = 20
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        counts = {"steps": 1, "batch_size": 1, "log_every": 1, "checkpoint_every": 1, "num_random": 0, "workers": 0}
        for name, least in counts.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InputError(f"{name} is {value!r}; it must be an integer of at least {least}")
        require(self.clip_norm > 0, "clip_norm", self.clip_norm, "above 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        for name, known in (("optimizer", tuple(OPTIMIZERS)), ("update", get_args(Update))):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; known: {', '.join(known)}")


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ignore, in a data loading process, the signals that a terminal or a scheduler sends to the whole group."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)


class Trainer:
    """Trains a supernet by the sandwich rule; ``step`` is the number of finished steps.

    Args:
        supernet: The supernet; trained in place.
        images: The training split.
        settings: The recipe.
        folder: Where checkpoint and metrics go.
        device: Where to train.

    Raises:
        InputError: If there are fewer images than a batch needs.
    """

    def __init__(
        self,
        supernet: LitePoseSupernet,
        images: TrainingImages,
        settings: TrainingSettings,
        *,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.supernet = supernet.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images = images
        self.settings = settings
        self.folder = folder
        self.device = device
        self.step = 0
        self.bad_images: set[str] = set()
        self._steps_from(0)  # refuses a dataset that is too small, before anything is written
        groups = parameter_groups(supernet, settings.weight_decay)
        self.optimizer: Optimizer = OPTIMIZERS[settings.optimizer](groups, lr=settings.learning_rate(0))

    @property
    def checkpoint_path(self) -> Path:
        """The file that a later start resumes from."""
        return self.folder / CHECKPOINT_NAME

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on (randomness follows from seed and step)."""
        return {
            "step": self.step,
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "bad_images": sorted(self.bad_images),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that ``state_dict`` returned."""
        self.supernet.load_state_dict(state["supernet"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.bad_images = set(state["bad_images"])

    def resume(self) -> bool:
        """Go on from the checkpoint in the folder; say whether there was one.

        Raises:
            InputError: If the checkpoint is damaged, or is no checkpoint of a training.
        """
        if not self.checkpoint_path.exists():
            return False
        state = read_torch_file(self.checkpoint_path)
        if not isinstance(state, dict) or state.keys() != self.state_dict().keys():
            raise InputError(f"{self.checkpoint_path}: is no training checkpoint; remove it to start again")
        self.load_state_dict(state)
        return True

    def save_checkpoint(self) -> None:
        """Write the state, whole or not at all."""
        with replacing(self.checkpoint_path) as temporary:
            torch.save(self.state_dict(), temporary)

    def train_step(self, batch: Batch) -> StepResult:
        """Train on one batch and advance ``step``.

        Raises:
            InputError: If a gradient is not finite; the message names the step.
        """
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate(self.step)
        archs = sandwich_archs(self.supernet.space, num_random=settings.num_random, seed=settings.seed, step=self.step)
        try:
            result = sandwich_step(
                self.supernet,
                batch.to(self.device),
                archs,
                self.optimizer,
                settings=settings.loss,
                progress=self.step / settings.steps,
                update=settings.update,
                clip_norm=settings.clip_norm,
            )
        except NonFiniteGradientError as error:
            raise InputError(f"{error} at step {self.step}; a lower training.learning_rate helps") from None
        self.step += 1
        return result

    def train(
        self,
        *,
        on_step: Callable[[int, StepResult], None] = lambda step, result: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train to the last step, or until asked to stop between two steps; leave a checkpoint either way.

        Args:
            on_step: Called after each step with the number of finished steps and the losses.
            should_stop: Asked after each step.

        Returns:
            Whether the training is complete.
        """
        settings = self.settings
        self.supernet.train()
        loader = DataLoader(
            self.images,
            batch_sampler=self._steps_from(self.step),
            collate_fn=collate,
            num_workers=settings.workers,
            worker_init_fn=_leave_signals_to_the_trainer,
            pin_memory=self.device.type == "cuda",
        )
        began, logged = time.perf_counter(), self.step
        with MetricsLog(self.folder, first_step=self.step) as metrics:
            for batch in loader:
                result = self.train_step(batch)
                self.bad_images.update(str(path) for path in batch.bad_images)
                if self.step % settings.log_every == 0 or self.step == settings.steps:
                    rate = (self.step - logged) * settings.batch_size / (time.perf_counter() - began)
                    began, logged = time.perf_counter(), self.step
                    metrics.write(self.step - 1, self._values(result, rate))
                on_step(self.step, result)
                stopping = should_stop()
                if stopping or self.step % settings.checkpoint_every == 0 or self.step == settings.steps:
                    self.save_checkpoint()
                if stopping:
                    break
        return self.step >= settings.steps

    def _values(self, result: StepResult, images_per_second: float) -> dict[str, float]:
        names = ("largest", "smallest", *(f"random{i}" for i in range(self.settings.num_random)))
        return {
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **{f"loss/{name}": loss for name, loss in zip(names, result.losses, strict=True)},
            **{f"largest/{name}": value for name, value in result.parts.items()},
            "images_per_second": images_per_second,
            "bad_images": float(len(self.bad_images)),
        }

    def _steps_from(self, step: int) -> StepSampler:
        return StepSampler(
            len(self.images),
            batch_size=self.settings.batch_size,
            space=self.supernet.space,
            seed=self.settings.seed,
            first_step=step,
            last_step=self.settings.steps,
        )
