"""A subnet as an ONNX model: batch norms folded, nothing in it but what runs.

Legend: K keypoints, R input size in pixels.
"""

from pathlib import Path
from typing import Literal, get_args

import onnx

from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.export.folding import fold_weights
from litepose_ofa.supernet.export.onnx_graph import (
    OPSET,
    OPSETS,
    Deconvs,
    OnnxGraph,
    Output,
    Shape,
    add_network,
)
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.network.litepose import LitePose

INPUT_NAME = "images"
OUTPUT_NAMES = ("head0", "head1")
TOLERANCE = 1e-4
"""Largest absolute difference between a float32 file in its runtime and torch."""

Batch = Literal["one", "dynamic"]
"""Whether a file takes one image a run, or any number."""


def build_onnx(
    subnet: LitePose, *, batch: Batch = "one", opset: int = OPSET, deconvs: Deconvs = "separate"
) -> onnx.ModelProto:
    """Return a network in eval mode as an ONNX model, weights inside.

    Nodes are called after the state-dict names of their convolutions. Equal weights give equal bytes.

    Args:
        subnet: The network, in any mode.
        batch: The input ``images`` is (1, 3, R, R), or (batch, 3, R, R).
        opset: Version of the ONNX operators, of ``litepose_ofa.supernet.export.onnx_graph.OPSETS``.
        deconvs: How fusion deconvs run; what is computed is the same but for rounding.

    Returns:
        A model of the outputs ``head0`` (1, 2K, R / 4, R / 4) and ``head1`` (1, K, R / 2, R / 2).

    Raises:
        InputError: If ``batch`` or ``opset`` is another.

    Example:
        >>> from litepose_ofa.supernet.archs.space import SearchSpace
        >>> model = build_onnx(LitePose(SearchSpace.preset("tiny").smallest()))
        >>> sorted({node.op_type for node in model.graph.node})
        ['Add', 'Clip', 'Conv', 'ConvTranspose', 'Relu']
    """
    require_options(batch, opset)
    graph = OnnxGraph(deconvs)
    heads = add_subnet(graph, subnet, batch)
    return graph.to_model("litepose", list(map(Output, heads, head_shapes(subnet, batch))), opset=opset)


def export_onnx(path: Path, subnet: LitePose, *, batch: Batch = "one", opset: int = OPSET) -> None:
    """Write the model of ``build_onnx``, whose other arguments these are, as ONNX Runtime runs it fastest."""
    save_onnx(path, build_onnx(subnet, batch=batch, opset=opset, deconvs="merged"))


def save_onnx(path: Path, model: onnx.ModelProto) -> None:
    """Write a model, through a temporary name."""
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def require_options(batch: Batch, opset: int) -> None:
    """Refuse what a file cannot be written with.

    Raises:
        InputError: If ``batch`` is no ``Batch``, or ``opset`` no integer of ``OPSETS``.
    """
    require(batch in get_args(Batch), "batch", batch, " or ".join(get_args(Batch)))
    require(type(opset) is int and opset in OPSETS, "opset", opset, f"{OPSETS.start} to {OPSETS.stop - 1}")


def add_subnet(graph: OnnxGraph, subnet: LitePose, batch: Batch) -> tuple[str, str]:
    """Add the input ``images`` and a network to a graph, and return its heads."""
    size = subnet.arch.image_size
    images = graph.add_input(INPUT_NAME, (batch_side(batch), 3, size, size))
    heads = add_network(graph, subnet.arch, subnet.num_keypoints, images, fold_weights(subnet))
    head0, head1 = map(graph.rename, heads, OUTPUT_NAMES)
    return head0, head1


def head_shapes(subnet: LitePose, batch: Batch) -> tuple[Shape, Shape]:
    """Return the shapes of the two heads."""
    size, keypoints, side = subnet.arch.image_size, subnet.num_keypoints, batch_side(batch)
    return (side, 2 * keypoints, size // 4, size // 4), (side, keypoints, size // 2, size // 2)


def batch_side(batch: Batch) -> int | str:
    """Return the first side of every input and output."""
    return 1 if batch == "one" else "batch"
