"""Where people are that nobody labelled: polygons and COCO run lengths, read and drawn.

Frame: the image; x right, y down, in pixels, and pixel i covers [i, i + 1).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
ByteArray = npt.NDArray[np.uint8]

COORDINATE_LIMIT = 1 << 20
"""Largest coordinate, and side of an image, in pixels: OpenCV's largest side."""

_LONGEST_NUMBER = 35


@dataclass(frozen=True, slots=True, eq=False)
class IgnoreRegions:
    """Where people are that nobody labelled: crowds, and people without keypoints.

    Attributes:
        polygons: Outlines, shape (P, 2) each: x, y in image pixels. Boxes are outlines too.
        runs: Masks of the whole image as COCO's run lengths: pixels outside, inside, outside and so on, by columns.
    """

    polygons: tuple[FloatArray, ...] = ()
    runs: tuple[IntArray, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.polygons or self.runs)

    def draw(self, width: int, height: int) -> ByteArray:
        """Return the regions as a mask, shape (height, width): 1 inside and on the outline, 0 outside."""
        mask = np.zeros((height, width), np.uint8)
        for polygon in self.polygons:
            cv2.fillPoly(mask, [np.rint(polygon - 0.5).astype(np.int32)], 1)  # cv2 has pixel centres at integers
        for runs in self.runs:
            inside = np.repeat(np.arange(len(runs), dtype=np.uint8) % 2, runs)
            mask |= inside.reshape(width, height).T
        return mask


def read_segmentation(segmentation: object) -> tuple[list[list[float]], list[int] | None]:
    """Read the polygons or the run lengths of an annotation's ``segmentation``.

    Returns:
        Outlines of at least three points, x and y in turn; and the run lengths, or None where it is not an RLE.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(segmentation, Mapping):
        return [], _run_lengths(segmentation)
    if segmentation is None:
        return [], None
    if not isinstance(segmentation, list):
        raise ValueError("neither a list nor an object")
    for outline in segmentation:
        if not isinstance(outline, list) or len(outline) % 2 or not are_coordinates(outline):
            raise ValueError("an outline is not pairs of coordinates")
    return [outline for outline in segmentation if len(outline) >= 6], None


def are_coordinates(values: list[Any]) -> bool:
    """Say whether all values are numbers that are finite and within ``COORDINATE_LIMIT``."""
    if not values:
        return True
    if not set(map(type, values)) <= {int, float}:
        return False
    return min(values) >= -COORDINATE_LIMIT and max(values) <= COORDINATE_LIMIT and not math.isnan(sum(values))


def _run_lengths(rle: Mapping[str, Any]) -> list[int]:
    """Read an RLE, whose counts are a list or, compressed, a string."""
    counts = rle.get("counts")
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and 0 <= run < 1 << 31 for run in runs):
        raise ValueError("the counts are not run lengths")
    return runs


def _decompressed(counts: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Source: pycocotools, ``rleFrString``. A number is a row of characters of five bits, the lowest first; the sixth bit
    says that more follow, and the last one's fifth bit is the sign. From the fourth number on, each stands for its
    difference to the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64 or shift > _LONGEST_NUMBER:
            raise ValueError("the counts are not compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs
