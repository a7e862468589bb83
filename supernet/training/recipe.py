"""What a training consists of: phases, each with its elastic dimensions, subnets, teacher and learning rate.

Everything follows from (seed, step), so a resumed run sees exactly what an uninterrupted one would, and so does every
rank.
"""

import bisect
import itertools
import math
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import DIMENSIONS, Dimension, SearchSpace
from litepose_ofa.supernet.errors import InputError, require, require_numbers
from litepose_ofa.supernet.training.streams import ARCHS, SIZE

Rule = Literal["sandwich", "random", "largest"]
SortedChannels = Literal["none", "hidden", "width"]
TeacherKind = Literal["none", "largest", "frozen", "external"]


MOST_RANDOM = 1000
"""Random subnets a step."""

KINDS = {"rule": Rule, "teacher": TeacherKind, "sort_channels": SortedChannels}


@dataclass(frozen=True, slots=True)
class WarmupCosine:
    """Learning rate: linear warm-up, then half a cosine down to zero.

    Attributes:
        peak: Highest rate.
        warmup: Fraction of the steps that warm up.
    """

    peak: float
    warmup: float = 0.05

    def __post_init__(self) -> None:
        require(self.peak >= 0, "peak", self.peak, "at least 0")
        require(0 <= self.warmup <= 1, "warmup", self.warmup, "from 0 to 1")
        require_numbers(self)

    def __call__(self, step: int, steps: int) -> float:
        """Return the rate of a step, from 0, in a phase of ``steps``."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return self.peak * (step + 1) / rising
        return self.peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


@dataclass(frozen=True, slots=True)
class WarmupSteps:
    """Learning rate: linear warm-up, then a factor at each milestone (the published recipe).

    Attributes:
        peak: Highest rate.
        warmup: Fraction of the steps that warm up.
        milestones: Fractions of the steps at which the rate falls.
        factor: What it is multiplied by there.
    """

    peak: float
    warmup: float = 0.0
    milestones: tuple[float, ...] = (0.7, 0.96)
    factor: float = 0.1

    def __post_init__(self) -> None:
        require(self.peak >= 0, "peak", self.peak, "at least 0")
        require(0 <= self.warmup <= 1, "warmup", self.warmup, "from 0 to 1")
        require(all(0 <= m <= 1 for m in self.milestones), "milestones", self.milestones, "from 0 to 1 each")
        require(self.factor > 0, "factor", self.factor, "above 0")
        require_numbers(self)

    def __call__(self, step: int, steps: int) -> float:
        """Return the rate of a step, from 0, in a phase of ``steps``."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.peak * (step + 1) / rising
        return self.peak * self.factor ** sum(step >= milestone * steps for milestone in self.milestones)


LearningRate = WarmupCosine | WarmupSteps


@dataclass(frozen=True, slots=True)
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

    Raises:
        InputError: If a value is impossible; the message names it.
    """

    name: str
    steps: int
    learning_rate: LearningRate
    elastic: tuple[Dimension, ...] = DIMENSIONS
    rule: Rule = "sandwich"
    num_random: int = 1
    teacher: TeacherKind = "largest"
    sort_channels: SortedChannels = "none"

    def __post_init__(self) -> None:
        require(type(self.steps) is int and self.steps >= 1, "steps", self.steps, "an integer of at least 1")
        known = {name: get_args(kind) for name, kind in KINDS.items()}
        for name, values in known.items():
            require(getattr(self, name) in values, name, getattr(self, name), f"one of {', '.join(values)}")
        for dimension in self.elastic:
            require(dimension in DIMENSIONS, "elastic", dimension, f"some of {', '.join(DIMENSIONS)}")
        least = 1 if self.rule == "random" else 0
        allowed = f"from {least} to {MOST_RANDOM} with rule {self.rule}"
        require(least <= self.num_random <= MOST_RANDOM, "num_random", self.num_random, allowed)
        if self.teacher == "largest" and self.rule != "sandwich":
            raise InputError(f"teacher is 'largest', which only rule sandwich trains in place; rule is {self.rule!r}")
        require_numbers(self)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step does.

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


class Plan(Protocol):
    """Says what each step of a training does."""

    @property
    def steps(self) -> int:
        """Number of steps."""

    def __call__(self, step: int) -> StepPlan:
        """Return the plan of a step, from 0."""

    def image_size_at(self, step: int) -> int:
        """Return the side of the input at a step, in pixels."""


class Phases:
    """Phases one after the other.

    Args:
        phases: At least one.

    Raises:
        InputError: If there is none.
    """

    def __init__(self, phases: tuple[Phase, ...]) -> None:
        if not phases:
            raise InputError("a training needs at least one phase")
        self.phases = phases
        self._ends = list(itertools.accumulate(phase.steps for phase in phases))
        self.steps = self._ends[-1]

    def locate(self, step: int) -> tuple[int, int]:
        """Return the index of the phase of a step, and the step's number in it."""
        index = bisect.bisect_right(self._ends, step)
        return index, step - (self._ends[index] - self.phases[index].steps)


@dataclass(frozen=True)
class SupernetPlan:
    """Subnets of a supernet: every phase's rule over its restriction of the space.

    Args:
        space: The supernet's space.
        phases: The phases.
        seed: Seed of resolutions and architectures.
    """

    space: SearchSpace
    phases: tuple[Phase, ...]
    seed: int
    _phases: Phases = field(init=False)
    _spaces: tuple[SearchSpace, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_phases", Phases(self.phases))
        object.__setattr__(self, "_spaces", tuple(self.space.restricted(phase.elastic) for phase in self.phases))

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return self._phases.steps

    def __call__(self, step: int) -> StepPlan:
        """Return the plan of a step."""
        index, within = self._phases.locate(step)
        phase = self.phases[index]
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
        index, _ = self._phases.locate(step)
        return int(np.random.default_rng((self.seed, SIZE, step)).choice(self._spaces[index].image_sizes))

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
    """One network alone, at its own resolution: its phase's rule and elastic dimensions say nothing.

    Args:
        arch: The network.
        phase: The only phase; its teacher is ``none`` or ``external``.
    """

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
