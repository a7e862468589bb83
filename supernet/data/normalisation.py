"""Images as the networks take them: RGB bytes to float32, by ImageNet's mean and standard deviation."""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

IMAGE_MEAN = (0.485, 0.456, 0.406)
"""Mean of RGB in [0, 1] over ImageNet."""

IMAGE_STD = (0.229, 0.224, 0.225)
"""Standard deviation of RGB in [0, 1] over ImageNet."""


def normalise(images: npt.NDArray[np.uint8] | Tensor) -> Tensor:
    """Turn RGB images into the network's input.

    Args:
        images: Bytes, shape (B, H, W, 3); a tensor stays on its device.

    Returns:
        float32, shape (B, 3, H, W), channels last in memory.
    """
    if isinstance(images, Tensor) and images.device.type != "cpu":
        return _standardised(images).permute(0, 3, 1, 2)
    pixels = np.ascontiguousarray(images)
    table = _standardised(torch.arange(256)[:, None, None]).numpy()
    looked_up = cv2.LUT(
        pixels.reshape(-1, pixels.shape[2], 3), table
    )  # four passes of float32 arithmetic take 4 x as long
    return torch.from_numpy(looked_up.reshape(pixels.shape)).permute(0, 3, 1, 2)


def _standardised(values: Tensor) -> Tensor:
    """Return bytes, the last axis RGB or 1, in standard deviations from the mean, the last axis RGB."""
    mean, std = (255 * torch.tensor(three, device=values.device) for three in (IMAGE_MEAN, IMAGE_STD))
    return (values.to(torch.float32) - mean) / std
