"""Mosaics: a training input that is cut into cells, a picture in each.

Pictures with one labelled person each become inputs with several, which is what the tags' push loss needs.
Source: Bochkovskiy et al., YOLOv4 (arXiv:2004.10934), section 3.3.
"""

import math
from collections import deque
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Strict

from litepose_ofa.supernet.data.geometry import Matrix, moved
from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.validation import Fraction, settings

MASK_STRIDE = 2
"""The mask has the size of the larger heatmaps: cells begin and end between its pixels."""

SEAMS = (0.4, 0.6)
"""Where a cell is cut, as a fraction of its longer side; drawn uniformly."""


class Cell(NamedTuple):
    """A rectangle of the input, in its pixels; a mosaic's cells cover it without overlap."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    @property
    def side(self) -> float:
        """Side of the square of the same area."""
        return math.sqrt((self.right - self.left) * (self.bottom - self.top))

    def centred(self, matrix: Matrix) -> Matrix:
        """Return a matrix to a square of ``side`` as one to the input, the square's centre on this cell's."""
        return moved(matrix, (self.left + self.right - self.side) / 2, (self.top + self.bottom - self.side) / 2)

    def alone(self, matrix: Matrix, scale: float = 1.0) -> tuple[Matrix, tuple[int, int]]:
        """Return a matrix to the input as one to this cell, at ``scale`` times the resolution, and the size there."""
        if scale != 1:
            return self.scaled(scale).alone(matrix * scale)
        return moved(matrix, -self.left, -self.top), self.size

    def scaled(self, scale: float) -> "Cell":
        """Return the cell at another resolution, its edges at the nearest pixel's."""
        left, top, right, bottom = self
        return Cell(round(scale * left), round(scale * top), round(scale * right), round(scale * bottom))

    def cut(self, rng: np.random.Generator) -> tuple["Cell", "Cell"]:
        """Cut across the longer side, across either of a square, at a random place near the middle."""
        width, height = self.size
        seam = rng.uniform(*SEAMS)
        if width > height or (width == height and rng.random() < 0.5):
            x = self.left + MASK_STRIDE * round(seam * width / MASK_STRIDE)
            return Cell(self.left, self.top, x, self.bottom), Cell(x, self.top, self.right, self.bottom)
        y = self.top + MASK_STRIDE * round(seam * height / MASK_STRIDE)
        return Cell(self.left, self.top, self.right, y), Cell(self.left, y, self.right, self.bottom)


@settings
class Mosaic:
    """Random mosaics of pictures of the training set, each augmented on its own.

    A picture lies in its cell as it would in a square input of the same area. Joints beyond the cell are not labelled,
    and someone without any other is not there.

    Attributes:
        probability: That an input is a mosaic.
        pictures: Least and most pictures of one; drawn uniformly.
    """

    probability: Fraction = 0.0
    pictures: Annotated[tuple[int, int], Strict(False)] = (2, 4)

    def __post_init__(self) -> None:
        least, most = self.pictures
        require(2 <= least <= most <= 4, "pictures", self.pictures, "ascending and from 2 to 4")

    def draw(self, rng: np.random.Generator, size: int) -> tuple[Cell, ...]:
        """Draw the cells of an input of this side; of one that is no mosaic, the only one."""
        cells = deque([Cell(0, 0, size, size)])
        if rng.random() < self.probability:
            pictures = rng.integers(*self.pictures, endpoint=True)
            while len(cells) < pictures:
                cells.extend(cells.popleft().cut(rng))
        return tuple(cells)
