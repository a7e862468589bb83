"""Which images a step sees, on every rank: a function of (seed, step), with nothing to save."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from litepose_ofa.supernet.data.loading.batches import SampleRequest
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.training.recipe import ORDER, SAMPLE


@lru_cache(maxsize=2)
def epoch_order(num_images: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of the images in an epoch, shape (num_images,)."""
    return np.random.default_rng((seed, ORDER, epoch)).permutation(num_images)


class StepSampler(Sampler[list[SampleRequest]]):
    """One rank's sample requests for the steps [first_step, last_step).

    The last, short batch of an epoch is left out. A step's images do not depend on the number of ranks: they share them
    out in order.

    Args:
        num_images: Images of the dataset; at least ``batch_size``.
        batch_size: Images a step, over all ranks; a multiple of ``world``.
        image_size_at: Side of the input at a step, in pixels.
        seed: Seed of the run.
        first_step: Step to begin with.
        last_step: Step to end before.
        rank: This rank.
        world: Number of ranks.
        teacher_size: Side of the input of a teacher with a resolution of its own, in pixels.

    Raises:
        InputError: If the dataset is smaller than a batch, or the ranks cannot share a batch evenly.
    """

    def __init__(
        self,
        num_images: int,
        *,
        batch_size: int,
        image_size_at: Callable[[int], int],
        seed: int,
        first_step: int,
        last_step: int,
        rank: int = 0,
        world: int = 1,
        teacher_size: int | None = None,
    ) -> None:
        if num_images < batch_size:
            raise InputError(f"batch_size is {batch_size}; the training split has only {num_images} images")
        if batch_size % world:
            raise InputError(f"batch_size is {batch_size}; it must be a multiple of the {world} processes")
        self.num_images = num_images
        self.batch_size = batch_size
        self.image_size_at = image_size_at
        self.seed = seed
        self.steps = range(first_step, last_step)
        self.mine = slice(rank * batch_size // world, (rank + 1) * batch_size // world)
        self.teacher_size = teacher_size

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.steps)

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        """Yield the requests of one step after the other."""
        return (self.requests(step) for step in self.steps)

    def requests(self, step: int) -> list[SampleRequest]:
        """Return this rank's requests of a step."""
        epoch, position = divmod(step, self.num_images // self.batch_size)
        order = epoch_order(self.num_images, self.seed, epoch)
        indices = order[position * self.batch_size : (position + 1) * self.batch_size]
        size = self.image_size_at(step)
        seeds = np.random.default_rng((self.seed, SAMPLE, step)).integers(2**31, size=self.batch_size)
        return [
            SampleRequest(int(index), size, int(seed), self.teacher_size)
            for index, seed in zip(indices[self.mine], seeds[self.mine], strict=True)
        ]
