"""An ONNX graph of convolutions as a TFLite flatbuffer, channels last.

It has, operator for operator, what litert-torch makes of the same network with channels-last inputs and outputs, in
milliseconds a model where that takes seconds. Channels-last, (1, H, W, C), is how TFLite computes: with torch's layout
at the border the converter transposes around every residual sum and at both ends.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from litepose_ofa.supernet.errors import InputError

Array = NDArray[Any]

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
VERSIONS = {"TRANSPOSE_CONV": 3, "DEQUANTIZE": 3}
"""Of operators, the first that take a bias, and float16; 1 of all others."""


def translate_to_tflite(model: onnx.ModelProto, *, float16: bool = False) -> bytes:
    """Return the TFLite file that computes what an ONNX model does, with inputs and outputs (1, H, W, C).

    Args:
        model: Of batch 1 and fixed shapes, weights inside: square Conv and ConvTranspose with symmetric padding, Add,
            Relu, and Clip between 0 and 6. Values keep their names, inputs and outputs their order.
        float16: Whether weights are stored in half precision, in TFLite's post-training form: a DEQUANTIZE operator
            after every weight, so that a runtime without such arithmetic computes in float32 and others (GPUs) drop it.

    Raises:
        InputError: If a weight is beyond float16.
    """
    return _Translation(model, float16).to_bytes()


class _Translation:
    """A TFLite model in the making; a value is known by its ONNX name."""

    def __init__(self, model: onnx.ModelProto, half: bool) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._half = half
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
        self._readers = Counter(name for node in graph.node for name in node.input)
        self._readers.update(value.name for value in graph.output)
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
            borders = np.array([[0, 0], [pad, pad], [pad, pad], [0, 0]], np.int32)
            padded = self._tensor(f"{x}_padded", [1, height + 2 * pad, width + 2 * pad, channels])
            self._operator("PAD", [source, self._constant(f"{node.output[0]}_borders", borders)], padded)
            source = padded
        same = stride == 1 and pad > 0
        assert not same or 2 * pad + 1 == kernel.shape[2], "TFLite needs padding that keeps the size"
        fields = {"padding": 0 if same else 1, "strideW": stride, "strideH": stride}
        fields |= {"dilationWFactor": 1, "dilationHFactor": 1}
        groups = attributes.get("group", 1)
        if groups > 1:
            assert kernel.shape[:2] == (groups, 1), "TFLite needs one group, or as many as channels"
            fields["depthMultiplier"] = 1
        kernel = kernel.transpose((1, 2, 3, 0) if groups > 1 else (0, 2, 3, 1))
        inputs = [source, self._constant(node.input[1], kernel), self._constant(f"{node.output[0]}_bias", bias)]
        self._produce(node, "DEPTHWISE_CONV_2D" if groups > 1 else "CONV_2D", inputs, **fields)

    def convolve_transposed(self, node: NodeProto) -> None:
        attributes, kernel, bias = self._convolution(node)
        stride = attributes["strides"][0]
        expected = [stride * size for size in self._shapes[node.input[0]][1:3]]
        assert self._shapes[node.output[0]][1:3] == expected, "TFLite needs an output of stride times the input's size"
        inputs = [
            self._constant(f"{node.output[0]}_shape", np.array(self._shapes[node.output[0]], np.int32)),
            self._constant(node.input[1], kernel.transpose(1, 2, 3, 0)),
            self._tensors[node.input[0]],
            self._constant(f"{node.output[0]}_bias", bias),
        ]
        self._produce(node, "TRANSPOSE_CONV", inputs, padding=0, strideW=stride, strideH=stride)

    def add(self, node: NodeProto) -> None:
        self._produce(node, "ADD", [self._tensors[name] for name in node.input])

    def activate(self, node: NodeProto) -> None:
        """Fuse an activation into the operator before it; it is one of its own where another reads that one too."""
        kind = "RELU"
        if node.op_type == "Clip":
            assert [float(self._weights[name]) for name in node.input[1:]] == [0, 6]
            kind = "RELU6"
        before = self._made_by.pop(node.input[0], None)
        if before is None or self._readers[node.input[0]] > 1:
            self._produce(node, kind, [self._tensors[node.input[0]]])
            return
        before.builtinOptions.fusedActivationFunction = getattr(self._schema.ActivationFunctionType, kind)
        self._tensors[node.output[0]] = before.outputs[0]
        self._subgraph.tensors[before.outputs[0]].name = node.output[0]

    def _convolution(self, node: NodeProto) -> tuple[dict[str, Any], Array, Array]:
        """Return a convolution's attributes, kernel and bias; the converter gives zeros to one that has none."""
        attributes = {"strides": [1, 1], "pads": [0] * 4}
        attributes |= {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        channels = self._shapes[node.output[0]][-1]
        bias = self._weights[node.input[2]] if len(node.input) > 2 else np.zeros(channels, np.float32)
        return attributes, self._weights[node.input[1]], bias

    def _produce(self, node: NodeProto, kind: str, inputs: list[int], **fields: int) -> None:
        """Add the operator that makes a node's output."""
        output = node.output[0]
        self._tensors[output] = self._tensor(output, self._shapes[output])
        operator = self._operator(kind, inputs, self._tensors[output], **fields)
        if kind in _OPTIONS:
            self._made_by[output] = operator

    def _operator(self, kind: str, inputs: list[int], output: int, **fields: int) -> Any:
        schema = self._schema
        code = getattr(schema.BuiltinOperator, kind)
        if code not in self._codes:
            self._codes[code] = len(self._model.operatorCodes)
            entry = schema.OperatorCodeT()
            entry.builtinCode = entry.deprecatedBuiltinCode = code
            entry.version = VERSIONS.get(kind, 1)
            self._model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._codes[code], inputs, [output]
        if kind in _OPTIONS:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[kind])
            operator.builtinOptions = getattr(schema, f"{_OPTIONS[kind]}T")()
            for name, value in fields.items():
                setattr(operator.builtinOptions, name, value)
        self._subgraph.operators.append(operator)
        return operator

    def _constant(self, name: str, value: Array) -> int:
        if value.dtype == np.int32 or not self._half:
            return self._stored(name, value)
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.isfinite(half).all():
            raise InputError(f"{name} has the weight {np.abs(value).max():.3g}; float16 ends at 65504; use litert")
        tensor = self._tensor(name, value.shape)
        self._operator("DEQUANTIZE", [self._stored(f"{name}_float16", half)], tensor)
        return tensor

    def _stored(self, name: str, value: Array) -> int:
        """Return the tensor of a value that the file holds."""
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return self._tensor(name, value.shape, buffer=len(self._model.buffers) - 1, kind=str(value.dtype))

    def _tensor(self, name: str, shape: Sequence[int], *, buffer: int = 0, kind: str = "float32") -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = getattr(self._schema.TensorType, kind.upper())
        self._subgraph.tensors.append(tensor)
        return len(self._subgraph.tensors) - 1


_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "ADD": "AddOptions",
    "PAD": "PadOptions",
}

_TRANSLATORS: dict[str, Callable[[_Translation, NodeProto], None]] = {
    "Conv": _Translation.convolve,
    "ConvTranspose": _Translation.convolve_transposed,
    "Add": _Translation.add,
    "Relu": _Translation.activate,
    "Clip": _Translation.activate,
}
