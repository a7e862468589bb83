"""A frozen network whose heatmaps subnets learn from."""

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.data.loading import Batch
from supernet.errors import InputError
from supernet.litepose import Heads, LitePose


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
        """Return both heads at the size that the batch's own images would give.

        Args:
            batch: With ``teacher_images``, if the teacher has a resolution of its own.
        """
        size = batch.images.shape[-1]
        images = batch.images if self.image_size is None else batch.teacher_images
        assert images is not None
        head0, head1 = self.model(images)
        return _resized(head0, size // 4), _resized(head1, size // 2)


def _resized(maps: Tensor, size: int) -> Tensor:
    maps = maps.float()
    if maps.shape[-1] == size:
        return maps
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
