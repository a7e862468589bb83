"""What a profiling kit times: chains of one operator, whole networks, and a model that does next to nothing.

Legend: every model has batch 1; shapes are (1, C, H, W).
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

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
_SHIFT_STD = 0.1


@dataclass(frozen=True, slots=True)
class ConvolutionWeights:
    """Random weights of one convolution, float32.

    Attributes:
        kernel: (out, in / groups, k, k); of a transposed convolution (in, out, k, k).
        shift: (out,), shift of the batch norm that follows, whose scale is 1; None where none follows.
    """

    kernel: NDArray[np.float32]
    shift: NDArray[np.float32] | None


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
        refined = (1, operator.in_channels, size, size)
        if operator.kind in ("fusion_deconv", "head"):
            return refined, (1, operator.mid_channels, size, size)
        return (refined,)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators in the order they run."""
        return (self.operator,) * self.copies

    def to_dict(self) -> dict[str, Any]:
        """Return its entry of the manifest."""
        return {"operator": asdict(self.operator), "copies": self.copies}


@dataclass(frozen=True)
class WholeNetwork:
    """A network from its images to both heads."""

    arch: Arch
    num_keypoints: int

    @property
    def id(self) -> str:
        """Name of the model, unique in a kit, and of its files."""
        return f"network_{self.arch.digest}_K{self.num_keypoints}"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs."""
        return ((1, 3, self.arch.image_size, self.arch.image_size),)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators in the order they run."""
        return tuple(operators_of(self.arch, self.num_keypoints))

    def to_dict(self) -> dict[str, Any]:
        """Return its entry of the manifest."""
        return {"arch": self.arch.to_dict(), "num_keypoints": self.num_keypoints}


@dataclass(frozen=True, slots=True)
class NullModel:
    """A ReLU of four numbers: what it takes is the price of calling the runtime."""

    @property
    def id(self) -> str:
        """Name of the model, unique in a kit, and of its files."""
        return "null"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs."""
        return (NULL_SHAPE,)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """No operators."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Return its entry of the manifest."""
        return {}


Subject = OperatorChain | WholeNetwork | NullModel


def subject_from_dict(value: Mapping[str, Any]) -> Subject:
    """Build a subject from what ``to_dict`` returns.

    Raises:
        InputError: If the architecture is impossible.
        KeyError, TypeError, ValueError: If something else is wrong.
    """
    if "arch" in value:
        return WholeNetwork(Arch.from_dict(value["arch"]), value["num_keypoints"])
    if "operator" in value:
        operator = Operator(**value["operator"])
        if any(type(getattr(operator, field.name)) is not int for field in fields(operator) if field.name != "kind"):
            raise TypeError("an operator's shape is integers")
        return OperatorChain(operator, value["copies"])
    return NullModel()


def draw_weights(subject: Subject) -> list[list[ConvolutionWeights]]:
    """Draw a model's weights, one list an operator in the order of its convolutions; equal subjects have equal weights.

    They are scaled by fan-in, so that activations neither explode along a chain nor fade to denormal numbers.
    """
    rng = np.random.default_rng(zlib.crc32(subject.id.encode()))
    return [[_draw(convolution, rng) for convolution in operator.convolutions] for operator in subject.operators]


def _draw(convolution: Convolution, rng: np.random.Generator) -> ConvolutionWeights:
    c_in, c_out, kernel = convolution.in_channels, convolution.out_channels, convolution.kernel
    if convolution.kind == "transposed":
        shape = (c_in, c_out, kernel, kernel)
        fan_in = c_in * kernel**2 // 4  # at stride 2 a quarter of the taps meet an input pixel
    else:
        shape = (c_out, 1 if convolution.kind == "depthwise" else c_in, kernel, kernel)
        fan_in = convolution.weights // c_out
    std = np.float32(((2 if convolution.relu else 1) / fan_in) ** 0.5)
    shift = rng.standard_normal(c_out, np.float32) * np.float32(_SHIFT_STD) if convolution.norm else None
    return ConvolutionWeights(rng.standard_normal(shape, np.float32) * std, shift)


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
