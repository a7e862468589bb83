"""The kit's models as ONNX graphs, written by what writes the export of a trained network."""

from collections.abc import Iterator

import onnx

from litepose_ofa.latency_tables.profiling.subjects import (
    NULL_SHAPE,
    NullModel,
    Shape,
    Subject,
    WholeNetwork,
    draw_weights,
)
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.export.folding import FoldedConvolution
from litepose_ofa.supernet.export.onnx_graph import (
    Deconvs,
    OnnxGraph,
    Output,
    add_network,
    add_operator,
)
from litepose_ofa.supernet.export.onnx_model import INPUT_NAME, OUTPUT_NAMES


def build_graph(subject: Subject, deconvs: Deconvs = "separate") -> onnx.ModelProto:
    """Return the ONNX model of a subject, with the weights of ``draw_weights``.

    Inputs are ``images`` of a network, else ``input0`` and, where there are two, ``input1``; outputs are ``head0`` and
    ``head1`` of a network, else ``output0``.

    Args:
        subject: What to time.
        deconvs: How fusion deconvs run; as in the exports for the runtime.
    """
    graph = OnnxGraph(deconvs)
    weights = list(_folded(subject))
    if isinstance(subject, WholeNetwork):
        images = graph.add_input(INPUT_NAME, subject.input_shapes[0])
        heads = map(
            graph.rename, add_network(graph, subject.arch, subject.num_keypoints, images, weights), OUTPUT_NAMES
        )
        shapes = [_output_shape(operator) for operator in subject.operators if operator.kind == "head"]
        return graph.to_model(subject.id, list(map(Output, heads, shapes)))
    values = [graph.add_input(f"input{i}", shape) for i, shape in enumerate(subject.input_shapes)]
    if isinstance(subject, NullModel):
        return graph.to_model(subject.id, [Output(graph.rename(graph.relu(values[0]), "output0"), NULL_SHAPE)])
    for operator, operator_weights in zip(subject.operators, weights, strict=True):
        values = [add_operator(graph, operator, values, operator_weights)]
    return graph.to_model(
        subject.id, [Output(graph.rename(values[0], "output0"), _output_shape(subject.operators[-1]))]
    )


def _folded(subject: Subject) -> Iterator[list[FoldedConvolution]]:
    """Yield each operator's weights: the scale of every batch norm is 1, so its shift is the convolution's bias."""
    for i, operator_weights in enumerate(draw_weights(subject)):
        yield [FoldedConvolution(f"operator{i}.{j}", w.kernel, w.shift) for j, w in enumerate(operator_weights)]


def _output_shape(operator: Operator) -> Shape:
    return (1, operator.out_channels, operator.out_resolution, operator.out_resolution)
