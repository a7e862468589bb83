"""TFLite files of ONNX graphs, against ONNX Runtime."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from litepose_ofa.supernet.export.tflite_translation import translate_to_tflite

pytest.importorskip("ai_edge_litert", reason="the extra 'litert' is not installed")

Arrays = dict[str, NDArray[np.float32]]

SIZE = 8


def make_model(
    nodes: list[NodeProto], weights: Arrays, *, channels: int, outputs: dict[str, list[int]]
) -> onnx.ModelProto:
    """Return a model of the input x, (1, channels, 8, 8)."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, SIZE, SIZE])
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "test", [x], infos, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run_onnx(model: onnx.ModelProto, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, {"x": x})
    return outputs


def run_tflite(content: bytes, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    interpreter.invoke()
    return [
        interpreter.get_tensor(output["index"]).transpose(0, 3, 1, 2) for output in interpreter.get_output_details()
    ]


def operators_in(content: bytes) -> Counter[str]:
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    return Counter(names[model.operatorCodes[each.opcodeIndex].builtinCode] for each in model.subgraphs[0].operators)


def draw(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def convolution(
    kernel: int = 3, stride: int = 1, c_in: int = 4, c_out: int = 4, *, depthwise: bool = False, pad: int | None = None
) -> onnx.ModelProto:
    pad = kernel // 2 if pad is None else pad
    size = (SIZE + 2 * pad - kernel) // stride + 1
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4,
        group=c_in if depthwise else 1,
    )  # fmt: skip
    weights = {"w": draw(c_out, 1 if depthwise else c_in, kernel, kernel), "b": draw(c_out)}
    return make_model([node], weights, channels=c_in, outputs={"y": [1, c_out, size, size]})


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    channels=st.integers(2, 9),
    c_out=st.integers(1, 9),
    depthwise=st.booleans(),
)
def test_convolutions_of_any_shape_compute_what_onnx_runtime_does(
    kernel: int, stride: int, channels: int, c_out: int, depthwise: bool
) -> None:
    model = convolution(kernel, stride, channels, channels if depthwise else c_out, depthwise=depthwise)
    x = draw(1, channels, SIZE, SIZE)
    (ours,), (expected,) = run_tflite(translate_to_tflite(model), x), run_onnx(model, x)
    np.testing.assert_allclose(ours, expected, atol=2e-5, rtol=1e-5)


def branched(*, also_before: bool) -> onnx.ModelProto:
    """Return y = clip(w x), or with the sum y = clip(w x) + w x."""
    weights = {"w": 3 * draw(4, 4, 1, 1), "low": np.float32(0), "high": np.float32(6)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["z"], kernel_shape=[1, 1]),
        helper.make_node("Clip", ["z", "low", "high"], ["clipped" if also_before else "y"]),
    ]
    if also_before:
        nodes.append(helper.make_node("Add", ["clipped", "z"], ["y"]))
    return make_model(nodes, {k: np.asarray(v) for k, v in weights.items()}, channels=4, outputs={"y": [1, 4, 8, 8]})


@pytest.mark.parametrize(
    ("also_before", "operators"), [(False, {"CONV_2D": 1}), (True, {"CONV_2D": 1, "RELU6": 1, "ADD": 1})]
)
def test_an_activation_is_fused_unless_what_it_activates_is_read_again(
    also_before: bool, operators: dict[str, int]
) -> None:
    model = branched(also_before=also_before)
    content, x = translate_to_tflite(model), draw(1, 4, SIZE, SIZE)
    (ours,), (expected,) = run_tflite(content, x), run_onnx(model, x)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert operators_in(content) == operators
    assert expected.min() < -1 or not also_before


def test_float16_computes_with_the_weights_rounded_to_it() -> None:
    model = convolution(5, 2)
    rounded = convolution(5, 2)
    for tensor in rounded.graph.initializer:
        value = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    x = draw(1, 4, SIZE, SIZE)
    half = translate_to_tflite(model, float16=True)
    (ours,), (expected,) = run_tflite(half, x), run_tflite(translate_to_tflite(rounded), x)
    np.testing.assert_array_equal(ours, expected)
    assert not np.array_equal(ours, run_tflite(translate_to_tflite(model), x)[0])
    assert operators_in(half) == {"DEQUANTIZE": 2, "PAD": 1, "CONV_2D": 1}
