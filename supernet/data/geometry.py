"""Affine maps between the image and the network's input.

Every point frame is continuous: x right, y down, in pixels; pixel i covers [i, i + 1) and its centre is i + 0.5, so a
scale is a plain product, also from the input to a heatmap. Matrices have shape (2, 3), float64, and map source points
to destination points. ``cv2.warpAffine`` puts pixel centres at integers: use ``warp`` here, which corrects for it.
"""

import cv2
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Row = tuple[float, float, float]


def inference_affine(width: int, height: int, size: int, multiple: int = 64) -> tuple[Matrix, tuple[int, int]]:
    """Fit an image into the network's input, centre on centre, its aspect ratio kept.

    The short side becomes ``size``; the long side is rounded up to the next multiple, but a square image stays square.

    Returns:
        The matrix from image to input, and the input's (width, height).
    """
    short, long = min(width, height), max(width, height)
    exact = -(-long * size // short)
    padded = size if long == short else -(-exact // multiple) * multiple
    out_size = (padded, size) if width > height else (size, padded)
    rows = similarity(size / short, 0.0, (width / 2, height / 2), (out_size[0] / 2, out_size[1] / 2))
    return np.array(rows), out_size


def transform_points(matrix: Matrix, points: npt.ArrayLike) -> Matrix:
    """Map points of shape (..., 2) through a matrix."""
    transformed: Matrix = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return transformed


def inside(
    points: Matrix | npt.NDArray[np.float32], end: tuple[int, int], start: tuple[int, int] = (0, 0)
) -> npt.NDArray[np.bool_]:
    """Return which points, shape (..., 2), lie in the rectangle from ``start`` to ``end``, both x and y.

    From the origin ``end`` is the width and height of an image.
    """
    within: npt.NDArray[np.bool_] = np.all((points >= np.asarray(start)) & (points < np.asarray(end)), axis=-1)
    return within


def invert(matrix: Matrix) -> Matrix:
    """Return the matrix of the opposite direction."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def moved(matrix: Matrix, x: float, y: float) -> Matrix:
    """Return a matrix whose destination points are so much further right and down."""
    return np.add(matrix, ((0.0, 0.0, x), (0.0, 0.0, y))) if x or y else matrix


def warp(image: Image, matrix: Matrix, size: tuple[int, int], *, nearest: bool = False, outside: int = 0) -> Image:
    """Resample an image, shape (H, W) or (H, W, 3), through a matrix from its points to the destination's.

    Args:
        image: The source.
        matrix: In the frame of this module.
        size: Width and height of the destination.
        nearest: Take the nearest pixel, for masks, instead of bilinear interpolation.
        outside: What lies outside of the source.
    """
    at_integers = np.array([(a, b, offset + ((a + b) * 0.5 - 0.5)) for a, b, offset in matrix.tolist()])
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.warpAffine(image, at_integers, size, flags=flags, borderValue=(outside,) * 3).astype(
        np.uint8, copy=False
    )


def similarity(
    cos: float, sin: float, source: tuple[float, float], destination: tuple[float, float]
) -> tuple[Row, Row]:
    """Return the rows of the map that scales and turns, and takes ``source`` to ``destination``.

    Plain floats: on matrices this small, right after an image has filled the caches, NumPy takes ten times as long.
    """
    (x, y), (to_x, to_y) = source, destination
    return (cos, -sin, to_x - (cos * x - sin * y)), (sin, cos, to_y - (sin * x + cos * y))
