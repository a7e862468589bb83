"""A network as an ONNX model: what it computes, with nothing in it but what runs; its batch norms folded."""

import random
import runpy
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from onnx import numpy_helper
from torch import Tensor, nn

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import LayerNames, operators_of, places_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.formats import TOLERANCE
from litepose_ofa.supernet.export.onnx_graph import INPUT_NAME, OPSETS, OUTPUT_NAMES, build_onnx, export_onnx
from litepose_ofa.supernet.network.litepose import InvertedBottleneck, LitePose

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "folded_network.py"
fold_batch_norms = runpy.run_path(str(BENCHMARK))["fold_batch_norms"]


@st.composite
def networks(draw: st.DrawFn) -> LitePose:
    """Draw a network, in double precision, some of whose channels have the least variance, are off, or turned round."""
    space = SearchSpace.preset(draw(st.sampled_from(["tiny", "litepose"])))
    arch = space.sample(random.Random(draw(st.integers(0, 2**32)))).with_image_size(32)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    least_variance = draw(st.sampled_from([0.0, 1e-12, 1e-6, 0.1]))
    network = LitePose(arch, draw(st.sampled_from([1, 14, 17]))).double().eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            _randomise(norm, generator, least_variance)
    return network


def _randomise(norm: nn.BatchNorm2d, generator: torch.Generator, least: float) -> None:
    def noise() -> Tensor:
        return torch.randn(norm.num_features, generator=generator, dtype=torch.float64)

    assert norm.running_mean is not None
    assert norm.running_var is not None
    dead = noise() > 1
    norm.weight.data = (1 + noise()).where(~dead, 0)
    norm.bias.data = noise()
    norm.running_mean.copy_(noise())
    norm.running_var.copy_((noise() ** 2 + 0.1).where(~(noise() > 1), least))


@settings(max_examples=10, deadline=None)
@given(networks(), st.integers(0, 2**32))
def test_every_layer_is_the_same_with_variances_near_zero(network: LitePose, seed: int) -> None:
    """Layer by layer, for 30 norms that each magnify 300 times leave no digits of the heads."""
    generator = torch.Generator().manual_seed(seed)
    folded = fold_batch_norms(network)
    operators = operators_of(network.arch, network.num_keypoints)
    for place, operator in zip(places_of(network.arch.depths), operators, strict=True):
        layers = list(place.layers)
        inputs = [
            torch.randn(1, convolution.in_channels, 6, 6, generator=generator, dtype=torch.float64)
            for convolution in operator.convolutions
        ]
        with torch.no_grad():
            ours, expected = run(folded, layers, inputs), run(network, layers, inputs)
            if operator.kind == "fusion_deconv":  # one norm, after the sum
                layers, ours, expected = layers[:1], [ours[0] + ours[1]], [expected[0] + expected[1]]
            for layer, output, before in zip(layers, ours, expected, strict=True):
                after = before
                if layer.norm is not None:  # without the activation, which a fold leaves alone
                    after = nn.BatchNorm2d.forward(network.get_submodule(layer.norm), before)
                torch.testing.assert_close(output, after, rtol=0, atol=1e-12 * float(after.abs().max()))


def run(network: LitePose, layers: list[LayerNames], inputs: list[Tensor]) -> list[Tensor]:
    return [network.get_submodule(layer.convolution)(x) for layer, x in zip(layers, inputs, strict=True)]


def run_onnx(model: onnx.ModelProto, images: Tensor) -> list[Tensor]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(head) for head in session.run(OUTPUT_NAMES, {INPUT_NAME: images.numpy()})]


def assert_equal(heads: list[Tensor], subnet: LitePose, images: Tensor) -> None:
    with torch.inference_mode():
        for ours, theirs in zip(heads, subnet(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE * float(theirs.std()))


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_computes_what_torch_does(subnet: LitePose, images: Tensor, opset: int) -> None:
    model = build_onnx(subnet, opset=opset, deconvs="separate" if opset % 2 else "merged")
    assert [(each.domain, each.version) for each in model.opset_import] == [("", opset)]
    assert_equal(run_onnx(model, images[:1]), subnet, images[:1])


def test_a_dynamic_batch_takes_any_number(subnet: LitePose, images: Tensor) -> None:
    model = build_onnx(subnet, batch="dynamic")
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    for count in (1, 3):
        assert_equal(run_onnx(model, images[:count]), subnet, images[:count])


def test_only_what_runs_is_in_it(subnet: LitePose, mixed_arch: Arch) -> None:
    blocks = [block for stage in mixed_arch.stages for block in stage.blocks]
    model = build_onnx(subnet, deconvs="merged")
    nodes, weights = model.graph.node, {tensor.name: tensor for tensor in model.graph.initializer}
    kinds = Counter(node.op_type for node in nodes)
    assert kinds == {
        "Conv": 3 + 3 * len(blocks) + 2 * 4,
        "Clip": 2 + 2 * len(blocks),
        "Add": kinds["Add"],
        "Concat": 3,
        "ConvTranspose": 3,
        "Relu": 3 + 4,
    }
    residuals = sum(isinstance(block, InvertedBottleneck) and block.residual for block in subnet.modules())
    assert kinds["Add"] == residuals + 2
    read = {name for node in nodes for name in node.input}
    made = [name for node in nodes for name in node.output]
    assert set(weights) <= read
    assert set(made) - read == set(OUTPUT_NAMES)
    assert len(made) == len(set(made))
    contents = [(tuple(tensor.dims), tensor.raw_data) for tensor in weights.values()]
    assert len(contents) == len(set(contents)), "equal constants are one"


def test_nodes_and_weights_are_called_after_the_state_dict(subnet: LitePose) -> None:
    graph = build_onnx(subnet).graph
    names = {name.removesuffix(".weight") for name, tensor in subnet.state_dict().items() if tensor.ndim == 4}
    convolutions = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose")]
    assert {node.name for node in convolutions} == names
    assert all(node.input[1] == f"{node.name}.weight" for node in convolutions)
    kernels = {tensor.name: numpy_helper.to_array(tensor).shape for tensor in graph.initializer}
    assert all(kernels[f"{name}.weight"] == tuple(subnet.get_parameter(f"{name}.weight").shape) for name in names)
    layers = [layer for place in places_of(subnet.arch.depths) for layer in place.layers]
    assert sorted(layer.convolution for layer in layers) == sorted(names)
    norms = {name for name, module in subnet.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {layer.norm for layer in layers} - {None} == norms


def test_equal_weights_give_equal_bytes_that_know_nothing_of_this_machine(subnet: LitePose, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        export_onnx(tmp_path / name, subnet)
    content = (tmp_path / "a.onnx").read_bytes()
    assert content == (tmp_path / "b.onnx").read_bytes()
    weights = sum(tensor.numel() for tensor in subnet.parameters())
    assert len(content) < 4 * weights + 40_000
    for word in (str(tmp_path), str(Path.home()), str(Path(__file__).parents[3]), "site-packages", "supernet/", ".py"):
        assert word.encode() not in content
    model = onnx.load_from_string(content)
    assert not model.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
