"""People whose annotation is legal, and makes training or AP something else than what was meant.

Legend: A annotations, K keypoints.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.coco.records import (
    AnnotatedImages,
    Annotations,
    BoolArray,
    DoubleArray,
    FloatArray,
    ImageRecord,
    IntArray,
    repeats,
)
from litepose_ofa.supernet.data.findings import Kind
from litepose_ofa.supernet.errors import InputError

logger = logging.getLogger(__name__)

DOUBTS_OF_TRAINING = (Kind.NORMALISED, Kind.KEYPOINT_AT_ORIGIN, Kind.KEYPOINTS_ELSEWHERE)
DOUBTS_OF_EVALUATION = (*DOUBTS_OF_TRAINING, Kind.ODD_AREA, Kind.CORNER_BOX, Kind.SAME_PERSON)

REFUSED_FRACTION = 0.5
"""Of the labelled people. Of corners as boxes, 61 to 79 % of COCO's, CrowdPose's and LSPET's people are recognised."""

WARNED_FRACTION = 0.01

_SLACK = 2.0
"""Pixels that a box may stand out."""


def find_doubts(annotations: Annotations, kinds: Collection[Kind] = DOUBTS_OF_EVALUATION) -> dict[Kind, BoolArray]:
    """Return which annotations of labelled people are doubtful, by kind, shape (A,) each."""
    rows = np.flatnonzero(annotations.labelled)
    visible = annotations.keypoints[rows, :, 2] > 0
    points, boxes = annotations.keypoints[rows, :, :2], annotations.boxes[rows]
    low = np.where(visible[..., None], points, np.inf).min(axis=1, initial=np.inf)
    high = np.where(visible[..., None], points, -np.inf).max(axis=1, initial=-np.inf)
    sizes = annotations.sizes[annotations.images[rows]]
    in_unit_square = np.all((low >= 0) & (high <= 1), axis=1) & np.any(high > 0, axis=1)
    checks: dict[Kind, Callable[[], BoolArray]] = {
        Kind.NORMALISED: lambda: in_unit_square & (visible.sum(axis=1) > 1) & np.all(sizes > 16, axis=1),
        Kind.KEYPOINT_AT_ORIGIN: lambda: np.any(visible & np.all(points == 0, axis=2), axis=1),
        Kind.KEYPOINTS_ELSEWHERE: lambda: _elsewhere(boxes, points, visible, sizes) & ~in_unit_square,
        Kind.ODD_AREA: lambda: _odd_areas(annotations, rows, np.prod(high - low, axis=1)),
        Kind.CORNER_BOX: lambda: _corner_boxes(boxes, low, high, sizes),
        Kind.SAME_PERSON: lambda: _repeated(annotations, rows),
    }
    doubts = {kind: np.zeros(len(annotations.ids), bool) for kind in checks if kind in kinds}
    for kind, doubtful in doubts.items():
        doubtful[rows] = checks[kind]()
    return doubts


def require_meaningful(records: Sequence[ImageRecord], path: Path, kinds: Collection[Kind]) -> None:
    """Refuse images of whose people half or more are doubtful; warn of fewer, from one in a hundred on.

    Args:
        records: The images.
        path: Their annotation file, for messages.
        kinds: The doubts that matter.
    """
    if not isinstance(records, AnnotatedImages):
        return
    annotations = records.annotations
    people = annotations.labelled & np.isin(annotations.images, records.places)
    for kind, doubtful in find_doubts(annotations, kinds).items():
        found = annotations.ids[doubtful & people]
        if len(found) < max(1, WARNED_FRACTION * people.sum()):
            continue
        counted = f"{path}: {len(found)} of {people.sum()} people (annotation {found[0]} is the first)"
        if len(found) >= REFUSED_FRACTION * people.sum():
            raise InputError(f"{counted}: {kind.meaning}; mend the annotations, check-dataset lists them")
        logger.warning("%s: %s", counted, kind.meaning)


def _elsewhere(boxes: DoubleArray, points: FloatArray, visible: BoolArray, sizes: IntArray) -> BoolArray:
    """Return of whom every labelled keypoint is outside of the box, if there is one to speak of, or of the image."""
    low, extent = boxes[:, None, :2], boxes[:, None, 2:]
    in_box = np.all(
        (points >= low - _SLACK) & (points <= low + extent + _SLACK) | np.any(extent <= _SLACK, axis=2)[..., None],
        axis=2,
    )
    in_image = np.all((points >= -_SLACK) & (points <= sizes[:, None] + _SLACK), axis=2)
    elsewhere: BoolArray = ~(np.any(visible & in_box, axis=1) & np.any(visible & in_image, axis=1))
    return elsewhere


def _odd_areas(annotations: Annotations, rows: npt.NDArray[np.intp], extents: DoubleArray) -> BoolArray:
    """Return which people have another area than any person in that box with these keypoints could have."""
    boxes = np.prod(np.maximum(annotations.boxes[rows, 2:], 0), axis=1)
    areas = boxes if annotations.skeleton.area == "box" else annotations.areas[rows]
    too_small = (areas < 1) | (areas < 0.01 * np.minimum(boxes, extents))
    too_large = (boxes > 0) & (areas > 2 * np.maximum(boxes, extents))
    odd: BoolArray = too_small | too_large
    return odd


def _corner_boxes(boxes: DoubleArray, low: DoubleArray, high: DoubleArray, sizes: IntArray) -> BoolArray:
    """Return which boxes leave their image, and would hold the keypoints and stay in it if they were two corners."""
    first, second = boxes[:, :2], boxes[:, 2:]
    leaves = np.any(first + second > sizes + _SLACK, axis=1)
    fits = (second > first) & (first >= -_SLACK) & (second <= sizes + _SLACK)
    holds = (low >= first - _SLACK) & (high <= second + _SLACK)
    corners: BoolArray = leaves & np.all(fits & holds, axis=1)
    return corners


def _repeated(annotations: Annotations, rows: npt.NDArray[np.intp]) -> BoolArray:
    """Return which people have the image and the keypoints of an earlier one."""
    images = annotations.images[rows, None].view(np.float32)
    keypoints = annotations.keypoints[rows].reshape(len(rows), 3 * annotations.skeleton.num_keypoints)
    content = np.concatenate([images, keypoints], axis=1)
    people = content.view(np.dtype((np.void, content.itemsize * content.shape[1]))).ravel()
    return repeats(people)
