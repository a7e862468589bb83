"""A subnet as an ONNX model that also does the heavy half of decoding: from an image to candidates to group.

After the network it does to the heads what ``decode_people`` does up to its grouping: average the heatmaps at head 1's
size, keep the pixels that no other in a square around them exceeds, take the highest of each keypoint, and look up
their tags and higher neighbours.

Legend: K keypoints, M candidates a keypoint, R input size in pixels, S = R / 2 side of head 1.
"""

import numpy as np
import onnx

from litepose_ofa.supernet.codec.grouping import NMS_SIZE
from litepose_ofa.supernet.export.onnx_graph import OnnxGraph, Output
from litepose_ofa.supernet.export.onnx_model import Batch, add_subnet, batch_side
from litepose_ofa.supernet.network.litepose import LitePose

PEAK_NAMES = ("scores", "locations", "tags")
HEATMAP_STRIDE = 2
"""Input pixels along a pixel of head 1."""


def build_peaks_onnx(subnet: LitePose, *, batch: Batch, opset: int, most: int, threshold: float) -> onnx.ModelProto:
    """Return a network and the search for peaks in its maps as an ONNX model: ``images`` to what ``Peaks`` holds.

    Args:
        subnet: The network.
        batch: As for ``build_onnx``.
        opset: As for ``build_onnx``.
        most: Most candidates of a keypoint (M).
        threshold: Responses of candidates are above this.
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
    """Add what follows the heads, and return scores, locations and tags.

    Args:
        graph: Where to.
        head0: Head 0.
        head1: Head 1.
        keypoints: K.
        size: Side of head 1 in pixels.
        most: M, at most as many as head 1 has pixels.
        threshold: Responses of candidates are above this.
    """
    decoder = _Decoder(graph, keypoints, size)
    heatmaps, tags = decoder.average_heads(head0, head1)
    scores, pixels = decoder.find_highest(decoder.suppress(heatmaps, threshold), most)
    tags_there = graph.add("GatherElements", [decoder.flatten(tags), pixels], PEAK_NAMES[2], axis=2)
    return scores, decoder.locate(decoder.flatten(heatmaps), pixels), tags_there


class _Decoder:
    """The steps of decoding as nodes of a graph; the arguments are those of ``add_decoder``."""

    def __init__(self, graph: OnnxGraph, keypoints: int, size: int) -> None:
        self._graph, self._keypoints, self._size = graph, keypoints, size

    def flatten(self, maps: str) -> str:
        """Return maps (B, K, S, S) as (B, K, S x S)."""
        shape = self._integers("flat", [0, self._keypoints, self._size**2])
        return self._graph.add("Reshape", [maps, shape], f"{maps}.flat")

    def find_highest(self, peaks: str, most: int) -> tuple[str, str]:
        """Return the highest scores (B, K, M) of maps, and their pixels' indices, the first ones among equals."""
        inputs = [self.flatten(peaks), self._integers("most", [most])]
        scores, pixels = self._graph.add_many("TopK", inputs, [PEAK_NAMES[0], "pixels"], axis=2)
        return scores, pixels

    def average_heads(self, head0: str, head1: str) -> tuple[str, str]:
        """Average the heatmaps at head 1's size and upsample the tags to it, (B, K, S, S) both."""
        add = self._graph.add
        factors = self._graph.constant("factors", np.array([1, 1, 2, 2], np.float32))
        modes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        upsampled = add("Resize", [head0, "", factors], "upsampled", **modes)
        lengths = self._integers("lengths", [self._keypoints, self._keypoints])
        maps, tags = self._graph.add_many("Split", [upsampled, lengths], ["upsampled_heatmaps", "tag_maps"], axis=1)
        half = self._graph.constant("half", np.array(0.5, np.float32))
        return add("Mul", [add("Add", [maps, head1], "summed"), half], "heatmaps"), tags

    def suppress(self, heatmaps: str, threshold: float) -> str:
        """Return the heatmaps with 0 wherever a pixel is not a candidate."""
        add = self._graph.add
        highest = add(
            "MaxPool", [heatmaps], "highest", kernel_shape=[NMS_SIZE] * 2, pads=[NMS_SIZE // 2] * 4, strides=[1, 1]
        )
        least = self._graph.constant("threshold", np.array(threshold, np.float32))
        candidates = [add("Equal", [heatmaps, highest], "is_peak"), add("Greater", [heatmaps, least], "is_high")]
        nothing = self._graph.constant("zero", np.array(0, np.float32))
        return add("Where", [add("And", candidates, "is_candidate"), heatmaps, nothing], "peaks")

    def locate(self, heatmaps: str, pixels: str) -> str:
        """Return the locations (B, K, M, 2) of pixels (B, K, M), indices into the flat heatmaps (B, K, S x S)."""
        add = self._graph.add
        width = self._integers("width", [self._size])
        y = add("Div", [pixels, width], "y")
        x = add("Sub", [pixels, add("Mul", [y, width], "row_starts")], "x")
        coordinates = [self._refine(x, 1, heatmaps, pixels), self._refine(y, self._size, heatmaps, pixels)]
        newest = self._integers("newest", [3])
        columns = [add("Unsqueeze", [coordinate, newest], f"{coordinate}.column") for coordinate in coordinates]
        return add("Concat", columns, PEAK_NAMES[1], axis=3)

    def _refine(self, index: str, step: int, heatmaps: str, pixels: str) -> str:
        """Return a coordinate in input pixels, of its index and the distance of neighbours in a flat heatmap."""
        add, constant = self._graph.add, self._graph.constant
        one, first, last = (
            self._integers(name, [value]) for name, value in (("one", 1), ("first", 0), ("last", self._size - 1))
        )
        responses = []
        for side, shift, limit, bound in (("after", "Add", "Min", last), ("before", "Sub", "Max", first)):
            neighbour = add(limit, [add(shift, [index, one], f"{index}.{side}"), bound], f"{index}.{side}_inside")
            offset = add("Sub", [neighbour, index], f"{index}.{side}_offset")
            jump = add("Mul", [offset, self._integers(f"step{step}", [step])], f"{index}.{side}_jump")
            place = add("Add", [pixels, jump], f"{index}.{side}_pixel")
            responses.append(add("GatherElements", [heatmaps, place], f"{index}.{side}_response", axis=2))
        higher_after = add("Greater", responses, f"{index}.higher_after")
        quarters = [
            constant(name, np.array(HEATMAP_STRIDE * part, np.float32))
            for name, part in (("far", 0.75), ("near", 0.25))
        ]
        within = add("Where", [higher_after, *quarters], f"{index}.within")
        start = add("Cast", [index], f"{index}.start", to=onnx.TensorProto.FLOAT)
        stride = constant("stride", np.array(HEATMAP_STRIDE, np.float32))
        return add("Add", [add("Mul", [start, stride], f"{index}.input_start"), within], f"{index}.location")

    def _integers(self, name: str, values: list[int]) -> str:
        return self._graph.constant(name, np.array(values, np.int64))
