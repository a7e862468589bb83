"""Where people's missing joints are most likely: exact, and without looking at every pixel for every person.

The fitness of a pixel for a person is its response less the rounded distance of its tag to the person's mean tag. No
pixel of a block is fitter than the block's highest response less the rounded distance of the mean tag to the box of the
block's tags. So blocks are looked at by falling bound, until no other can hold a fitter pixel. Rounding to floating
point keeps the order of numbers: the bounds hold for the fitness as computed.

Legend: H/W map, L tags a pixel, P people, Q blocks in row-major order.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

USUAL_BLOCKS = 1000
"""About as many blocks a map: the more, the more bounds; the fewer, the more pixels to look at."""

FEWEST_BLOCKS, MOST_BLOCKS = 16, 64
"""Blocks looked at together for a person: first, and at most, which bounds the memory."""


def tag_distances(tags: Array, others: Array) -> FloatArray:
    """Return the Euclidean distances of tags, shapes (..., L) that broadcast, as shape (...)."""
    axes = range(tags.shape[-1])
    differences = (np.subtract(tags[..., axis], others[..., axis], dtype=np.float64) for axis in axes)
    squares: FloatArray = functools.reduce(np.add, (np.square(each, out=each) for each in differences))
    return np.sqrt(squares, out=squares)


def fittest_pixels(heatmap: Array, tags: Array, mean_tags: FloatArray) -> IntArray:
    """Return the pixel of the highest fitness for each person.

    Args:
        heatmap: Responses of one joint, shape (H, W), finite.
        tags: AE tags of that joint, shape (H, W, L), finite in single precision.
        mean_tags: The people's mean tags, shape (P, L).

    Returns:
        Indices into the flattened heatmap, shape (P,), the first in row-major order among equals.
    """
    fittest = np.full(len(mean_tags), heatmap.size, np.intp)
    fitness = np.full(len(mean_tags), -np.inf)
    if len(mean_tags) == 0:
        return fittest
    tiling = _Tiling.of(heatmap.shape)
    bounds, corners = _block_bounds(tiling, heatmap, tags, mean_tags), tiling.corners()
    searching, count = np.arange(len(mean_tags)), min(FEWEST_BLOCKS, len(corners))
    while len(searching):
        likeliest = np.argpartition(-bounds, count - 1, axis=1)[:, :count]
        pixels = tiling.pixels_of(corners[likeliest])
        found, places = _fittest_among(pixels, heatmap, tags, mean_tags[searching])
        better = _precedes(found, places, fitness[searching], fittest[searching])
        fitness[searching[better]], fittest[searching[better]] = found[better], places[better]
        bounds[np.arange(len(bounds))[:, None], likeliest] = -np.inf
        rivals = _precedes(bounds, corners, fitness[searching, None], fittest[searching, None])
        people, blocks = rivals.any(axis=1), rivals.any(axis=0)
        searching, corners = searching[people], corners[blocks]
        bounds = np.where(rivals, bounds, -np.inf)[people][:, blocks]
        count = min(2 * count, MOST_BLOCKS, len(corners))
    return fittest


def _precedes(fitness: Array, pixels: IntArray, others: Array, other_pixels: IntArray) -> npt.NDArray[np.bool_]:
    """Return where a pixel is fitter than another, or as fit and before it."""
    first: npt.NDArray[np.bool_] = (fitness > others) | ((fitness == others) & (pixels < other_pixels))
    return first


def _fittest_among(pixels: IntArray, heatmap: Array, tags: Array, mean_tags: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the highest fitness among each person's pixels, shape (P, pixels), and the first pixel that has it."""
    distances = tag_distances(tags.reshape(-1, tags.shape[2]).take(pixels, axis=0), mean_tags[:, None])
    fitness = heatmap.ravel().take(pixels) - np.rint(distances, out=distances)
    highest = fitness.max(axis=1)
    return highest, np.where(fitness == highest[:, None], pixels, heatmap.size).min(axis=1)


def _block_bounds(tiling: "_Tiling", heatmap: Array, tags: Array, mean_tags: FloatArray) -> FloatArray:
    """Return what no pixel of a block exceeds in fitness, shape (P, Q)."""
    highest = tiling.reduce(np.maximum, heatmap[..., None])[:, 0]
    people = mean_tags[:, None]
    nearest = np.minimum(np.maximum(people, tiling.reduce(np.minimum, tags)), tiling.reduce(np.maximum, tags))
    return highest - np.rint(tag_distances(nearest, people))


@dataclass(frozen=True, slots=True)
class _Tiling:
    """Square blocks of a map; those of the last row and column may be cut off.

    Attributes:
        height: Of the map in pixels.
        width: Of the map in pixels.
        side: Of a block in pixels.
    """

    height: int
    width: int
    side: int

    @classmethod
    def of(cls, map_size: tuple[int, ...]) -> Self:
        """Cut a map, shape (H, W), into about ``USUAL_BLOCKS``; the side is a power of 2."""
        height, width = map_size
        return cls(height, width, 2 ** max(0, round(math.log2(height * width / USUAL_BLOCKS) / 2)))

    def corners(self) -> IntArray:
        """Return the index of each block's first pixel in the flattened map, shape (Q,)."""
        rows, columns = np.arange(0, self.height, self.side), np.arange(0, self.width, self.side)
        return (rows[:, None] * self.width + columns).ravel()

    def pixels_of(self, corners: IntArray) -> IntArray:
        """Return all pixels of blocks, shape (P, n), as (P, n x side^2); edge pixels stand in for those beyond."""
        top, left = np.divmod(corners[..., None], self.width)
        y = np.minimum(top + np.arange(self.side), self.height - 1)
        x = np.minimum(left + np.arange(self.side), self.width - 1)
        return (y[..., None] * self.width + x[..., None, :]).reshape(len(corners), -1)

    def reduce(self, extreme: np.ufunc, maps: Array) -> Array:
        """Return the maximum or minimum over each block of maps of shape (H, W, L), shape (Q, L)."""
        num_maps = maps.shape[2]
        rows = self._reduce_runs(extreme, maps.reshape(self.height, -1))
        columns = np.ascontiguousarray(rows.T).reshape(self.width, num_maps, -1)
        return self._reduce_runs(extreme, columns).transpose(2, 0, 1).reshape(-1, num_maps)

    def _reduce_runs(self, extreme: np.ufunc, maps: Array) -> Array:
        """Reduce each run along the first axis to one; the last run may be shorter."""
        whole = len(maps) - len(maps) % self.side
        runs: Array = extreme.reduce(maps[:whole].reshape(-1, self.side, *maps.shape[1:]), axis=1)
        return runs if whole == len(maps) else np.append(runs, extreme.reduce(maps[whole:], axis=0)[None], axis=0)
