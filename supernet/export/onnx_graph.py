"""A LitePose as ONNX nodes, batch norms folded: what every export of a network runs, and a profiling kit's models.

Written with the ONNX helpers, in milliseconds a network: torch's exporter takes seconds, and leaves the paths of the
machine's files in the nodes.

In eval mode a batch norm is a scale and a shift a channel. The scale goes into the kernel before it, the shift becomes
its bias. A fusion deconv's norm follows the sum of two transposed convolutions: the scale goes into both kernels, the
shift into the first one's bias. The arithmetic is float64, whatever the network's.

Legend: K keypoints, R input size in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Convolution, LayerNames, Operator, operators_of, places_of
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.network.litepose import LitePose

OPSET = 17
"""The operators of a network are the same in all of ``OPSETS``: a newer one would only shut out older runtimes."""

OPSETS = range(13, 23)
"""Opsets that a graph can be written for."""

INPUT_NAME = "images"
OUTPUT_NAMES = ("head0", "head1")

Batch = Literal["one", "dynamic"]
"""Whether a file takes one image a run, or any number."""

Deconvs = Literal["separate", "merged"]
"""How a fusion deconv runs: two transposed convolutions and their sum, or one of both inputs, concatenated.

The second is the faster one where a transposed convolution is a matrix product whose columns are then added up into its
output, as in ONNX Runtime: they are added up once, not twice (``benchmarks/export_latency.py``).
"""

Shape = tuple[int | str, ...]
"""Sides of a value; a text names one that is only known when the network runs."""


class Output(NamedTuple):
    """A float32 output of a graph."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class FoldedConvolution:
    """Weights of one convolution without a batch norm, float32.

    Attributes:
        name: What nodes and weights of a file are called after; of a LitePose, the convolution's in the state dict.
        kernel: (out, in / groups, k, k); of a transposed convolution (in, out, k, k).
        bias: (out,), or None.
    """

    name: str
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32] | None


def fold_weights(subnet: LitePose) -> list[list[FoldedConvolution]]:
    """Return the weights of a network as it runs in eval mode, by operator and in the order of its convolutions."""
    operators = operators_of(subnet.arch, subnet.num_keypoints)
    folded = []
    for place, operator in zip(places_of(subnet.arch.depths), operators, strict=True):
        layers = []
        for names, convolution in zip(place.layers, operator.convolutions, strict=True):
            kernel, bias = fold_layer(subnet, names, convolution)
            values = kernel.float().cpu().numpy(), None if bias is None else bias.float().cpu().numpy()
            layers.append(FoldedConvolution(names.convolution, *values))
        folded.append(layers)
    return folded


def fold_layer(subnet: LitePose, names: LayerNames, convolution: Convolution) -> tuple[Tensor, Tensor | None]:
    """Return the kernel and the bias, in float64, of a convolution whose batch norm is folded into it."""
    kernel = subnet.get_parameter(f"{names.convolution}.weight").detach().double()
    if names.norm is None:
        return kernel, None
    norm = subnet.get_submodule(names.norm)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.detach().double() - norm.running_mean.double() * scale
    shape = (1, -1, 1, 1) if convolution.kind == "transposed" else (-1, 1, 1, 1)
    return kernel * scale.reshape(shape), shift if convolution.norm else None


class OnnxGraph:
    """Nodes and weights in the making; a value is known by its name, and a node by that of its first output."""

    def __init__(self, deconvs: Deconvs = "separate") -> None:
        self.deconvs = deconvs
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []

    def add_input(self, name: str, shape: Shape) -> str:
        """Add a float32 input and return its name."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of one output and return the output's name."""
        return self.add_many(kind, inputs, [output], **attributes)[0]

    def add_many(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> list[str]:
        """Add a node and return the names of its outputs."""
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return list(outputs)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant and return its name; one of a name that is there already is the same."""
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(value, name)
        return name

    def convolution(self, x: str, convolution: Convolution, weights: FoldedConvolution) -> str:
        """Add a convolution of any kind."""
        c = convolution
        inputs = [x, self.constant(f"{weights.name}.weight", weights.kernel)]
        if weights.bias is not None:
            inputs.append(self.constant(f"{weights.name}.bias", weights.bias))
        return self.add(
            "ConvTranspose" if c.kind == "transposed" else "Conv",
            inputs,
            weights.name,
            group=c.in_channels if c.kind == "depthwise" else 1,
            kernel_shape=[c.kernel, c.kernel],
            pads=[c.padding] * 4,
            strides=[c.stride, c.stride],
        )

    def relu(self, x: str) -> str:
        """Add a ReLU."""
        return self.add("Relu", [x], f"{x}.relu")

    def relu6(self, x: str) -> str:
        """Add a ReLU that saturates at 6."""
        bounds = [self.constant(name, np.array(value, np.float32)) for name, value in (("zero", 0), ("six", 6))]
        return self.add("Clip", [x, *bounds], f"{x}.relu6")

    def sum(self, x: str, y: str) -> str:
        """Add two values up; the sum is named after the second."""
        return self.add("Add", [x, y], f"{y}.sum")

    def rename(self, value: str, name: str) -> str:
        """Give a value, and the node that makes it, another name; return it."""
        for node in self._nodes:
            for values in (node.input, node.output):
                values[:] = [name if each == value else each for each in values]
            node.name = node.output[0]
        return name

    def to_model(self, name: str, outputs: Sequence[Output], *, opset: int = OPSET) -> onnx.ModelProto:
        """Return the graph as a model of the oldest file format that has the opset."""
        infos = [helper.make_tensor_value_info(output.name, TensorProto.FLOAT, output.shape) for output in outputs]
        graph = helper.make_graph(self._nodes, name, self._inputs, infos, list(self._weights.values()))
        imports = [helper.make_opsetid("", opset)]
        version = helper.find_min_ir_version_for(imports)
        return helper.make_model(graph, opset_imports=imports, producer_name="litepose-ofa", ir_version=version)


def add_operator(
    graph: OnnxGraph, operator: Operator, inputs: Sequence[str], weights: Sequence[FoldedConvolution]
) -> str:
    """Add an operator; a fusion deconv and a head take two inputs, refined then raw."""
    convolutions = operator.convolutions
    if operator.kind == "fusion_deconv":
        return graph.relu(_add_deconvs(graph, convolutions, inputs, weights))
    if operator.kind == "head":
        branches = []
        for x, first in zip(inputs, (0, 2), strict=True):
            hidden = graph.relu(graph.convolution(x, convolutions[first], weights[first]))
            branches.append(graph.convolution(hidden, convolutions[first + 1], weights[first + 1]))
        return graph.sum(branches[1], branches[0])
    (x,) = inputs
    for convolution, w in zip(convolutions, weights, strict=True):
        x = graph.convolution(x, convolution, w)
        if convolution.relu:
            x = graph.relu6(x)
    return graph.sum(inputs[0], x) if operator.residual else x


def _add_deconvs(
    graph: OnnxGraph, convolutions: Sequence[Convolution], inputs: Sequence[str], weights: Sequence[FoldedConvolution]
) -> str:
    if graph.deconvs == "separate":
        refined, raw = map(graph.convolution, inputs, convolutions, weights)
        return graph.sum(raw, refined)
    name = weights[0].name
    both = replace(convolutions[0], in_channels=sum(convolution.in_channels for convolution in convolutions))
    kernel = np.concatenate([w.kernel for w in weights])
    x = graph.add("Concat", inputs, f"{name}.inputs", axis=1)
    return graph.convolution(x, both, FoldedConvolution(name, kernel, weights[0].bias))


def add_network(
    graph: OnnxGraph, arch: Arch, num_keypoints: int, images: str, weights: Sequence[Sequence[FoldedConvolution]]
) -> tuple[str, str]:
    """Add a network's operators, wired up, and return its heads."""
    places, maps = places_of(arch.depths), list[str]()
    for place, operator, w in zip(places, operators_of(arch, num_keypoints), weights, strict=True):
        maps.append(add_operator(graph, operator, [maps[i] for i in place.inputs] or [images], w))
    head0, head1 = (value for place, value in zip(places, maps, strict=True) if place.kind == "head")
    return head0, head1


def build_onnx(
    subnet: LitePose, *, batch: Batch = "one", opset: int = OPSET, deconvs: Deconvs = "separate"
) -> onnx.ModelProto:
    """Return a network in eval mode as an ONNX model, weights inside.

    Nodes are called after the state-dict names of their convolutions. Equal weights give equal bytes.

    The input is ``images`` (1 or any number, 3, R, R), the outputs are ``head0`` (1, 2K, R / 4, R / 4) and ``head1``
    (1, K, R / 2, R / 2). The opset is one of ``OPSETS``; ``deconvs`` changes no more than the rounding.

    Example:
        >>> from litepose_ofa.supernet.archs.space import SearchSpace
        >>> model = build_onnx(LitePose(SearchSpace.preset("tiny").smallest()))
        >>> sorted({node.op_type for node in model.graph.node})
        ['Add', 'Clip', 'Conv', 'ConvTranspose', 'Relu']
    """
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
