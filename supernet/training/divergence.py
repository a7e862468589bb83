"""Where a training whose gradients are not finite gives up, and what it says then."""

import math
from typing import NoReturn

from litepose_ofa.supernet.data.loading import Batch
from litepose_ofa.supernet.errors import NotFiniteError
from litepose_ofa.supernet.training.distributed import Process, gather_objects
from litepose_ofa.supernet.training.recipe import StepPlan
from litepose_ofa.supernet.training.step import StepResult

MOST_SKIPPED = 20
"""Updates in a row that may be left out because their gradients are not finite."""


LAST_SKIPPED = 5
"""Updates in a row that may not be left out at the end of a training."""


class TrainingDivergedError(NotFiniteError):
    """Gradients have not been finite for too long, or weights are not."""


def stop_diverged(step: int, result: StepResult, plan: StepPlan, batch: Batch, process: Process) -> NoReturn:
    """Name the step, the subnet, and the images of the ranks whose loss is not finite, or else of all; a collective.

    Args:
        step: The step.
        result: What it did on this rank; ``skipped`` names the subnet.
        plan: Its subnets.
        batch: This rank's part of its images.
        process: This rank.

    Raises:
        TrainingDivergedError: On every rank.
    """
    assert result.skipped is not None
    culprit = not all(map(math.isfinite, result.losses.values()))
    seen = gather_objects((culprit, batch.image_ids), process)
    guilty = [ids for bad, ids in seen if bad] or [ids for _, ids in seen]
    images = ", ".join(str(image) for ids in guilty for image in ids)
    arch = plan.subnets[result.skipped]
    raise TrainingDivergedError(
        f"loss or gradient was not finite for {MOST_SKIPPED} steps in a row, last at step {step} in subnet "
        f"{result.skipped} ({arch.digest}, {arch.image_size} px) on images {images}; a lower learning rate helps"
    )
