"""Candidates of people's joints, as an exported network gives them that looks for peaks itself, and their grouping.

What is left for a device is to group at most K x M numbers by their tags, as ``group_peaks`` does. That is
``decode_people`` without the joints that it fills in if refining, for which it needs whole maps: people keep zeros
there, which costs AP (docs/export.md says how much). Nor is the mirrored image averaged in, nor are gaps closed: maps
that are not finite are for ``decode_people`` alone.

Legend: K keypoints, M candidates a keypoint, N people, S side of head 1. Locations are in input pixels; pixel i covers
[i, i + 1).
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from litepose_ofa.supernet.codec.grouping import Candidates, find_candidates, group_candidates
from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.evaluation.people import DEFAULT_SETTINGS, merge_heads
from litepose_ofa.supernet.export.formats import FloatArray, Heads, Runner, largest_difference, run_torch
from litepose_ofa.supernet.export.onnx_graph import OPSET
from litepose_ofa.supernet.export.onnx_model import (
    INPUT_NAME,
    OUTPUT_NAMES,
    Batch,
    OnnxFormat,
    head_shapes,
    open_session,
    save_onnx,
)
from litepose_ofa.supernet.export.peaks_graph import HEATMAP_STRIDE, PEAK_NAMES, build_peaks_onnx
from litepose_ofa.supernet.network.litepose import LitePose


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


class OnnxPeaksFormat(OnnxFormat):
    """One ``.onnx`` file: input ``images``, outputs as of ``Peaks``, ready to be grouped.

    It is compared by what it is made of: its heads, which it does not give back, with torch's, and its peaks with those
    that the decoder finds in its heads.

    Args:
        batch: Whether the file takes one image a run, or any number.
        opset: Version of the ONNX operators.
        most: Most candidates of a keypoint (M).
        threshold: Responses of candidates are above this.

    Example:
        >>> fmt = OnnxPeaksFormat(most=20)
        >>> fmt.write(folder, subnet)  # doctest: +SKIP
        >>> people, scores = group_peaks(fmt.open(folder)(images))  # doctest: +SKIP
    """

    name = "onnx_peaks"
    files = ("model_peaks.onnx",)

    def __init__(
        self,
        *,
        batch: Batch = "one",
        opset: int = OPSET,
        most: int = DEFAULT_SETTINGS.max_people,
        threshold: float = DEFAULT_SETTINGS.threshold,
    ) -> None:
        super().__init__(batch=batch, opset=opset)
        require(most >= 1, "most", most, "at least 1")
        require(threshold >= 0, "threshold", threshold, "at least 0")
        self.most = most
        self.threshold = threshold

    def write(self, folder: Path, subnet: LitePose) -> None:
        """Write the file of a network in eval mode."""
        model = build_peaks_onnx(subnet, batch=self.batch, opset=self.opset, most=self.most, threshold=self.threshold)
        save_onnx(folder / self.files[0], model)

    def open(self, folder: Path, *, threads: int = 1) -> Runner:
        """Open the file in a session; what it gives are ``Peaks``."""
        session = open_session(folder / self.files[0], PEAK_NAMES, threads=threads)
        return lambda images: Peaks(*session.run(PEAK_NAMES, {INPUT_NAME: np.ascontiguousarray(images)}))

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return super().describe() | {"most_candidates": self.most, "threshold": self.threshold}

    def differences(self, folder: Path, subnet: LitePose, images: FloatArray) -> Iterator[tuple[float, float]]:
        """Yield how far the file's heads are from torch's, or its peaks from those of its heads."""
        path = folder / self.files[0]
        open_session(path, PEAK_NAMES)  # refuses what is damaged
        model = onnx.load(path)
        for name, shape in zip(OUTPUT_NAMES, head_shapes(subnet, self.batch), strict=True):
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for image in np.split(images, len(images)):
            *peaks, head0, head1 = session.run((*PEAK_NAMES, *OUTPUT_NAMES), {INPUT_NAME: image})
            difference, scale = largest_difference((head0, head1), run_torch(subnet, image))
            of_peaks = peaks_difference(Peaks(*peaks), (head0, head1), threshold=self.threshold)
            yield float(np.max([difference, of_peaks])), scale  # unlike Python's max, NaN if any is


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
        The largest difference; infinite if a location is not one of a pixel.
    """
    heatmaps, tag_maps = (maps[0].numpy() for maps in merge_heads(*map(torch.from_numpy, heads)))
    scores, locations, tags = (values[0] for values in peaks)
    expected = np.zeros_like(scores)
    for row, heatmap, tag_map in zip(expected, heatmaps, tag_maps, strict=True):
        found = find_candidates(heatmap, tag_map[..., None], most=len(row), threshold=threshold).scores
        row[: len(found)] = found
    joint, place = np.nonzero(scores > 0)
    within, pixels = np.modf(locations[joint, place] / HEATMAP_STRIDE)
    size = heatmaps.shape[1]
    if not np.isin(within, (0.25, 0.75)).all() or (pixels < 0).any() or (pixels >= size).any():
        return math.inf
    x, y = pixels.T.astype(np.intp)
    differences = [
        _largest(scores - expected),
        _largest(scores[joint, place] - heatmaps[joint, y, x]),
        _largest(tags[joint, place] - tag_maps[joint, y, x]),
        _misplacement(within[:, 0], heatmaps[joint, y], x),
        _misplacement(within[:, 1], heatmaps[joint, :, x], y),
    ]
    return float(np.max(differences))  # unlike Python's max, NaN if any is


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
