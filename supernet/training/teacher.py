"""Frozen networks whose heatmaps subnets learn from."""

import torch
import torch.nn.functional as F
from torch import Tensor

from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import Heads, LitePose, PoseNetwork


class Teacher:
    """Gives targets for a batch by a network, which is put into eval mode and frozen.

    It sees the images at ``image_size`` pixels; None: at the size of the step.
    """

    def __init__(self, model: LitePose, *, image_size: int | None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.image_size = image_size

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Heads:
        """Return both heads at the size that the batch's own images would give."""
        size = batch.images.shape[-1]
        images = batch.images if self.image_size is None else batch.teacher_images
        assert images is not None
        head0, head1 = self.model(images)
        return _resized(head0, size // 4), _resized(head1, size // 2)


def largest_as_teacher(model: PoseNetwork) -> Teacher:
    """Return a copy of a supernet's largest subnet as it is now; a static network has no such teacher."""
    assert isinstance(model, LitePoseSupernet)
    largest = extract_subnet(model, model.space.largest())
    return Teacher(largest.to(memory_format=torch.channels_last), image_size=None)  # type: ignore[call-overload]


def _resized(maps: Tensor, size: int) -> Tensor:
    maps = maps.float()
    if maps.shape[-1] == size:
        return maps
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
