"""Frozen networks whose heatmaps subnets learn from, and which of them a phase has."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import Heads, LitePose, PoseNetwork
from litepose_ofa.supernet.training.distributed import Process, broadcast_state
from litepose_ofa.supernet.training.recipe import TeacherKind


class Teacher:
    """A network in eval mode that gives targets for a batch.

    Args:
        model: The network, on the device to compute on; it is put into eval mode and its weights are frozen.
        image_size: Resolution at which it sees the images, in pixels; None: that of the step.
    """

    def __init__(self, model: LitePose, *, image_size: int | None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.image_size = image_size

    def require_keypoints(self, num_keypoints: int) -> None:
        """Check that it knows the same keypoints.

        Raises:
            InputError: If it does not.
        """
        if self.model.num_keypoints != num_keypoints:
            raise InputError(f"the teacher has {self.model.num_keypoints} keypoints; the dataset has {num_keypoints}")

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Heads:
        """Return both heads at the size that the batch's own images would give."""
        size = batch.images.shape[-1]
        images = batch.images if self.image_size is None else batch.teacher_images
        assert images is not None
        head0, head1 = self.model(images)
        return _resized(head0, size // 4), _resized(head1, size // 2)


class Teachers:
    """The teachers of a training: one that is given, and the largest subnet as it was when a phase asked for it."""

    def __init__(self, external: Teacher | None) -> None:
        self.external = external
        self.frozen: Teacher | None = None

    def of(self, kind: TeacherKind) -> Teacher | None:
        """Return the teacher of a phase; None where there is none, or the sandwich's largest subnet teaches.

        Raises:
            InputError: If the phase wants a given network, and there is none.
        """
        if kind == "external" and self.external is None:
            raise InputError("teacher is 'external', but there is none: give teacher.weights")
        return {"external": self.external, "frozen": self.frozen}.get(kind)

    def freeze(self, model: PoseNetwork, process: Process) -> None:
        """Keep the largest subnet as it is now, unless one is kept already; batch-norm statistics are rank 0's.

        Raises:
            InputError: If the model is not a supernet.
        """
        if self.frozen is None:
            self.frozen = _largest(model)
            broadcast_state(self.frozen.model, process)

    def state_dict(self) -> dict[str, Any] | None:
        """Return the weights of the kept subnet, or None."""
        return None if self.frozen is None else self.frozen.model.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None, model: PoseNetwork) -> None:
        """Go back to what ``state_dict`` returned in a training of this model."""
        self.frozen = None
        if state is not None:
            self.frozen = _largest(model)
            self.frozen.model.load_state_dict(state)


def _largest(model: PoseNetwork) -> Teacher:
    if not isinstance(model, LitePoseSupernet):
        raise InputError("teacher is 'frozen', which only a supernet has; known here: none, external")
    largest = extract_subnet(model, model.space.largest())
    return Teacher(largest.to(memory_format=torch.channels_last), image_size=None)  # type: ignore[call-overload]


def _resized(maps: Tensor, size: int) -> Tensor:
    maps = maps.float()
    if maps.shape[-1] == size:
        return maps
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
