"""Which images a step sees, on every rank: a function of (seed, step), with nothing to save."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.loading.batches import SampleRequest
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.training.distributed import SINGLE, Process
from litepose_ofa.supernet.training.recipe import ORDER, SAMPLE, Plan, TrainingSettings


@lru_cache(maxsize=2)
def epoch_order(num_images: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of the images in an epoch, shape (num_images,)."""
    return np.random.default_rng((seed, ORDER, epoch)).permutation(num_images)


class StepSampler:
    """One rank's sample requests, step after step, from ``first_step`` to the end of the plan.

    The last, short batch of an epoch is left out. A step's images do not depend on the number of ranks: they share them
    out in order. A teacher with a resolution of its own, ``teacher_size`` in pixels, gets a second rendition of each.

    Raises:
        InputError: If there are fewer images than a batch needs, or ranks and their parts cannot share one evenly.
    """

    def __init__(
        self,
        num_images: int,
        plan: Plan,
        settings: TrainingSettings,
        process: Process = SINGLE,
        *,
        first_step: int = 0,
        teacher_size: int | None = None,
    ) -> None:
        batch_size, world, accumulation = settings.batch_size, process.world, settings.accumulation
        if num_images < batch_size:
            raise InputError(f"batch_size is {batch_size}; the training split has only {num_images} images")
        if batch_size % world:
            raise InputError(f"batch_size is {batch_size}; it must be a multiple of the {world} processes")
        share = batch_size // world
        if share % accumulation:
            raise InputError(f"accumulation is {accumulation}; it must divide the {share} images of each process")
        self.num_images = num_images
        self.plan = plan
        self.settings = settings
        self.mine = slice(process.rank * share, (process.rank + 1) * share)
        self.first_step = first_step
        self.teacher_size = teacher_size

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        return map(self.requests, range(self.first_step, self.plan.steps))

    def requests(self, step: int) -> list[SampleRequest]:
        """Return this rank's requests of a step."""
        batch_size, seed = self.settings.batch_size, self.settings.seed
        epoch, position = divmod(step, self.num_images // batch_size)
        indices = epoch_order(self.num_images, seed, epoch)[position * batch_size :][self.mine]
        seeds = np.random.default_rng((seed, SAMPLE, step)).integers(2**31, size=batch_size)[self.mine]
        size = self.plan.image_size_at(step)
        return [
            SampleRequest(int(index), size, int(own), self.teacher_size)
            for index, own in zip(indices, seeds, strict=True)
        ]
