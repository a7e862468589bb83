"""How a network is trained, whatever its phases are."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from litepose_ofa.supernet.data.loading_processes import MOST_WORKERS
from litepose_ofa.supernet.errors import (
    InputError,
    require,
    require_numbers,
    shown,
)
from litepose_ofa.supernet.training.objective import LossSettings

Update = Literal["per_subnet", "per_sandwich"]
Precision = Literal["float32", "bfloat16", "float16"]
OptimizerName = Literal["adamw", "adam", "sgd"]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        batch_size: Images a step, over all processes.
        accumulation: Parts that a process runs its share of a batch in, one after the other, to save memory.
        optimizer: ``adamw``, ``adam`` or ``sgd`` (with momentum 0.9).
        weight_decay: Decay of convolution weights; batch norms and kernel matrices have none.
        update: An optimiser step after each subnet, or one a sandwich over the mean of the subnets' gradients.
        clip_norm: Largest gradient norm.
        precision: Type of the products in the forward pass (autocast); weights, gradients and losses are float32.
        ema_decay: Decay a step of the averaged weights, which are the ones evaluated and saved; it rises to this value
            over the first steps. 0: no average.
        sync_batch_norm: Batch norms see the batch of all processes instead of their own part.
        loss: Loss weights.
        seed: Seed of data order, augmentation, resolutions and architectures.
        workers: Data loading processes; 0 loads in this one.
        log_every: Steps between two lines of metrics.
        checkpoint_every: Steps between two checkpoints.
        validate_every: Steps between two validations, besides the one at the end; 0: none at all.

    Raises:
        InputError: If a value is impossible; the message names it.
    """

    batch_size: int
    accumulation: int = 1
    optimizer: OptimizerName = "adamw"
    weight_decay: float = 1e-4
    update: Update = "per_subnet"
    clip_norm: float = 5.0
    precision: Precision = "float32"
    ema_decay: float = 0.0
    sync_batch_norm: bool = False
    loss: LossSettings = field(default_factory=LossSettings)
    seed: int = 0
    workers: int = 0
    log_every: int = 20
    checkpoint_every: int = 200
    validate_every: int = 0

    def __post_init__(self) -> None:
        least = {"batch_size": 1, "accumulation": 1, "log_every": 1, "checkpoint_every": 1}
        for name, allowed in (least | {"workers": 0, "validate_every": 0}).items():
            value = getattr(self, name)
            require(type(value) is int and value >= allowed, name, value, f"an integer of at least {allowed}")
        require(self.workers <= MOST_WORKERS, "workers", self.workers, f"at most {MOST_WORKERS}")
        require(self.clip_norm > 0, "clip_norm", self.clip_norm, "above 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "at least 0 and below 1")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        for name, kind in (("optimizer", OptimizerName), ("update", Update), ("precision", Precision)):
            if getattr(self, name) not in get_args(kind):
                raise InputError(f"{name} is {shown(getattr(self, name))}; known: {', '.join(get_args(kind))}")
        if self.batch_size % self.accumulation:
            raise InputError(f"accumulation is {self.accumulation}; it must divide batch_size, {self.batch_size}")
        require_numbers(self)
