"""Heatmaps and AE tags to people.

Source: Newell et al., Associative Embedding (arXiv:1611.05424), as LitePose (arXiv:2205.01271) decodes.

Legend: K keypoints, H/W map, L tags a pixel, C candidates, N people. Pixel i of a map covers [i, i + 1). Costs, means
and distances are float64 whatever the maps are, so that rounding makes no two of them equal or turns them around.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from litepose_ofa.supernet.codec.refinement import fittest_pixels, tag_distances
from litepose_ofa.supernet.errors import require

Array = npt.NDArray[Any]
"""Floating point, single or double precision."""

NMS_SIZE = 5
"""Side of the square within which a peak is the highest pixel."""

_NMS_WINDOW = np.ones((NMS_SIZE, NMS_SIZE), np.uint8)
_BODY_FIRST = (*range(7), 11, 12, *range(7, 11))
"""Joints are grouped in this order, the others after: steady ones first (torso of COCO before its limbs)."""


def decode_people(
    heatmaps: Array | Tensor,
    tags: Array | Tensor,
    refine: bool = True,
    *,
    max_people: int = 30,
    threshold: float = 0.1,
    tag_threshold: float = 1.0,
    best: int | None = None,
) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Find the people in each image of a batch.

    A pixel counts as response 0 with tag 0 where its response or one of its tags is not finite in single precision.

    Args:
        heatmaps: Joint responses, shape (B, K, H, W).
        tags: AE tags, shape (B, K, H, W), or (B, K, H, W, L) for L tags a pixel (two with a flip test); tag distances
            are Euclidean over L.
        refine: Whether to look for a person's missing joints once the people are known.
        max_people: Most candidates kept of each joint.
        threshold: Responses of candidates are above this, in the heatmaps' precision.
        tag_threshold: A candidate joins a person only if its tag is nearer than this to the person's mean tag.
        best: Most people of an image, those of the highest scores; all if None.

    Returns:
        One entry an image, best person first: people, shape (N, K, 3), x and y in heatmap pixels and the joint's
        response, zeros where missing; their scores, shape (N,), the mean response over all K joints before refinement.

    Example:
        >>> people, scores = decode_people(np.zeros((1, 14, 32, 32)), np.zeros((1, 14, 32, 32)))[0]
        >>> people.shape, scores.shape
        ((0, 14, 3), (0,))

    Raises:
        InputError: If the shapes do not fit together.
    """
    heatmaps, tags = _to_numpy(heatmaps), _to_numpy(tags)
    shapes = f"{heatmaps.shape} and {tags.shape}"
    fit = heatmaps.ndim == 4 and tags.ndim in (4, 5) and tags.shape[:4] == heatmaps.shape
    require(fit, "the shapes of heatmaps and tags", shapes, "(B, K, H, W) and (B, K, H, W[, L])")
    require(0 not in heatmaps.shape[1:] + tags.shape[4:], "the shapes of heatmaps and tags", shapes, "without 0")
    decoded = []
    for image_heatmaps, image_tags in zip(heatmaps, tags if tags.ndim == 5 else tags[..., None], strict=True):
        responses, finite_tags = _without_gaps(image_heatmaps, image_tags)
        candidates = [
            find_candidates(heatmap, tag_map, most=max_people, threshold=threshold)
            for heatmap, tag_map in zip(responses, finite_tags, strict=True)
        ]
        people = group_candidates(candidates, tag_threshold=tag_threshold, best=best)
        if refine:
            _fill_missing(people, responses, finite_tags)
        _to_sub_pixels(people.joints, responses)
        decoded.append((people.joints.astype(np.float32), people.scores.astype(np.float32)))
    return decoded


class Candidates(NamedTuple):
    """Peaks of one joint's heatmap, by falling score and in row-major order among equals."""

    locations: npt.NDArray[np.intp]
    """Pixel indices x, y, shape (C, 2)."""
    scores: npt.NDArray[np.float64]
    """Responses, shape (C,)."""
    tags: npt.NDArray[np.float64]
    """AE tags at the peaks, shape (C, L); squares of any single-precision tag are finite."""


class People(NamedTuple):
    """The people of one image, by falling score; equals are in the order in which they were found."""

    joints: npt.NDArray[np.float64]
    """x, y as pixel indices and score, shape (N, K, 3); zeros where missing."""
    scores: npt.NDArray[np.float64]
    """Mean score over all K joints, shape (N,)."""
    mean_tags: npt.NDArray[np.float64]
    """Mean tag over the joints found, shape (N, L)."""


def find_candidates(heatmap: Array, tags: Array, *, most: int, threshold: float) -> Candidates:
    """Return the highest pixels of a heatmap (H, W) that none around them exceeds, with their tags of (H, W, L).

    At most so many, whose responses are above the threshold.
    """
    pixels = np.flatnonzero((heatmap == cv2.dilate(heatmap, _NMS_WINDOW)) & (heatmap > threshold))
    scores = heatmap.ravel()[pixels].astype(np.float64)
    order = np.argsort(-scores, kind="stable")[:most]
    y, x = np.divmod(pixels[order], heatmap.shape[1])
    return Candidates(np.stack([x, y], axis=1), scores[order], tags[y, x].astype(np.float64))


def group_candidates(candidates: Sequence[Candidates], *, tag_threshold: float, best: int | None = None) -> People:
    """Group the candidates of the K joints into people, and return no more than the ``best`` of them.

    A joint's candidates are matched to the people so far at the least total of round(tag distance) x 100 - score; those
    left over, or not nearer than ``tag_threshold`` to their person's mean tag, begin new people.
    """
    count, num_keypoints = sum(len(joint.scores) for joint in candidates), len(candidates)
    joints = np.zeros((count, num_keypoints, 3))
    score_sums, tag_counts = np.zeros(count), np.zeros((count, 1))
    tag_sums = np.zeros((count, candidates[0].tags.shape[1]))
    num_people = 0
    body, rest = (joint for joint in _BODY_FIRST if joint < num_keypoints), range(len(_BODY_FIRST), num_keypoints)
    for joint in (*body, *rest):
        own = candidates[joint]
        owners = _assign(own, tag_sums[:num_people] / tag_counts[:num_people], tag_threshold)
        new = np.flatnonzero(owners < 0)
        owners[new] = num_people + np.arange(len(new))
        num_people += len(new)
        joints[owners, joint, :2] = own.locations
        joints[owners, joint, 2] = own.scores
        score_sums[owners] += own.scores
        tag_sums[owners] += own.tags
        tag_counts[owners] += 1
    scores = score_sums[:num_people] / num_keypoints
    order = np.argsort(-scores, kind="stable")[:best]
    return People(joints[order], scores[order], tag_sums[order] / tag_counts[order])


def _assign(candidates: Candidates, means: Array, tag_threshold: float) -> npt.NDArray[np.intp]:
    """Return for each candidate of one joint the person it belongs to, -1 for a new one."""
    owners = np.full(len(candidates.scores), -1, np.intp)
    if len(owners) and len(means):
        distances = tag_distances(candidates.tags[:, None], means)
        rows, columns = linear_sum_assignment(np.rint(distances) * 100 - candidates.scores[:, None])
        near = distances[rows, columns] < tag_threshold
        owners[rows[near]] = columns[near]
    return owners


def _fill_missing(people: People, heatmaps: Array, tags: Array) -> None:
    """Put each missing joint, in place, where ``fittest_pixels`` says, unless the response there is not above 0."""
    width = heatmaps.shape[2]
    for joint, (heatmap, tag_map) in enumerate(zip(heatmaps, tags, strict=True)):
        missing = np.flatnonzero(people.joints[:, joint, 2] == 0)
        pixels = fittest_pixels(heatmap, tag_map, people.mean_tags[missing])
        responses = heatmap.ravel()[pixels]
        filled = responses > 0
        y, x = np.divmod(pixels[filled], width)
        people.joints[missing[filled], joint] = np.stack([x, y, responses[filled]], axis=1)


def _to_sub_pixels(joints: Array, heatmaps: Array) -> None:
    """Turn pixel indices into coordinates, in place: the pixel's middle, a quarter toward the higher neighbours."""
    _, height, width = heatmaps.shape
    person, joint = np.nonzero(joints[:, :, 2] > 0)
    x, y = joints[person, joint, :2].astype(np.intp).T
    to_right = heatmaps[joint, y, np.minimum(x + 1, width - 1)] > heatmaps[joint, y, np.maximum(x - 1, 0)]
    to_bottom = heatmaps[joint, np.minimum(y + 1, height - 1), x] > heatmaps[joint, np.maximum(y - 1, 0), x]
    joints[person, joint, 0] = x + 0.5 + np.where(to_right, 0.25, -0.25)
    joints[person, joint, 1] = y + 0.5 + np.where(to_bottom, 0.25, -0.25)


def _to_numpy(maps: Array | Tensor) -> Array:
    """Return a contiguous array of a precision that OpenCV takes; half precision becomes single."""
    if isinstance(maps, Tensor):
        maps = maps.detach().to("cpu", torch.promote_types(maps.dtype, torch.float32)).numpy()
    return np.ascontiguousarray(maps, np.promote_types(maps.dtype, np.float32))


@np.errstate(over="ignore")
def _without_gaps(heatmaps: Array, tags: Array) -> tuple[Array, Array]:
    """Return maps that are finite in single precision: heatmaps, shape (K, H, W), and tags, shape (K, H, W, L)."""
    finite_heatmaps, finite_tags = (np.isfinite(maps.astype(np.float32, copy=False)) for maps in (heatmaps, tags))
    if finite_heatmaps.all() and finite_tags.all():
        return heatmaps, tags
    finite = finite_heatmaps & finite_tags.all(axis=3)
    return np.where(finite, heatmaps, 0), np.where(finite[..., None], tags, 0)
