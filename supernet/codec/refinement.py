"""Where people's missing joints are most likely: exact, and without looking at every pixel for every person.

The fitness of a pixel for a person is its response less the rounded distance of its tag to the person's mean tag. No
pixel of a block is fitter than the block's highest response less the rounded distance of the mean tag to the box of the
block's tags. So blocks are looked at by falling bound, until no other can hold a fitter pixel. Rounding to floating
point keeps the order of numbers: the bounds hold for the fitness as computed. Small maps are looked at whole.

Legend: H/W map, L tags a pixel, P people, Q square blocks in row-major order; those of the last row and column may be
cut off.
"""

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

USUAL_BLOCKS = 1000
"""About as many blocks a map: the more, the more bounds; the fewer, the more pixels to look at."""

FEW_TAGS = 2**16
"""Tags of all pixels for all people up to which bounds cost more than they save: 64 x 64 pixels, 16 people, one tag."""

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
    if tags.size * len(mean_tags) <= FEW_TAGS:
        distances = tag_distances(tags.reshape(1, heatmap.size, -1), mean_tags[:, None])
        everywhere: IntArray = (heatmap.ravel() - np.rint(distances, out=distances)).argmax(axis=1)
        return everywhere
    fittest = np.full(len(mean_tags), heatmap.size, np.intp)
    fitness = np.full(len(mean_tags), -np.inf)
    height, width = heatmap.shape
    side = 2 ** max(0, round(math.log2(heatmap.size / USUAL_BLOCKS) / 2))
    corners = (np.arange(0, height, side)[:, None] * width + np.arange(0, width, side)).ravel()
    bounds = _block_bounds(side, heatmap, tags, mean_tags)
    searching, count = np.arange(len(mean_tags)), min(FEWEST_BLOCKS, len(corners))
    while len(searching):
        likeliest = np.argpartition(-bounds, count - 1, axis=1)[:, :count]
        pixels = _pixels_of(corners[likeliest], side, height, width)
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


def _block_bounds(side: int, heatmap: Array, tags: Array, mean_tags: FloatArray) -> FloatArray:
    """Return what no pixel of a block exceeds in fitness, shape (P, Q)."""
    highest = _reduce_blocks(np.maximum, heatmap[..., None], side)[:, 0]
    lowest_tags, highest_tags = (_reduce_blocks(extreme, tags, side) for extreme in (np.minimum, np.maximum))
    people = mean_tags[:, None]
    nearest = np.minimum(np.maximum(people, lowest_tags), highest_tags)
    return highest - np.rint(tag_distances(nearest, people))


def _pixels_of(corners: IntArray, side: int, height: int, width: int) -> IntArray:
    """Return all pixels of blocks, shape (P, n), as (P, n x side^2); edge pixels stand in for those beyond."""
    top, left = np.divmod(corners[..., None], width)
    y, x = np.minimum(top + np.arange(side), height - 1), np.minimum(left + np.arange(side), width - 1)
    return (y[..., None] * width + x[..., None, :]).reshape(len(corners), -1)


def _reduce_blocks(extreme: np.ufunc, maps: Array, side: int) -> Array:
    """Return the maximum or minimum over each block of maps of shape (H, W, L), shape (Q, L)."""
    height, width, num_maps = maps.shape
    rows = _reduce_runs(extreme, maps.reshape(height, -1), side)
    columns = np.ascontiguousarray(rows.T).reshape(width, num_maps, -1)
    return _reduce_runs(extreme, columns, side).transpose(2, 0, 1).reshape(-1, num_maps)


def _reduce_runs(extreme: np.ufunc, maps: Array, side: int) -> Array:
    """Reduce each run of ``side`` along the first axis to one; the last may be shorter. ``reduceat`` is far slower."""
    whole = len(maps) - len(maps) % side
    runs: Array = extreme.reduce(maps[:whole].reshape(-1, side, *maps.shape[1:]), axis=1)
    return runs if whole == len(maps) else np.append(runs, extreme.reduce(maps[whole:], axis=0)[None], axis=0)
