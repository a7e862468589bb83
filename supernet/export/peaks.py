"""Candidates of people's joints, as an exported network gives them that looks for peaks itself, and their grouping.

What is left for a device is to group at most K x M numbers by their tags, as ``group_peaks`` does. That is
``decode_people`` without the joints that it fills in if refining, for which it needs whole maps: people keep zeros
there, which costs AP (docs/export.md says how much). Nor is the mirrored image averaged in, nor are gaps closed: maps
that are not finite are for ``decode_people`` alone.

Legend: K keypoints, M candidates a keypoint, N people, S side of head 1. Locations are in input pixels; pixel i covers
[i, i + 1).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from litepose_ofa.supernet.codec.grouping import Candidates, find_candidates, group_candidates
from litepose_ofa.supernet.evaluation.people import merge_heads
from litepose_ofa.supernet.export.formats import FloatArray, Heads

PEAK_NAMES = ("scores", "locations", "tags")
HEATMAP_STRIDE = 2
"""Input pixels along a pixel of head 1."""


class Peaks(NamedTuple):
    """Candidates of one image, those of a keypoint by falling score.

    Attributes:
        scores: Responses, shape (1, K, M), float32; 0 where there are no more candidates.
        locations: x, y in input pixels, shape (1, K, M, 2), float32: the pixel's middle, moved a quarter of a heatmap
            pixel toward the higher neighbours.
        tags: AE tags, shape (1, K, M), float32.
    """

    scores: FloatArray
    locations: FloatArray
    tags: FloatArray


def group_peaks(peaks: Peaks, *, tag_threshold: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """Group the candidates of one image into people, as ``decode_people(refine=False)`` does.

    Args:
        peaks: The candidates.
        tag_threshold: As for ``decode_people``.

    Returns:
        People, shape (N, K, 3), by falling score: x and y in input pixels and the joint's response, zeros where
        missing; their scores, shape (N,).
    """
    scores, locations, tags = (values[0] for values in peaks)
    candidates = []
    for joint_scores, joint_tags in zip(scores, tags, strict=True):
        places = np.flatnonzero(joint_scores > 0)
        slots = np.stack([places, places], axis=1)
        joint = Candidates(slots, joint_scores[places].astype(np.float64), joint_tags[places, None].astype(np.float64))
        candidates.append(joint)
    people = group_candidates(candidates, tag_threshold=tag_threshold).best(None)
    joints = people.joints.astype(np.float32)
    person, keypoint = np.nonzero(joints[:, :, 2])
    slots = people.joints[person, keypoint, 0].astype(np.intp)
    joints[person, keypoint, :2] = locations[keypoint, slots]
    return joints, people.scores.astype(np.float32)


def peaks_difference(peaks: Peaks, heads: Heads, *, threshold: float) -> float:
    """Return how far the peaks of one image are from those that the decoder finds in its heads.

    Scores are compared in their order, responses and tags with those of the maps at each location's pixel. Where a
    location lies toward the lower neighbour, the two neighbours' responses are that far apart.

    Args:
        peaks: The candidates.
        heads: What ``LitePose`` gives of the image.
        threshold: As for ``decode_people``.

    Returns:
        The largest difference; infinite if a location is none that a pixel can have.
    """
    heatmaps, tag_maps = (maps[0].numpy() for maps in merge_heads(*map(torch.from_numpy, heads)))
    differences = [
        _joint_difference(heatmap, tag_map, scores, locations / HEATMAP_STRIDE, tags, threshold)
        for heatmap, tag_map, scores, locations, tags in zip(
            heatmaps, tag_maps, *(values[0] for values in peaks), strict=True
        )
    ]
    return float(np.max(differences))  # unlike Python's max, NaN if any is


def _joint_difference(
    heatmap: FloatArray,
    tag_map: FloatArray,
    scores: FloatArray,
    places: FloatArray,
    tags: FloatArray,
    threshold: float,
) -> float:
    """Return the difference of one joint's peaks, their places in heatmap pixels, shape (M, 2)."""
    expected = np.zeros_like(scores)
    found = find_candidates(heatmap, tag_map[..., None], most=len(scores), threshold=threshold).scores
    expected[: len(found)] = found
    present = scores > 0
    within, pixels = np.modf(places[present])
    if not np.isin(within, (0.25, 0.75)).all() or (pixels < 0).any() or (pixels >= len(heatmap)).any():
        return math.inf
    x, y = pixels.T.astype(np.intp)
    differences = [
        _largest(scores - expected),
        _largest(scores[present] - heatmap[y, x]),
        _largest(tags[present] - tag_map[y, x]),
        _misplacement(within[:, 0], heatmap[y], x),
        _misplacement(within[:, 1], heatmap.T[x], y),
    ]
    return float(np.max(differences))


def _misplacement(within: FloatArray, lines: FloatArray, indices: npt.NDArray[np.intp]) -> float:
    """Return how far apart two neighbours are, at most, between which a peak moved the wrong way.

    Args:
        within: Places in their pixels along an axis, shape (C,).
        lines: Responses along it, shape (C, S).
        indices: The pixels along it, shape (C,).
    """
    rows, last = np.arange(len(indices)), lines.shape[1] - 1
    rise = lines[rows, np.minimum(indices + 1, last)] - lines[rows, np.maximum(indices - 1, 0)]
    return _largest(rise[(rise > 0) != (within > 0.5)])


def _largest(differences: FloatArray) -> float:
    return float(np.abs(differences).max(initial=0))
