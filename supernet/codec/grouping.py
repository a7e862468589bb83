"""Heatmaps and AE tags to people.

Source: Newell et al., Associative Embedding (arXiv:1611.05424), as LitePose (arXiv:2205.01271) decodes.

Legend: K keypoints, H/W map, L tags a pixel, C candidates, N people. Pixel i of a map covers [i, i + 1).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Array = npt.NDArray[Any]
"""Floating point, as wide as the input's."""

NMS_SIZE = 5
"""Side of the square within which a peak is the highest pixel."""

_NMS_WINDOW = np.ones((NMS_SIZE, NMS_SIZE), np.uint8)
_BODY_FIRST = (*range(7), 11, 12, *range(7, 11))


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

    Pixels that are not finite, in the heatmap or in the tags, count as no response.

    Args:
        heatmaps: Joint responses, shape (B, K, H, W).
        tags: AE tags, shape (B, K, H, W), or (B, K, H, W, L) for L tags a pixel (two with a flip test); tag distances
            are Euclidean over L.
        refine: Whether to look for a person's missing joints once the people are known.
        max_people: Most candidates kept of each joint.
        threshold: Least response of a candidate.
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
        ValueError: If the shapes do not fit together, or the threshold is negative.
    """
    heatmaps, tags = _to_numpy(heatmaps), _to_numpy(tags)
    if heatmaps.ndim != 4 or tags.shape[:4] != heatmaps.shape or tags.ndim not in (4, 5):
        raise ValueError(
            f"heatmaps {heatmaps.shape} and tags {tags.shape} must have the shapes (B, K, H, W) and (B, K, H, W[, L])"
        )
    if not threshold >= 0:
        raise ValueError(f"threshold is {threshold!r}; it must be at least 0")
    planes = tags[:, None] if tags.ndim == 4 else np.ascontiguousarray(np.moveaxis(tags, -1, 1))
    decoded = []
    for image_heatmaps, image_tags in zip(heatmaps, planes, strict=True):
        responses, finite_tags = _without_gaps(image_heatmaps, image_tags)
        candidates = find_candidates(responses, finite_tags, max_per_joint=max_people, threshold=threshold)
        people = group_candidates(candidates, num_keypoints=len(responses), tag_threshold=tag_threshold)
        scores = people[:, :, 2].mean(axis=1)
        order = np.argsort(-scores, kind="stable")[:best]
        people, scores = people[order], scores[order]
        if refine:
            _fill_missing(people, responses, finite_tags)
        _to_sub_pixels(people, responses)
        decoded.append((people.astype(np.float32), scores.astype(np.float32)))
    return decoded


@dataclass(frozen=True, slots=True)
class Candidates:
    """Heatmap peaks, by joint and within a joint by falling score.

    Attributes:
        joints: Keypoint indices, shape (C,).
        locations: Pixel indices x, y, shape (C, 2).
        scores: Responses, shape (C,).
        tags: AE tags at the peaks, shape (C, L), float64: squares of any single-precision tag are finite.
    """

    joints: npt.NDArray[np.intp]
    locations: npt.NDArray[np.intp]
    scores: Array
    tags: Array


def find_candidates(heatmaps: Array, tags: Array, *, max_per_joint: int, threshold: float) -> Candidates:
    """Return the highest pixels of each heatmap that no pixel within NMS_SIZE exceeds.

    Args:
        heatmaps: Joint responses, shape (K, H, W).
        tags: AE tags, shape (L, K, H, W).
        max_per_joint: Most candidates of a joint.
        threshold: Their responses are above this.
    """
    highest = np.stack([cv2.dilate(heatmap, _NMS_WINDOW) for heatmap in heatmaps])
    joints, y, x = np.nonzero((heatmaps == highest) & (heatmaps > threshold))
    scores = heatmaps[joints, y, x]
    order = np.lexsort((-scores, joints))
    ranks = np.arange(len(order)) - np.searchsorted(joints, joints)
    order = order[ranks < max_per_joint]
    joints, y, x = joints[order], y[order], x[order]
    return Candidates(joints, np.stack([x, y], axis=1), scores[order], tags[:, joints, y, x].T.astype(np.float64))


def joint_order(num_keypoints: int) -> list[int]:
    """Return the order in which joints are grouped: steady ones first (torso of COCO before its limbs)."""
    return [*(joint for joint in _BODY_FIRST if joint < num_keypoints), *range(len(_BODY_FIRST), num_keypoints)]


def group_candidates(candidates: Candidates, *, num_keypoints: int, tag_threshold: float) -> Array:
    """Group candidates into people, joint by joint.

    A joint's candidates are matched to the people so far at the least total of round(tag distance) x 100 - score; those
    left over, or further than ``tag_threshold`` from their person's mean tag, begin new people.

    Returns:
        People, shape (N, K, 3): x, y as pixel indices, score; zeros where missing.
    """
    count = len(candidates.scores)
    people = np.zeros((count, num_keypoints, 3), candidates.scores.dtype)
    tag_sums = np.zeros((count, candidates.tags.shape[1]), candidates.tags.dtype)
    tag_counts = np.zeros((count, 1), candidates.tags.dtype)
    num_people = 0
    starts = np.searchsorted(candidates.joints, np.arange(num_keypoints + 1))
    for joint in joint_order(num_keypoints):
        own = slice(starts[joint], starts[joint + 1])
        tags, scores = candidates.tags[own], candidates.scores[own]
        means = tag_sums[:num_people] / tag_counts[:num_people]
        owners = _assign(tags, scores, means, tag_threshold)
        new = np.flatnonzero(owners < 0)
        owners[new] = num_people + np.arange(len(new))
        num_people += len(new)
        people[owners, joint, :2] = candidates.locations[own]
        people[owners, joint, 2] = scores
        tag_sums[owners] += tags
        tag_counts[owners] += 1
    return people[:num_people]


def _assign(tags: Array, scores: Array, means: Array, tag_threshold: float) -> npt.NDArray[np.intp]:
    """Return for each candidate of one joint the person it belongs to, -1 for a new one."""
    owners = np.full(len(tags), -1, np.intp)
    if len(tags) and len(means):
        distances = np.linalg.norm(tags[:, None] - means[None], axis=2)
        rows, columns = linear_sum_assignment(np.round(distances) * 100 - scores[:, None])
        near = distances[rows, columns] < tag_threshold
        owners[rows[near]] = columns[near]
    return owners


@np.errstate(over="ignore", invalid="ignore")  # tags of a diverged network; their distance is infinite
def _fill_missing(people: Array, heatmaps: Array, tags: Array) -> None:
    """Put each missing joint, in place, where response less rounded distance to the person's mean tag is highest.

    A joint stays missing if the response there is not above 0.
    """
    width = heatmaps.shape[2]
    for person in people:
        found = np.flatnonzero(person[:, 2])
        x, y = person[found, :2].astype(np.intp).T
        mean_tag = tags[:, found, y, x].mean(axis=1)
        for joint in np.flatnonzero(person[:, 2] == 0):
            distances = _distances(tags[:, joint], mean_tag)
            fitness = np.subtract(heatmaps[joint], np.rint(distances, out=distances), out=distances)
            row, column = divmod(int(fitness.argmax()), width)
            if heatmaps[joint, row, column] > 0:
                person[joint] = column, row, heatmaps[joint, row, column]


def _distances(tags: Array, mean_tag: Array) -> Array:
    """Return the Euclidean distances of a tag map, shape (L, H, W), to one tag, shape (L,)."""
    squares = np.zeros(tags.shape[1:], tags.dtype)
    for tag_map, mean in zip(tags, mean_tag, strict=True):
        difference = tag_map - mean
        squares += np.square(difference, out=difference)
    distances: Array = np.sqrt(squares, out=squares)
    return distances


def _to_sub_pixels(people: Array, heatmaps: Array) -> None:
    """Turn pixel indices into coordinates, in place: the pixel's middle, a quarter toward the higher neighbours."""
    _, height, width = heatmaps.shape
    person, joint = np.nonzero(people[:, :, 2] > 0)
    x, y = people[person, joint, :2].astype(np.intp).T
    to_right = heatmaps[joint, y, np.minimum(x + 1, width - 1)] > heatmaps[joint, y, np.maximum(x - 1, 0)]
    to_bottom = heatmaps[joint, np.minimum(y + 1, height - 1), x] > heatmaps[joint, np.maximum(y - 1, 0), x]
    people[person, joint, 0] = x + 0.5 + np.where(to_right, 0.25, -0.25)
    people[person, joint, 1] = y + 0.5 + np.where(to_bottom, 0.25, -0.25)


def _to_numpy(maps: Array | Tensor) -> Array:
    """Return a floating-point array that OpenCV takes; half precision becomes single."""
    if isinstance(maps, Tensor):
        maps = maps.detach().to("cpu", torch.promote_types(maps.dtype, torch.float32)).numpy()
    return np.ascontiguousarray(maps, np.promote_types(maps.dtype, np.float32))


def _without_gaps(heatmaps: Array, tags: Array) -> tuple[Array, Array]:
    """Return finite maps: no response where either is not finite."""
    finite = np.isfinite(heatmaps) & np.isfinite(tags).all(axis=0)
    if finite.all():
        return heatmaps, tags
    return np.where(finite, heatmaps, 0), np.where(finite, tags, 0)
