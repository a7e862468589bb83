"""Training targets: Gaussian heatmaps from keypoint coordinates.

Legend: B batch, P people, K keypoints, H/W map. Pixel i of a map of any resolution covers [i, i + 1), so frames differ
by a scale alone, and a joint at x has its centre at the fractional index x - 0.5. Decoding inverts this: index + 0.5,
and a quarter pixel toward the higher neighbour.
"""

import math

import torch
from torch import Tensor

CUTOFF_SIGMAS = 3.0
"""A Gaussian is 0 further than this from its centre, along either axis."""

Size = int | tuple[int, int]
"""Width and height in pixels, or the side of a square."""


def width_height(size: Size) -> tuple[int, int]:
    """Return width and height of a size."""
    return (size, size) if isinstance(size, int) else size


def to_heatmap_pixels(keypoints: Tensor, *, input_size: Size, heatmap_size: Size) -> Tensor:
    """Scale keypoints (..., 3), x, y and visibility, from the input's pixels to a heatmap's.

    A joint outside the map counts as not labelled: its visibility becomes 0.
    """
    width, height = width_height(heatmap_size)
    input_width, input_height = width_height(input_size)
    x = keypoints[..., 0] * (width / input_width)
    y = keypoints[..., 1] * (height / input_height)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.stack([x, y, keypoints[..., 2] * inside], dim=-1)


def make_heatmaps(keypoints: Tensor, *, input_size: Size, heatmap_size: Size, sigma: float) -> Tensor:
    """Make target heatmaps at one resolution: a Gaussian a joint, the maximum over people.

    The centres are not rounded to pixels. Cost and memory grow with the number of joints, not with people x map.

    Args:
        keypoints: x, y in input pixels and visibility, shape (B, P, K, 3). A joint counts if its visibility is above 0
            and it lies inside the map.
        input_size: Of the network.
        heatmap_size: Of the maps to make.
        sigma: Standard deviation in heatmap pixels.

    Returns:
        Heatmaps in [0, 1], shape (B, K, H, W).
    """
    width, height = width_height(heatmap_size)
    batch, people, num_keypoints, _ = keypoints.shape
    scaled = to_heatmap_pixels(keypoints, input_size=input_size, heatmap_size=heatmap_size).flatten(0, 2)
    centres, counts = scaled[:, :2], scaled[:, 2] > 0
    maps = torch.arange(batch * num_keypoints, device=keypoints.device).view(batch, 1, num_keypoints)
    maps = maps.expand(batch, people, num_keypoints).flatten()
    if keypoints.device.type == "cpu":  # on another device, the host would wait to hear how many they are
        centres, maps, counts = centres[counts], maps[counts], counts[counts]
    columns, across = _gaussian(centres[:, 0], width, sigma)
    rows, down = _gaussian(centres[:, 1], height, sigma)
    down = torch.where(counts[:, None], down, 0)
    indices = (maps * (height * width))[:, None, None] + rows[:, :, None] * width + columns[:, None, :]
    heatmaps = keypoints.new_zeros(batch * num_keypoints * height * width)
    heatmaps.scatter_reduce_(0, indices.flatten(), (down[:, :, None] * across[:, None, :]).flatten(), "amax")
    return heatmaps.view(batch, num_keypoints, height, width)


def _gaussian(centres: Tensor, length: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Return the pixels around each centre, shape (J, S), and a Gaussian at their middles; 0 outside [0, length)."""
    radius = math.ceil(CUTOFF_SIGMAS * sigma)
    offsets = torch.arange(-radius, radius + 1, device=centres.device)
    pixels = centres.floor().long()[:, None] + offsets
    distances = pixels + 0.5 - centres[:, None]
    inside = (pixels >= 0) & (pixels < length) & (distances.abs() <= CUTOFF_SIGMAS * sigma)
    values = torch.exp(-(distances**2) / (2 * sigma**2)) * inside
    return pixels.clamp(0, length - 1), values
