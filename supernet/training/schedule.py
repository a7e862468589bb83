"""What happens at a step: images, resolution, architectures, learning rate. All of it follows from (seed, step).

Nothing here has state, so a resumed run sees exactly what an uninterrupted one would, and so does every rank.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from supernet.arch import Arch
from supernet.data.loading import SampleRequest
from supernet.errors import InputError, require
from supernet.space import SearchSpace

_ORDER, _SIZE, _SAMPLE, _ARCHS = range(4)
"""One stream of random numbers for each purpose."""


@lru_cache(maxsize=2)
def epoch_order(num_images: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of the images in an epoch, shape (num_images,)."""
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(num_images)


def image_size_at(space: SearchSpace, seed: int, step: int) -> int:
    """Return the resolution that every subnet of a step is trained at, in pixels."""
    return int(np.random.default_rng((seed, _SIZE, step)).choice(space.image_sizes))


def sandwich_archs(space: SearchSpace, *, num_random: int, seed: int, step: int) -> list[Arch]:
    """Return the largest, the smallest and ``num_random`` random architectures, all at the step's resolution.

    Source: the sandwich rule of Yu and Huang, Universally Slimmable Networks (arXiv:1903.05134).
    """
    rng = np.random.default_rng((seed, _ARCHS, step))
    image_size = image_size_at(space, seed, step)
    archs = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(num_random))]
    return [arch.with_image_size(image_size) for arch in archs]


class StepSampler(Sampler[list[SampleRequest]]):
    """Batches of sample requests for the steps [first_step, last_step); the last, short batch of an epoch is left out.

    Args:
        num_images: Images of the dataset; at least ``batch_size``.
        batch_size: Images a step.
        space: Its image sizes are the resolutions.
        seed: Seed of the run.
        first_step: Step to begin with.
        last_step: Step to end before.

    Raises:
        InputError: If the dataset is smaller than a batch.
    """

    def __init__(
        self, num_images: int, *, batch_size: int, space: SearchSpace, seed: int, first_step: int, last_step: int
    ) -> None:
        if num_images < batch_size:
            raise InputError(f"batch_size is {batch_size}; the training split has only {num_images} images")
        self.num_images = num_images
        self.batch_size = batch_size
        self.space = space
        self.seed = seed
        self.steps = range(first_step, last_step)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.steps)

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        """Yield the requests of one step after the other."""
        return (self.requests(step) for step in self.steps)

    def requests(self, step: int) -> list[SampleRequest]:
        """Return the requests of a step."""
        epoch, position = divmod(step, self.num_images // self.batch_size)
        order = epoch_order(self.num_images, self.seed, epoch)
        indices = order[position * self.batch_size : (position + 1) * self.batch_size]
        size = image_size_at(self.space, self.seed, step)
        seeds = np.random.default_rng((self.seed, _SAMPLE, step)).integers(2**31, size=self.batch_size)
        return [SampleRequest(int(i), size, int(s)) for i, s in zip(indices, seeds, strict=True)]


@dataclass(frozen=True, slots=True)
class WarmupCosine:
    """Learning rate: linear warm-up, then half a cosine down to zero.

    Attributes:
        peak: Highest rate.
        steps: Length of the training in steps.
        warmup: Fraction of the steps that warm up.
    """

    peak: float
    steps: int
    warmup: float = 0.05

    def __post_init__(self) -> None:
        require(self.peak >= 0, "peak", self.peak, "at least 0")
        require(0 <= self.warmup <= 1, "warmup", self.warmup, "from 0 to 1")

    def __call__(self, step: int) -> float:
        """Return the rate of a step."""
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.peak * (step + 1) / rising
        return self.peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, self.steps - rising)))


@dataclass(frozen=True, slots=True)
class WarmupSteps:
    """Learning rate: linear warm-up, then a factor at each milestone (the published recipe).

    Attributes:
        peak: Highest rate.
        steps: Length of the training in steps.
        warmup: Fraction of the steps that warm up.
        milestones: Fractions of the steps at which the rate falls.
        factor: What it is multiplied by there.
    """

    peak: float
    steps: int
    warmup: float = 0.0
    milestones: tuple[float, ...] = (0.7, 0.96)
    factor: float = 0.1

    def __post_init__(self) -> None:
        require(self.peak >= 0, "peak", self.peak, "at least 0")
        require(0 <= self.warmup <= 1, "warmup", self.warmup, "from 0 to 1")
        require(all(0 <= m <= 1 for m in self.milestones), "milestones", self.milestones, "from 0 to 1 each")
        require(self.factor > 0, "factor", self.factor, "above 0")

    def __call__(self, step: int) -> float:
        """Return the rate of a step."""
        rising = round(self.warmup * self.steps)
        if step < rising:
            return self.peak * (step + 1) / rising
        return self.peak * self.factor ** sum(step >= milestone * self.steps for milestone in self.milestones)
