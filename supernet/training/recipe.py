"""The recipe of a training: phases, each with its elastic dimensions, subnets, teacher and learning rate.

Everything follows from (seed, step), so a resumed run sees exactly what an uninterrupted one would, and so does every
rank.
"""

import bisect
import itertools
import math
from collections.abc import Sequence
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
    """How a network is trained, whatever its phases are."""

    batch_size: Count  # images a step, over all processes
    accumulation: Count = 1  # parts that a process runs its share of a batch in, one after the other, to save memory
    optimizer: OptimizerName = "adamw"
    weight_decay: NonNegative = 1e-4  # of convolution weights; batch norms and kernel matrices have none
    update: Update = "per_subnet"  # or one step of the optimiser a sandwich, over the mean of the subnets' gradients
    clip_norm: Positive = 5.0
    precision: Precision = "float32"  # of products in the forward pass; weights, gradients and losses are float32
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the weights to evaluate and save; 0: no average
    sync_batch_norm: bool = False  # batch norms see the batch of all processes instead of their own part
    loss: LossSettings = field(default_factory=LossSettings)
    seed: Whole = 0  # of data order, augmentation, resolutions and architectures
    workers: Annotated[int, Field(ge=0, le=MOST_WORKERS)] = 0  # processes that load data; 0 loads in this one
    log_every: Count = 20  # steps
    checkpoint_every: Count = 200  # steps
    validate_every: Whole = 0  # steps, and at the end; 0: never

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
    """Learning rate: linear warm-up, then a factor at each milestone (the published recipe)."""

    peak: NonNegative
    warmup: Fraction = 0.0  # of the steps, as the milestones are
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
        elastic: Dimensions that vary between subnets; the others stay at their largest.
        rule: ``sandwich``: the largest, the smallest and ``num_random`` random subnets a step (arXiv:1903.05134);
            ``random``: ``num_random`` random ones (1 is the published LitePose recipe); ``largest``: it alone.
        teacher: Whose heatmaps the subnets learn from beside the labels. ``largest``: the sandwich's largest, the
            step's first subnet (in-place distillation, arXiv:2003.11142); ``frozen``: the largest subnet as it was when
            the first phase with this teacher began (arXiv:1908.09791); ``external``: a given network.
        sort_channels: Channels sorted by importance before the phase begins: ``hidden`` before expansions become
            elastic, ``width`` before widths do.
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
    """The plan of one step: its subnets by name, in the order they are trained."""

    phase: Phase
    is_first: bool  # of its phase
    image_size: int  # side of every subnet's input in pixels
    subnets: dict[str, Arch]
    learning_rate: float
    progress: float  # fraction of the whole training that is done before it


class SupernetPlan:
    """Plans the steps of a supernet's training: at each its phase's rule over the space, restricted to what varies."""

    def __init__(self, space: SearchSpace, phases: Sequence[Phase], seed: int) -> None:
        self.seed = seed
        self._phases = [(phase, space.restricted(phase.elastic)) for phase in phases]
        self._ends = list(itertools.accumulate(phase.steps for phase in phases))
        self.steps = self._ends[-1]

    def __call__(self, step: int) -> StepPlan:
        """Return the plan of a step, from 0."""
        index = bisect.bisect_right(self._ends, step)
        phase, space = self._phases[index]
        within = step - (self._ends[index] - phase.steps)
        image_size = self.image_size_at(step)
        rng = np.random.default_rng((self.seed, ARCHS, step))
        subnets = {} if phase.rule == "random" else {"largest": space.largest()}
        if phase.rule == "sandwich":
            subnets["smallest"] = space.smallest()
        if phase.rule != "largest":
            subnets |= {f"random{i}": space.sample(rng) for i in range(phase.num_random)}
        return StepPlan(
            phase=phase,
            is_first=within == 0,
            image_size=image_size,
            subnets={name: arch.with_image_size(image_size) for name, arch in subnets.items()},
            learning_rate=phase.learning_rate(within, phase.steps),
            progress=step / self.steps,
        )

    def image_size_at(self, step: int) -> int:
        """Return the resolution that every subnet of a step is trained at, in pixels."""
        _, space = self._phases[bisect.bisect_right(self._ends, step)]
        return int(np.random.default_rng((self.seed, SIZE, step)).choice(space.image_sizes))


class SubnetPlan:
    """One network alone, at its own resolution: its phase's rule and elastic dimensions say nothing."""

    def __init__(self, arch: Arch, phase: Phase) -> None:
        self.arch = arch
        self.phase = phase
        self.steps = phase.steps

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
