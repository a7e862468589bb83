"""Maps from one frame into another, and the frames of multi-scale inputs.

Legend: H/W map. In every frame pixel i covers [i, i + 1), so frames differ by scale and translation.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from litepose_ofa.supernet.data.geometry import Matrix, transform_points

Weights = npt.NDArray[np.float64]


def resample(maps: Tensor, to_source: Matrix, size: tuple[int, int], *, cubic: bool) -> Tensor:
    """Resample maps into another frame.

    Args:
        maps: Source, shape (..., H, W); beyond them lies what is at their edge, and what is not finite counts as 0.
        to_source: Matrix from the points of the new frame to those of the source, a scale and a translation.
        size: Width and height of the new frame in pixels.
        cubic: Interpolate by Keys' cubic convolution (doi:10.1109/TASSP.1981.1163711), whose maxima can lie between the
            source's pixels; if not, linearly, which never exceeds the source.

    Returns:
        Maps of shape (..., height, width).
    """
    assert to_source[0, 1] == to_source[1, 0] == 0
    columns, rows = (
        torch.from_numpy(_weights(length, maps.shape[-1 - axis], to_source[axis, [axis, 2]], cubic)).to(maps)
        for axis, length in enumerate(size)
    )
    return rows @ torch.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0) @ columns.T


def _weights(length: int, source_length: int, to_source: Weights, cubic: bool) -> Weights:
    """Return the weight of each source pixel in each new one, shape (length, source_length), along one axis.

    ``to_source`` is the scale and the offset from new to source coordinates, shape (2,).
    """
    indices = to_source[0] * (np.arange(length) + 0.5) + to_source[1] - 0.5
    indices = indices.clip(0, source_length - 1)[:, None]
    taps = np.floor(indices) + np.arange(-1, 3)
    away = abs(indices - taps)
    near, far = (1.5 * away - 2.5) * away**2 + 1, ((2.5 - 0.5 * away) * away - 4) * away + 2
    kernel = np.where(away < 1, near, np.where(away < 2, far, 0)) if cubic else np.maximum(0, 1 - away)
    weights = np.zeros((length, source_length))
    np.add.at(weights, (np.arange(length)[:, None], taps.astype(np.intp).clip(0, source_length - 1)), kernel)
    return weights


def scaled_frame(size: tuple[int, int], scale: float, multiple: int) -> tuple[Matrix, tuple[int, int]]:
    """Return the frame of an input (width, height) at another scale, the whole of it in view, centre on centre.

    The short side becomes the multiple nearest to the scaled length, the other the next one. Returned are the matrix
    from the input's points to the new frame's, and the frame's (width, height).
    """
    short = max(1, round(min(size) * scale / multiple)) * multiple
    zoom = short / min(size)
    width, height = (-(-length * short // (min(size) * multiple)) * multiple for length in size)
    translation = (np.array([width, height]) - zoom * np.array(size)) / 2
    return np.column_stack([zoom * np.eye(2), translation]), (width, height)


def scaling(factor: float) -> Matrix:
    """Return the matrix that scales points."""
    return np.column_stack([factor * np.eye(2), np.zeros(2)])


def chain(first: Matrix, *others: Matrix) -> Matrix:
    """Return the matrix that applies matrices one after the other."""
    for matrix in others:
        first = np.column_stack([matrix[:, :2] @ first[:, :2], transform_points(matrix, first[:, 2])])
    return first
