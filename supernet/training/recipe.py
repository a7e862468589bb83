"""The recipe of a training: phases, each with its elastic dimensions, subnets, teacher and learning rate.

Everything follows from (seed, step), so a resumed run sees exactly what an uninterrupted one would, and so does every
rank.
"""

import bisect
import itertools
import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import DIMENSIONS, Dimension, SearchSpace
from litepose_ofa.supernet.data.loading.processes import MOST_WORKERS
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.training.objective import LossSettings
from litepose_ofa.supernet.validation import Count, Fraction, NonNegative, Positive, Whole, settings

Update = Literal["per_subnet", "per_sandwich"]
Precision = Literal["float32", "bfloat16", "float16"]
OptimizerName = Literal["adamw", "adam", "sgd"]
Rule = Literal["sandwich", "random", "largest"]
SortedChannels = Literal["none", "hidden", "width"]
TeacherKind = Literal["none", "largest", "frozen", "external"]

ORDER, SIZE, SAMPLE, ARCHS = range(4)
"""Streams of random numbers, one a purpose, each a function of (seed, stream, step or epoch)."""


@settings
class TrainingSettings:
    """How a network is trained, whatever its phases are.

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
    """

    batch_size: Count
    accumulation: Count = 1
    optimizer: OptimizerName = "adamw"
    weight_decay: NonNegative = 1e-4
    update: Update = "per_subnet"
    clip_norm: Positive = 5.0
    precision: Precision = "float32"
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sync_batch_norm: bool = False
    loss: LossSettings = field(default_factory=LossSettings)
    seed: Whole = 0
    workers: Annotated[int, Field(ge=0, le=MOST_WORKERS)] = 0
    log_every: Count = 20
    checkpoint_every: Count = 200
    validate_every: Whole = 0

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulation:
            raise InputError(f"accumulation is {self.accumulation}; it must divide batch_size, {self.batch_size}")


@settings
class WarmupCosine:
    """Learning rate: linear warm-up, then half a cosine down to zero."""

    peak: NonNegative
    warmup: Fraction = 0.05

    def __call__(self, step: int, steps: int) -> float:
        """Return the rate of a step, from 0, in a phase of ``steps``."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return self.peak * (step + 1) / rising
        return self.peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


@settings
class WarmupSteps:
    """Learning rate: linear warm-up, then a factor at each milestone (the published recipe).

    Attributes:
        peak: Highest rate.
        warmup: Fraction of the steps that warm up.
        milestones: Fractions of the steps at which the rate falls.
        factor: What it is multiplied by there.
    """

    peak: NonNegative
    warmup: Fraction = 0.0
    milestones: tuple[Fraction, ...] = (0.7, 0.96)
    factor: Positive = 0.1

    def __call__(self, step: int, steps: int) -> float:
        """Return the rate of a step, from 0, in a phase of ``steps``."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.peak * (step + 1) / rising
        return self.peak * self.factor ** sum(step >= milestone * steps for milestone in self.milestones)


LearningRate = WarmupCosine | WarmupSteps


@settings
class Phase:
    """A part of a training.

    Attributes:
        name: Its name in metrics and messages.
        steps: Its length.
        learning_rate: Rate at each of its steps.
        elastic: Dimensions that vary between subnets; the others stay at their largest.
        rule: ``sandwich``: the largest, the smallest and ``num_random`` random subnets a step (arXiv:1903.05134);
            ``random``: ``num_random`` random ones (1 is the published LitePose recipe); ``largest``: it alone.
        num_random: Random subnets a step.
        teacher: Whose heatmaps the subnets learn from beside the labels. ``none``; ``largest``: those of the step's
            first subnet, the sandwich's largest (in-place distillation, arXiv:2003.11142); ``frozen``: those of the
            largest subnet as it was when the first phase with this teacher began (arXiv:1908.09791); ``external``:
            those of a given network.
        sort_channels: Channels sorted by importance before the phase begins: ``none``, ``hidden`` (before expansions
            become elastic) or ``width`` (before widths do).
    """

    name: str
    steps: Count
    learning_rate: LearningRate
    elastic: tuple[Dimension, ...] = DIMENSIONS
    rule: Rule = "sandwich"
    num_random: Annotated[int, Field(ge=0, le=1000)] = 1
    teacher: TeacherKind = "largest"
    sort_channels: SortedChannels = "none"

    def __post_init__(self) -> None:
        if self.rule == "random" and self.num_random == 0:
            raise InputError("num_random is 0; it must be at least 1 with rule random")
        if self.teacher == "largest" and self.rule != "sandwich":
            raise InputError(f"teacher is 'largest', which only rule sandwich trains in place; rule is {self.rule!r}")


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The plan of one step.

    Attributes:
        phase: The phase it belongs to.
        is_first: Whether it is the phase's first.
        image_size: Side of the input of every subnet, in pixels.
        subnets: The subnets, by name, in the order they are trained.
        learning_rate: Its rate.
        progress: Fraction of the whole training that is done before it.
    """

    phase: Phase
    is_first: bool
    image_size: int
    subnets: dict[str, Arch]
    learning_rate: float
    progress: float


@dataclass(frozen=True)
class SupernetPlan:
    """Subnets of a supernet: every phase's rule over its restriction of the space.

    Raises:
        InputError: If there is no phase.
    """

    space: SearchSpace
    phases: tuple[Phase, ...]
    seed: int
    steps: int = field(init=False)
    _ends: tuple[int, ...] = field(init=False)
    _spaces: tuple[SearchSpace, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError("a training needs at least one phase")
        ends = tuple(itertools.accumulate(phase.steps for phase in self.phases))
        object.__setattr__(self, "_ends", ends)
        object.__setattr__(self, "steps", ends[-1])
        object.__setattr__(self, "_spaces", tuple(self.space.restricted(phase.elastic) for phase in self.phases))

    def __call__(self, step: int) -> StepPlan:
        """Return the plan of a step, from 0."""
        index = bisect.bisect_right(self._ends, step)
        phase = self.phases[index]
        within = step - (self._ends[index] - phase.steps)
        return StepPlan(
            phase=phase,
            is_first=within == 0,
            image_size=self.image_size_at(step),
            subnets=self._subnets(step, index),
            learning_rate=phase.learning_rate(within, phase.steps),
            progress=step / self.steps,
        )

    def image_size_at(self, step: int) -> int:
        """Return the resolution that every subnet of a step is trained at, in pixels."""
        space = self._spaces[bisect.bisect_right(self._ends, step)]
        return int(np.random.default_rng((self.seed, SIZE, step)).choice(space.image_sizes))

    def _subnets(self, step: int, index: int) -> dict[str, Arch]:
        phase, space = self.phases[index], self._spaces[index]
        rng = np.random.default_rng((self.seed, ARCHS, step))
        subnets = {} if phase.rule == "random" else {"largest": space.largest()}
        if phase.rule == "sandwich":
            subnets["smallest"] = space.smallest()
        if phase.rule != "largest":
            subnets |= {f"random{i}": space.sample(rng) for i in range(phase.num_random)}
        image_size = self.image_size_at(step)
        return {name: arch.with_image_size(image_size) for name, arch in subnets.items()}


@dataclass(frozen=True)
class SubnetPlan:
    """One network alone, at its own resolution: its phase's rule and elastic dimensions say nothing."""

    arch: Arch
    phase: Phase

    @property
    def steps(self) -> int:
        """Steps of the phase."""
        return self.phase.steps

    def __call__(self, step: int) -> StepPlan:
        """Return the plan of a step."""
        return StepPlan(
            phase=self.phase,
            is_first=step == 0,
            image_size=self.arch.image_size,
            subnets={"subnet": self.arch},
            learning_rate=self.phase.learning_rate(step, self.steps),
            progress=step / self.steps,
        )

    def image_size_at(self, step: int) -> int:
        """Return the architecture's resolution."""
        return self.arch.image_size


Plan = SupernetPlan | SubnetPlan
"""Says what each step of a training does."""
