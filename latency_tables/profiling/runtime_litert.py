"""Exports a kit's models for LiteRT (TensorFlow Lite): the ONNX graph, written as a TFLite flatbuffer.

It has, operator for operator, what litert-torch makes of the same network with channels-last inputs and outputs, in
milliseconds a model where that takes seconds; a kit has thousands. Channels-last, (1, H, W, C), is how TFLite computes:
with torch's layout at the border the converter transposes around every residual sum and at both ends, which a lone
operator pays for and its place in a network does not.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from latency_tables.profiling.graphs import build_graph
from latency_tables.profiling.subjects import Subject
from supernet.errors import InputError

Array = NDArray[Any]

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
TRANSPOSE_CONV_VERSION = 3
"""The first that takes a bias."""


class LiteRtExporter:
    """Writes one ``.tflite`` file a model, float32, weights inside.

    Args:
        backend: File name of the backend that runs the files.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def export(self, subject: Subject, stem: Path) -> list[Path]:
        """Write the flatbuffer of a model."""
        path = stem.with_name(f"{stem.name}.tflite")
        path.write_bytes(_Translation(build_graph(subject)).to_bytes())
        return [path]


def build_exporter(runtime: str = "litert", backend: str = "backend_litert.py") -> LiteRtExporter:
    """Return the exporter.

    Raises:
        InputError: If LiteRT is not installed.
    """
    try:
        import ai_edge_litert  # noqa: F401
    except ImportError:
        raise InputError(f"runtime {runtime} needs the package ai-edge-litert; install the extra 'litert'") from None
    return LiteRtExporter(backend)


class _Translation:
    """An ONNX graph of ``build_graph`` as a TFLite model in the making; a value is known by its ONNX name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._model = schema.ModelT()
        self._model.version, self._model.description = SCHEMA_VERSION, "litepose-ofa"
        self._model.buffers, self._model.operatorCodes = [schema.BufferT()], []  # the first buffer is that of no data
        self._subgraph = schema.SubGraphT()
        self._subgraph.tensors, self._subgraph.operators = [], []
        self._model.subgraphs = [self._subgraph]
        self._codes: dict[int, int] = {}
        self._made_by: dict[str, Any] = {}
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        self._weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._shapes = {
            value.name: [1, *shape[2:], shape[1]]
            for value in (*graph.input, *graph.value_info, *graph.output)
            if len(shape := [size.dim_value for size in value.type.tensor_type.shape.dim]) == 4
        }
        self._tensors = {value.name: self._tensor(value.name, self._shapes[value.name]) for value in graph.input}
        self._subgraph.inputs = [self._tensors[value.name] for value in graph.input]
        for node in graph.node:
            _TRANSLATORS[node.op_type](self, node)
        self._subgraph.outputs = [self._tensors[value.name] for value in graph.output]

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        import flatbuffers

        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self._model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def convolve(self, node: NodeProto) -> None:
        attributes, kernel, bias = self._convolution(node)
        x, stride, pad = node.input[0], attributes["strides"][0], attributes["pads"][0]
        source = self._tensors[x]
        if stride > 1 and pad:  # TFLite's SAME would pad one side more than the other
            _, height, width, channels = self._shapes[x]
            borders = self._constant(
                f"{node.output[0]}_borders", np.array([[0, 0], [pad, pad], [pad, pad], [0, 0]], np.int32)
            )
            padded = self._tensor(f"{x}_padded", [1, height + 2 * pad, width + 2 * pad, channels])
            self._operator("PAD", [source, borders], padded)
            source = padded
        same = stride == 1 and pad > 0
        fields = {"padding": 0 if same else 1, "strideW": stride, "strideH": stride, **_NO_DILATION}
        depthwise = attributes["group"] > 1
        if depthwise:
            fields["depthMultiplier"] = 1
        kernel = kernel.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        inputs = [source, self._constant(node.input[1], kernel), self._constant(f"{node.output[0]}_bias", bias)]
        self._produce(node, "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, fields)

    def convolve_transposed(self, node: NodeProto) -> None:
        attributes, kernel, bias = self._convolution(node)
        stride = attributes["strides"][0]
        inputs = [
            self._constant(f"{node.output[0]}_shape", np.array(self._shapes[node.output[0]], np.int32)),
            self._constant(node.input[1], kernel.transpose(1, 2, 3, 0)),
            self._tensors[node.input[0]],
            self._constant(f"{node.output[0]}_bias", bias),
        ]
        fields = {"padding": 0, "strideW": stride, "strideH": stride}
        self._produce(node, "TRANSPOSE_CONV", inputs, fields, version=TRANSPOSE_CONV_VERSION)

    def add(self, node: NodeProto) -> None:
        self._produce(node, "ADD", [self._tensors[name] for name in node.input])

    def normalise(self, node: NodeProto) -> None:
        """A batch norm that follows no convolution stays three operators in the converter's hands."""
        scale, shift, mean, variance = (self._weights[name] for name in node.input[1:])
        (epsilon,) = (attribute.f for attribute in node.attribute if attribute.name == "epsilon")
        x, output = self._tensors[node.input[0]], node.output[0]
        steps = (("SUB", mean), ("MUL", scale / np.sqrt(variance + np.float32(epsilon))))
        for kind, value in steps:
            y = self._tensor(f"{output}_{kind}", self._shapes[output])
            self._operator(kind, [x, self._constant(f"{output}_{kind}_by", value.reshape(1, 1, 1, -1))], y)
            x = y
        self._produce(node, "ADD", [x, self._constant(f"{output}_shift", shift.reshape(1, 1, 1, -1))])

    def activate(self, node: NodeProto) -> None:
        """Fuse an activation into the operator before it; by itself it is one where nothing is before it."""
        before = self._made_by.pop(node.input[0], None)
        if before is None:
            self._produce(node, "RELU", [self._tensors[node.input[0]]])
            return
        activations = self._schema.ActivationFunctionType
        before.builtinOptions.fusedActivationFunction = (
            activations.RELU if node.op_type == "Relu" else activations.RELU6
        )
        self._tensors[node.output[0]] = before.outputs[0]
        self._subgraph.tensors[before.outputs[0]].name = node.output[0]

    def _convolution(self, node: NodeProto) -> tuple[dict[str, Any], Array, Array]:
        """Return a convolution's attributes, kernel and bias; the converter gives zeros to one that has none."""
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        channels = self._shapes[node.output[0]][-1]
        bias = self._weights[node.input[2]] if len(node.input) > 2 else np.zeros(channels, np.float32)
        return attributes, self._weights[node.input[1]], bias

    def _produce(
        self, node: NodeProto, kind: str, inputs: list[int], fields: dict[str, int] | None = None, version: int = 1
    ) -> None:
        """Add the operator that makes a node's output."""
        output = node.output[0]
        self._tensors[output] = self._tensor(output, self._shapes[output])
        self._made_by[output] = self._operator(kind, inputs, self._tensors[output], fields, version)

    def _operator(
        self, kind: str, inputs: list[int], output: int, fields: dict[str, int] | None = None, version: int = 1
    ) -> Any:
        schema = self._schema
        code = getattr(schema.BuiltinOperator, kind)
        if code not in self._codes:
            self._codes[code] = len(self._model.operatorCodes)
            entry = schema.OperatorCodeT()
            entry.builtinCode = entry.deprecatedBuiltinCode = code
            entry.version = version
            self._model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._codes[code], inputs, [output]
        if kind in _OPTIONS:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[kind])
            operator.builtinOptions = getattr(schema, f"{_OPTIONS[kind]}T")()
            for name, value in (fields or {}).items():
                setattr(operator.builtinOptions, name, value)
        self._subgraph.operators.append(operator)
        return operator

    def _constant(self, name: str, value: Array) -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return self._tensor(name, value.shape, buffer=len(self._model.buffers) - 1, integer=value.dtype == np.int32)

    def _tensor(self, name: str, shape: Sequence[int], *, buffer: int = 0, integer: bool = False) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = self._schema.TensorType.INT32 if integer else self._schema.TensorType.FLOAT32
        self._subgraph.tensors.append(tensor)
        return len(self._subgraph.tensors) - 1


_NO_DILATION = {"dilationWFactor": 1, "dilationHFactor": 1}

_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
}

_TRANSLATORS: dict[str, Callable[[_Translation, NodeProto], None]] = {
    "Conv": _Translation.convolve,
    "ConvTranspose": _Translation.convolve_transposed,
    "Add": _Translation.add,
    "BatchNormalization": _Translation.normalise,
    "Relu": _Translation.activate,
    "Clip": _Translation.activate,
}
