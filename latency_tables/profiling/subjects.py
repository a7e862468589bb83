"""What a profiling kit times: chains of one operator, whole networks, and a model that does next to nothing.

Legend: every model has batch 1; shapes are (1, C, H, W).
"""

import zlib
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any, ClassVar

import numpy as np
import onnx

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Convolution, Operator, operators_of
from litepose_ofa.supernet.export.onnx_graph import (
    INPUT_NAME,
    OUTPUT_NAMES,
    Deconvs,
    FoldedConvolution,
    OnnxGraph,
    Output,
    add_network,
    add_operator,
)

Shape = tuple[int, int, int, int]

NULL_SHAPE: Shape = (1, 1, 2, 2)


@dataclass(frozen=True, slots=True)
class OperatorChain:
    """Copies of one operator, one after another; more than one only where input and output shapes agree.

    A fusion deconv and a head take two inputs, refined then raw; the others take one.
    """

    operator: Operator
    copies: int = 1

    @property
    def id(self) -> str:
        """Name of the model, unique in a kit, and of its files."""
        kind, resolution, c_in, c_mid, c_out, kernel, stride, expansion = astuple(self.operator)
        shape = f"r{resolution}_i{c_in}_m{c_mid}_o{c_out}_k{kernel}_s{stride}_e{expansion}"
        return f"{kind}_{shape}_x{self.copies}"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs."""
        operator, size = self.operator, self.operator.resolution
        two = operator.kind in ("fusion_deconv", "head")
        channels = (operator.in_channels, operator.mid_channels) if two else (operator.in_channels,)
        return tuple((1, each, size, size) for each in channels)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators in the order they run."""
        return (self.operator,) * self.copies


@dataclass(frozen=True)
class WholeNetwork:
    """A network from its images to both heads."""

    arch: Arch
    num_keypoints: int

    @property
    def id(self) -> str:
        """Name of the model and of its files."""
        return f"network_{self.arch.digest}_K{self.num_keypoints}"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs."""
        return ((1, 3, self.arch.image_size, self.arch.image_size),)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators in the order they run."""
        return tuple(operators_of(self.arch, self.num_keypoints))


@dataclass(frozen=True)
class NullModel:
    """A ReLU of four numbers: what it takes is the price of calling the runtime."""

    id: ClassVar[str] = "null"
    input_shapes: ClassVar[tuple[Shape, ...]] = (NULL_SHAPE,)
    operators: ClassVar[tuple[Operator, ...]] = ()


Subject = OperatorChain | WholeNetwork | NullModel


def subject_to_dict(subject: Subject) -> dict[str, Any]:
    """Return what tells a subject from others, as plain values."""
    if isinstance(subject, OperatorChain):
        return {"operator": asdict(subject.operator), "copies": subject.copies}
    if isinstance(subject, WholeNetwork):
        return {"arch": subject.arch.to_dict(), "num_keypoints": subject.num_keypoints}
    return {}


def subject_from_dict(value: Mapping[str, Any]) -> Subject:
    """Build a subject from what ``subject_to_dict`` returns; other keys are ignored."""
    if "arch" in value:
        return WholeNetwork(Arch.from_dict(value["arch"]), value["num_keypoints"])
    if "operator" in value:
        return OperatorChain(Operator(**value["operator"]), value["copies"])
    return NullModel()


def draw_weights(subject: Subject) -> list[list[FoldedConvolution]]:
    """Draw a model's weights, one list an operator in the order of its convolutions; equal subjects have equal weights.

    They are scaled by fan-in, so that activations neither explode along a chain nor fade to denormal numbers. The scale
    of every batch norm is 1, so that its shift is the convolution's bias.
    """
    rng = np.random.default_rng(zlib.crc32(subject.id.encode()))
    return [
        [_draw(f"operator{i}.{j}", convolution, rng) for j, convolution in enumerate(operator.convolutions)]
        for i, operator in enumerate(subject.operators)
    ]


def _draw(name: str, convolution: Convolution, rng: np.random.Generator) -> FoldedConvolution:
    c_in, c_out, kernel = convolution.in_channels, convolution.out_channels, convolution.kernel
    if convolution.kind == "transposed":
        shape = (c_in, c_out, kernel, kernel)
        fan_in = c_in * kernel**2 // 4  # at stride 2 a quarter of the taps meet an input pixel
    else:
        shape = (c_out, 1 if convolution.kind == "depthwise" else c_in, kernel, kernel)
        fan_in = convolution.weights // c_out
    std = np.float32(((2 if convolution.relu else 1) / fan_in) ** 0.5)
    shift = rng.standard_normal(c_out, np.float32) * np.float32(0.1) if convolution.norm else None
    return FoldedConvolution(name, rng.standard_normal(shape, np.float32) * std, shift)


def build_graph(subject: Subject, deconvs: Deconvs = "separate") -> onnx.ModelProto:
    """Return the ONNX model of a subject, with the weights of ``draw_weights``.

    Inputs are ``images`` of a network, else ``input0`` and, where there are two, ``input1``; outputs are ``head0`` and
    ``head1`` of a network, else ``output0``. Fusion deconvs run as in the exports for the runtime.
    """
    graph, weights = OnnxGraph(deconvs), draw_weights(subject)
    if isinstance(subject, WholeNetwork):
        images = graph.add_input(INPUT_NAME, subject.input_shapes[0])
        heads = add_network(graph, subject.arch, subject.num_keypoints, images, weights)
        shapes = [_output_shape(operator) for operator in subject.operators if operator.kind == "head"]
        return graph.to_model(subject.id, list(map(Output, map(graph.rename, heads, OUTPUT_NAMES), shapes)))
    values = [graph.add_input(f"input{i}", shape) for i, shape in enumerate(subject.input_shapes)]
    shape = NULL_SHAPE
    if isinstance(subject, NullModel):
        values = [graph.relu(values[0])]
    for operator, operator_weights in zip(subject.operators, weights, strict=True):
        values, shape = [add_operator(graph, operator, values, operator_weights)], _output_shape(operator)
    return graph.to_model(subject.id, [Output(graph.rename(values[0], "output0"), shape)])


def _output_shape(operator: Operator) -> Shape:
    return (1, operator.out_channels, operator.out_resolution, operator.out_resolution)
