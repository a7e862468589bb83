"""The ONNX file: what the network computes, with nothing in it but what runs."""

import itertools
import random
from collections import Counter
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.formats import TOLERANCE, Parity, measure_parity
from litepose_ofa.supernet.export.onnx_graph import OPSETS
from litepose_ofa.supernet.export.onnx_model import INPUT_NAME, OUTPUT_NAMES, OnnxFormat, build_onnx, export_onnx
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.litepose import InvertedBottleneck, LitePose

IMAGES_COMPARED = 5


def run(model: onnx.ModelProto, images: Tensor) -> list[Tensor]:
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
    assert_equal(run(model, images[:1]), subnet, images[:1])


@pytest.mark.parametrize("count", [1, 3])
def test_a_dynamic_batch_takes_any_number(subnet: LitePose, images: Tensor, count: int) -> None:
    model = build_onnx(subnet, batch="dynamic")
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert_equal(run(model, images[:count]), subnet, images[:count])


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


def short_arch(seed: int) -> Arch:
    """Return a random architecture of the space ``litepose``, of least depths, with kernels 3 and 5."""
    rng = random.Random(seed)
    published = SearchSpace.preset("litepose").to_dict()
    for stage in published["stages"]:
        stage["kernels"], stage["depths"] = [3, 5], stage["depths"][:1]
    return SearchSpace.from_dict(published).sample(rng)


def parity(arch: Arch, folder: Path, seed: int) -> Parity:
    """Compare on five images of the architecture's size; weights of a start, norms of statistics of their own."""
    torch.manual_seed(seed)
    network = LitePose(arch).eval()
    images = torch.randn(IMAGES_COMPARED, 3, arch.image_size, arch.image_size)
    with torch.no_grad():
        for j, side in itertools.product(range(2), ("refined", "raw")):
            network.get_parameter(f"final_{side}.{j}.conv.3.weight").mul_(200)  # they start near zero
    recalibrate_batch_norm(network, [images])
    fmt = OnnxFormat()
    fmt.write(folder, network)
    found = measure_parity(fmt, folder, network, images.numpy())
    assert 0.5 < found.max_abs_output < 50, "outputs near zero would agree with anything"
    return found


def test_small_networks_agree_on_five_images(tmp_path: Path) -> None:
    xs = published_archs()["search-XS"].with_image_size(64)
    for seed, arch in enumerate([xs, *(short_arch(seed).with_image_size(64) for seed in range(5))]):
        assert parity(arch, tmp_path, seed).images == IMAGES_COMPARED


@pytest.mark.slow
@pytest.mark.parametrize("which", ["search-XS", *range(5)])
def test_networks_of_full_size_agree_on_five_images(which: str | int, tmp_path: Path) -> None:
    arch = published_archs()[which] if isinstance(which, str) else short_arch(which)
    print(arch.image_size, parity(arch, tmp_path, seed=0))
