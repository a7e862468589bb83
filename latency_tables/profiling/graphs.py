"""The kit's models as ONNX graphs, node for node as a trained network's export has them after folding its batch norms.

Written with the ONNX helpers: torch's exporter takes seconds a model, and a kit has thousands.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from latency_tables.profiling.subjects import (
    NULL_SHAPE,
    ConvolutionWeights,
    NullModel,
    Shape,
    Subject,
    WholeNetwork,
    draw_weights,
)
from supernet.arch import Arch
from supernet.export.onnx_model import INPUT_NAME, OPSET, OUTPUT_NAMES
from supernet.operators import Convolution, Operator

IR_VERSION = 10
"""The ONNX file format that the opset came with; older runtimes refuse a newer one."""

NORM_EPSILON = 1e-5


def build_graph(subject: Subject) -> onnx.ModelProto:
    """Return the ONNX model of a subject, with the weights of ``draw_weights``.

    Inputs are ``images`` of a network, else ``input0`` and, where there are two, ``input1``; outputs are ``head0`` and
    ``head1`` of a network, else ``output0``.
    """
    graph = _Graph()
    weights = iter(draw_weights(subject))
    if isinstance(subject, WholeNetwork):
        inputs = graph.add_inputs([INPUT_NAME], subject.input_shapes)
        outputs = _add_network(graph, subject, inputs[0], weights)
        shapes = [_output_shape(operator) for operator in subject.operators if operator.kind == "head"]
        return graph.to_model(subject.id, outputs, list(OUTPUT_NAMES), shapes)
    inputs = graph.add_inputs([f"input{i}" for i in range(len(subject.input_shapes))], subject.input_shapes)
    if isinstance(subject, NullModel):
        return graph.to_model(subject.id, [graph.add("Relu", inputs)], ["output0"], [NULL_SHAPE])
    outputs = inputs
    for operator in subject.operators:
        outputs = [_add_operator(graph, operator, outputs, next(weights))]
    return graph.to_model(subject.id, outputs, ["output0"], [_output_shape(subject.operators[-1])])


class _Graph:
    """Nodes and weights in the making; a value is known by its name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []

    def add_inputs(self, names: list[str], shapes: tuple[Shape, ...]) -> list[str]:
        for name, shape in zip(names, shapes, strict=True):
            self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return names

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, value: NDArray[np.float32], name: str | None = None) -> str:
        name = name or f"weight{len(self._weights)}"
        self._weights.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def convolution(self, x: str, convolution: Convolution, weights: ConvolutionWeights, *, folded: bool = True) -> str:
        """Add a convolution; ``folded`` says whether the shift of its batch norm is its bias."""
        k, c = convolution.kernel, convolution
        transposed = c.kind == "transposed"
        stride = c.out_size // c.in_size if transposed else c.in_size // c.out_size
        inputs = [x, self.constant(weights.kernel)]
        if folded and weights.shift is not None:
            inputs.append(self.constant(weights.shift))
        return self.add(
            "ConvTranspose" if transposed else "Conv",
            inputs,
            group=c.in_channels if c.kind == "depthwise" else 1,
            kernel_shape=[k, k],
            pads=[(k - stride) // 2 if transposed else k // 2] * 4,
            strides=[stride, stride],
        )

    def relu6(self, x: str) -> str:
        return self.add(
            "Clip", [x, self.constant(np.array(0, np.float32), "zero"), self.constant(np.array(6, np.float32), "six")]
        )

    def norm(self, x: str, shift: NDArray[np.float32]) -> str:
        """Add a batch norm of scale 1."""
        ones, zeros = np.ones_like(shift), np.zeros_like(shift)
        variance = ones - np.float32(NORM_EPSILON)
        constants = [self.constant(value) for value in (ones, shift, zeros, variance)]
        return self.add("BatchNormalization", [x, *constants], epsilon=NORM_EPSILON)

    def to_model(self, name: str, outputs: list[str], names: list[str], shapes: list[Shape]) -> onnx.ModelProto:
        final = dict(zip(outputs, names, strict=True))
        for node in self._nodes:
            for values in (node.input, node.output):
                values[:] = [final.get(value, value) for value in values]
        infos = [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
            for output, shape in zip(names, shapes, strict=True)
        ]
        graph = helper.make_graph(self._nodes, name, self._inputs, infos, list(self._weights.values()))
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], producer_name="litepose-ofa", ir_version=IR_VERSION)


def _output_shape(operator: Operator) -> Shape:
    return (1, operator.out_channels, operator.out_resolution, operator.out_resolution)


def _add_operator(graph: _Graph, operator: Operator, inputs: list[str], weights: list[ConvolutionWeights]) -> str:
    convolutions = operator.convolutions
    if operator.kind == "fusion_deconv":
        summands = [
            graph.convolution(x, convolution, w, folded=False)
            for x, convolution, w in zip(inputs, convolutions, weights, strict=True)
        ]
        shift = weights[0].shift
        assert shift is not None
        return graph.add("Relu", [graph.norm(graph.add("Add", summands), shift)])
    if operator.kind == "head":
        branches = []
        for x, first in zip(inputs, (0, 2), strict=True):
            x = graph.add("Relu", [graph.convolution(x, convolutions[first], weights[first])])
            branches.append(graph.convolution(x, convolutions[first + 1], weights[first + 1]))
        return graph.add("Add", branches)
    x = inputs[0]
    for convolution, w in zip(convolutions, weights, strict=True):
        x = graph.convolution(x, convolution, w)
        if convolution.relu:
            x = graph.relu6(x)
    return graph.add("Add", [inputs[0], x]) if operator.residual else x


def _add_network(
    graph: _Graph, network: WholeNetwork, images: str, weights: Iterator[list[ConvolutionWeights]]
) -> list[str]:
    """Wire the operators; the raw inputs of fusion deconvs and heads are the outputs of the stem and the stages."""
    ends = set(_stage_ends(network.arch))
    x, raw, heads = images, list[str](), list[str]()
    for place, (operator, w) in enumerate(zip(network.operators, weights, strict=True)):
        if operator.kind == "head":
            heads.append(_add_operator(graph, operator, [x, raw[1 - len(heads)]], w))
        elif operator.kind == "fusion_deconv":
            deconvs = place - max(ends) - 1 - len(heads)
            x = _add_operator(graph, operator, [x, raw[3 - deconvs]], w)
        else:
            x = _add_operator(graph, operator, [x], w)
            if place in ends:
                raw.append(x)
    return heads


def _stage_ends(arch: Arch) -> Iterator[int]:
    """Yield the places, in a network's operators, of the stem and of every stage's last block."""
    place = 0
    yield place
    for stage in arch.stages:
        place += len(stage.blocks)
        yield place
