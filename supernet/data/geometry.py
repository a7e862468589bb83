"""Affine maps between the image and the network's input.

Every point frame is continuous: x right, y down, in pixels; pixel i covers [i, i + 1) and its centre is i + 0.5, so a
scale is a plain product, also from the input to a heatmap. Matrices have shape (2, 3), float64, and map source points
to destination points. ``cv2.warpAffine`` puts pixel centres at integers: use ``warp`` here, which corrects for it.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]


def inference_affine(width: int, height: int, size: int, multiple: int = 64) -> tuple[Matrix, tuple[int, int]]:
    """Fit an image into the network's input, centre on centre, its aspect ratio kept.

    The short side becomes ``size``; the long side is rounded up to the next multiple, but a square image stays square.

    Args:
        width: Image width in pixels.
        height: Image height in pixels.
        size: Short side of the input in pixels.
        multiple: What the longer side of the input is a multiple of.

    Returns:
        The matrix from image to input, and the input's (width, height).
    """
    short, long = min(width, height), max(width, height)
    exact = -(-long * size // short)
    padded = size if long == short else -(-exact // multiple) * multiple
    out_size = (padded, size) if width > height else (size, padded)
    return _centred(width, height, out_size, size / short), out_size


def training_affine(
    width: int,
    height: int,
    size: int,
    *,
    rotation_degrees: float = 0.0,
    scale: float = 1.0,
    translation: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
) -> Matrix:
    """Cut a square input out of an image around its centre.

    Args:
        width: Image width in pixels.
        height: Image height in pixels.
        size: Side of the input in pixels.
        rotation_degrees: Turn of the content about the centre, clockwise as seen.
        scale: Side of the cut-out over the short side of the image: 1 means that the short side spans the input.
        translation: Shift of the content right and down, as a fraction of the input's side.
        flip: Mirror left and right, last of all.

    Returns:
        The matrix from image to input.
    """
    zoom = size / (min(width, height) * scale)
    angle = math.radians(rotation_degrees)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    centre = size * (0.5 + np.array(translation))
    matrix = _about(linear, (width / 2, height / 2), centre)
    if flip:
        matrix[0] = -matrix[0]
        matrix[0, 2] += size
    return matrix


def transform_points(matrix: Matrix, points: npt.ArrayLike) -> Matrix:
    """Map points of shape (..., 2) through a matrix."""
    transformed: Matrix = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return transformed


def invert(matrix: Matrix) -> Matrix:
    """Return the matrix of the opposite direction."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def rescaled(matrix: Matrix, factor: float) -> Matrix:
    """Return the matrix to a destination ``factor`` times as large, such as a heatmap."""
    return matrix * factor


def warp(image: Image, matrix: Matrix, size: tuple[int, int], *, nearest: bool = False) -> Image:
    """Resample an image through a matrix; what lies outside of the source is 0.

    Args:
        image: Source, shape (H, W) or (H, W, 3).
        matrix: From source points to destination points, in the frame of this module.
        size: Width and height of the destination.
        nearest: Take the nearest pixel, for masks, instead of bilinear interpolation.
    """
    at_integers = matrix.copy()
    at_integers[:, 2] += matrix[:, :2].sum(axis=1) * 0.5 - 0.5
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.warpAffine(image, at_integers, size, flags=flags).astype(np.uint8, copy=False)


def _centred(width: int, height: int, out_size: tuple[int, int], zoom: float) -> Matrix:
    return _about(zoom * np.eye(2), (width / 2, height / 2), (out_size[0] / 2, out_size[1] / 2))


def _about(linear: Matrix, source: Sequence[float], destination: npt.ArrayLike) -> Matrix:
    """Return the map with this linear part that takes ``source`` to ``destination``."""
    return np.column_stack([linear, np.asarray(destination) - linear @ np.asarray(source)])
