"""A subnet as an ONNX model that also does the heavy half of decoding: from an image to candidates of people's joints.

After the network it does to the heads what ``decode_people`` does up to its grouping: average the heatmaps at head 1's
size, keep the pixels that no other in a square around them exceeds, take the highest of each keypoint, and look up
their tags and higher neighbours.

What is left for a device is to group at most K x M numbers by their tags, as ``group_candidates`` does: docs/export.md
says what that costs. Nor is the mirrored image averaged in, nor are gaps closed: maps that are not finite are for
``decode_people`` alone.

Legend: K keypoints, M candidates a keypoint, R input size in pixels, S = R / 2 side of head 1. Locations are
in input pixels; pixel i covers [i, i + 1).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch

from litepose_ofa.supernet.codec.grouping import NMS_SIZE, find_candidates
from litepose_ofa.supernet.evaluation.people import merge_heads
from litepose_ofa.supernet.export.onnx_graph import (
    INPUT_NAME,
    OUTPUT_NAMES,
    Batch,
    OnnxGraph,
    Output,
    add_subnet,
    batch_side,
    head_shapes,
)
from litepose_ofa.supernet.export.runners import FloatArray, Heads, largest_difference, run_torch
from litepose_ofa.supernet.network.litepose import LitePose

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


def build_peaks_onnx(subnet: LitePose, *, batch: Batch, opset: int, most: int, threshold: float) -> onnx.ModelProto:
    """Return a network and the search for peaks in its maps as an ONNX model: ``images`` to what ``Peaks`` holds.

    There are at most so many candidates of a keypoint, with responses above the threshold; batch and opset are as for
    ``build_onnx``.
    """
    graph = OnnxGraph("merged")
    heads = add_subnet(graph, subnet, batch)
    keypoints, size = subnet.num_keypoints, subnet.arch.image_size // HEATMAP_STRIDE
    count = min(most, size * size)
    values = add_decoder(graph, *heads, keypoints=keypoints, size=size, most=count, threshold=threshold)
    shape = (batch_side(batch), keypoints, count)
    shapes = (shape, (*shape, 2), shape)
    return graph.to_model("litepose_peaks", list(map(Output, values, shapes)), opset=opset)


def add_decoder(
    graph: OnnxGraph, head0: str, head1: str, *, keypoints: int, size: int, most: int, threshold: float
) -> tuple[str, str, str]:
    """Add what follows the heads, and return scores, locations and tags, given K, S and M, which is at most S x S."""
    decoder = _Decoder(graph, keypoints, size)
    heatmaps, tags = decoder.average_heads(head0, head1)
    peaks = decoder.flatten(decoder.suppress(heatmaps, threshold))
    scores, pixels = graph.add_many("TopK", [peaks, decoder.integers("most", most)], [PEAK_NAMES[0], "pixels"], axis=2)
    tags_there = graph.add("GatherElements", [decoder.flatten(tags), pixels], PEAK_NAMES[2], axis=2)
    return scores, decoder.locate(decoder.flatten(heatmaps), pixels), tags_there


@dataclass(frozen=True, slots=True)
class _Decoder:
    """The steps of decoding as nodes of a graph; the attributes are as for ``add_decoder``."""

    graph: OnnxGraph
    keypoints: int
    size: int

    def integers(self, name: str, *values: int) -> str:
        return self.graph.constant(name, np.array(values, np.int64))

    def number(self, name: str, value: float) -> str:
        return self.graph.constant(name, np.array(value, np.float32))

    def flatten(self, maps: str) -> str:
        """Return maps (B, K, S, S) as (B, K, S x S)."""
        shape = self.integers("flat", 0, self.keypoints, self.size**2)
        return self.graph.add("Reshape", [maps, shape], f"{maps}.flat")

    def average_heads(self, head0: str, head1: str) -> tuple[str, str]:
        """Average the heatmaps at head 1's size and upsample the tags to it, (B, K, S, S) both."""
        add = self.graph.add
        factors = self.graph.constant("factors", np.array([1, 1, 2, 2], np.float32))
        modes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        upsampled = add("Resize", [head0, "", factors], "upsampled", **modes)
        lengths = self.integers("lengths", self.keypoints, self.keypoints)
        maps, tags = self.graph.add_many("Split", [upsampled, lengths], ["upsampled_heatmaps", "tag_maps"], axis=1)
        half = self.number("half", 0.5)
        return add("Mul", [add("Add", [maps, head1], "summed"), half], "heatmaps"), tags

    def suppress(self, heatmaps: str, threshold: float) -> str:
        """Return the heatmaps with 0 wherever a pixel is not a candidate."""
        add, window = self.graph.add, {"kernel_shape": [NMS_SIZE] * 2, "pads": [NMS_SIZE // 2] * 4, "strides": [1, 1]}
        highest = add("MaxPool", [heatmaps], "highest", **window)
        least = self.number("threshold", threshold)
        candidates = [add("Equal", [heatmaps, highest], "is_peak"), add("Greater", [heatmaps, least], "is_high")]
        nothing = self.number("zero", 0)
        return add("Where", [add("And", candidates, "is_candidate"), heatmaps, nothing], "peaks")

    def locate(self, heatmaps: str, pixels: str) -> str:
        """Return the locations (B, K, M, 2) of pixels (B, K, M), indices into the flat heatmaps (B, K, S x S)."""
        add = self.graph.add
        width = self.integers("width", self.size)
        y = add("Div", [pixels, width], "y")
        x = add("Sub", [pixels, add("Mul", [y, width], "row_starts")], "x")
        coordinates = [self._refine(x, 1, heatmaps, pixels), self._refine(y, self.size, heatmaps, pixels)]
        newest = self.integers("newest", 3)
        columns = [add("Unsqueeze", [coordinate, newest], f"{coordinate}.column") for coordinate in coordinates]
        return add("Concat", columns, PEAK_NAMES[1], axis=3)

    def _refine(self, index: str, step: int, heatmaps: str, pixels: str) -> str:
        """Return a coordinate in input pixels, of its index and the distance of neighbours in a flat heatmap."""
        add = self.graph.add
        one, first, last = self.integers("one", 1), self.integers("first", 0), self.integers("last", self.size - 1)
        responses = []
        for side, shift, limit, bound in (("after", "Add", "Min", last), ("before", "Sub", "Max", first)):
            neighbour = add(limit, [add(shift, [index, one], f"{index}.{side}"), bound], f"{index}.{side}_inside")
            offset = add("Sub", [neighbour, index], f"{index}.{side}_offset")
            jump = add("Mul", [offset, self.integers(f"step{step}", step)], f"{index}.{side}_jump")
            place = add("Add", [pixels, jump], f"{index}.{side}_pixel")
            responses.append(add("GatherElements", [heatmaps, place], f"{index}.{side}_response", axis=2))
        higher_after = add("Greater", responses, f"{index}.higher_after")
        quarters = [self.number("far", HEATMAP_STRIDE * 0.75), self.number("near", HEATMAP_STRIDE * 0.25)]
        within = add("Where", [higher_after, *quarters], f"{index}.within")
        start = add("Cast", [index], f"{index}.start", to=onnx.TensorProto.FLOAT)
        stride = self.number("stride", HEATMAP_STRIDE)
        return add("Add", [add("Mul", [start, stride], f"{index}.input_start"), within], f"{index}.location")


def compare_peaks(
    path: Path, subnet: LitePose, images: FloatArray, *, batch: Batch, threshold: float
) -> Iterator[tuple[float, float]]:
    """Yield of each image (B, 3, R, R) how far a file's heads are from torch's, or its peaks from those of its heads.

    The heads, which the file does not give back, are made outputs of a copy. The second number is torch's largest.
    """
    model = onnx.load(path)
    for name, shape in zip(OUTPUT_NAMES, head_shapes(subnet, batch), strict=True):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for image in np.split(images, len(images)):
        *peaks, head0, head1 = session.run((*PEAK_NAMES, *OUTPUT_NAMES), {INPUT_NAME: image})
        difference, scale = largest_difference((head0, head1), run_torch(subnet, image))
        of_peaks = peaks_difference(Peaks(*peaks), (head0, head1), threshold=threshold)
        yield float(np.max([difference, of_peaks])), scale  # unlike Python's max, NaN if any is


def peaks_difference(peaks: Peaks, heads: Heads, *, threshold: float) -> float:
    """Return how far the peaks of one image are from those that the decoder finds in its heads; infinite if elsewhere.

    Scores are compared in their order, responses and tags with those of the maps at each location's pixel. Where a
    location lies toward the lower neighbour, the two neighbours' responses are that far apart.
    """
    heatmaps, tag_maps = (maps[0].numpy() for maps in merge_heads(*map(torch.from_numpy, heads)))
    scores, locations, tags = (values[0] for values in peaks)
    expected = np.zeros_like(scores)
    for row, heatmap, tag_map in zip(expected, heatmaps, tag_maps, strict=True):
        found = find_candidates(heatmap, tag_map[..., None], most=len(row), threshold=threshold).scores
        row[: len(found)] = found
    joint, place = np.nonzero(scores > 0)
    within, pixels = np.modf(locations[joint, place] / HEATMAP_STRIDE)
    last = heatmaps.shape[1] - 1
    if not np.isin(within, (0.25, 0.75)).all() or (pixels < 0).any() or (pixels > last).any():
        return math.inf
    x, y = pixels.T.astype(np.intp)
    differences = [
        (scores - expected).ravel(),
        scores[joint, place] - heatmaps[joint, y, x],
        tags[joint, place] - tag_maps[joint, y, x],
    ]
    for axis, (across, down) in enumerate(((1, 0), (0, 1))):
        after, before = (
            heatmaps[joint, np.clip(y + sign * down, 0, last), np.clip(x + sign * across, 0, last)] for sign in (1, -1)
        )
        wrong_way = (after > before) != (within[:, axis] > 0.5)
        differences.append((after - before)[wrong_way])
    return float(np.abs(np.concatenate(differences)).max(initial=0))
