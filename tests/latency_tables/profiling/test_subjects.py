"""The kit's ONNX graphs: against the torch blocks, and against the export of a whole network."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from litepose_ofa.latency_tables.profiling.plan import chains_of
from litepose_ofa.latency_tables.profiling.subjects import NullModel, OperatorChain, Subject, WholeNetwork, build_graph
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.onnx_graph import Deconvs, export_onnx
from litepose_ofa.supernet.network.litepose import LitePose

SPACE = SearchSpace.preset("tiny")
OPERATORS = [
    Operator("stem", 64, 3, 32, 16, kernel=3, stride=2),
    Operator("bottleneck", 32, 8, 48, 16, kernel=7, stride=2, expansion=6),
    Operator("bottleneck", 16, 8, 24, 16, kernel=5, stride=1, expansion=3),
    Operator("bottleneck", 16, 24, 144, 24, kernel=7, stride=1, expansion=6),
    Operator("fusion_deconv", 8, 40, 24, 16, kernel=4, stride=2),
    Operator("head", 16, 24, 16, 28, kernel=5, stride=1),
]

Arrays = list[NDArray[np.float32]]


def draw_inputs(subject: Subject) -> Arrays:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32) for shape in subject.input_shapes]


def run_graph(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    onnx.checker.check_model(model, full_check=True)  # infers the outputs' shapes too
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    outputs: Arrays = session.run(None, dict(zip(names, inputs, strict=True)))
    return outputs


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: OperatorChain(operator).id)
def test_an_operator_computes_what_the_torch_block_does(operator: Operator, run_torch: Callable[..., Arrays]) -> None:
    for subject in chains_of(operator):
        inputs = draw_inputs(subject)
        (expected,) = run_torch(subject, inputs)
        for deconvs in get_args(Deconvs):
            (ours,) = run_graph(build_graph(subject, deconvs), inputs)
            assert ours.shape == expected.shape == (1, operator.out_channels, *[operator.out_resolution] * 2)
            np.testing.assert_allclose(ours, expected, atol=1e-5 * subject.copies, rtol=1e-5)
        assert 0.05 < ours.std() < 20


def test_a_chain_of_copies_has_weights_of_its_own_in_every_copy() -> None:
    chain = chains_of(OPERATORS[3])[-1]
    kernels = [tensor for tensor in build_graph(chain).graph.initializer if list(tensor.dims) == [144, 24, 1, 1]]
    assert len({tensor.raw_data for tensor in kernels}) == chain.copies >= 4


def optimised_nodes(path: Path, folder: Path) -> Counter[str]:
    """Count the nodes that ONNX Runtime runs, after fusions but before layouts of one processor."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("arch", [SPACE.largest(), SPACE.sample(random.Random(5))], ids=["largest", "random"])
def test_a_network_is_the_one_that_is_exported(
    arch: Arch, tmp_path: Path, pose_network: Callable[[WholeNetwork], LitePose]
) -> None:
    subject = WholeNetwork(arch, num_keypoints=14)
    network = pose_network(subject)
    onnx.save(build_graph(subject, deconvs="merged"), tmp_path / "built.onnx")
    export_onnx(tmp_path / "exported.onnx", network)
    inputs = draw_inputs(subject)
    built = run_graph(onnx.load(tmp_path / "built.onnx"), inputs)
    exported = run_graph(onnx.load(tmp_path / "exported.onnx"), inputs)
    for ours, theirs in zip(built, exported, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert optimised_nodes(tmp_path / "built.onnx", tmp_path) == optimised_nodes(tmp_path / "exported.onnx", tmp_path)


@pytest.mark.parametrize("space", ["tiny", "litepose_released"])
def test_networks_of_several_spaces_compute_what_torch_does(space: str, run_torch: Callable[..., Arrays]) -> None:
    arch = SearchSpace.preset(space).smallest().with_image_size(64)
    subject = WholeNetwork(arch, num_keypoints=17)
    inputs = draw_inputs(subject)
    for ours, theirs in zip(run_graph(build_graph(subject), inputs), run_torch(subject, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        assert 0.05 < ours.std() < 100


def test_a_network_is_the_sum_of_the_operators_of_its_table_rows() -> None:
    subject = WholeNetwork(SPACE.largest(), num_keypoints=14)
    whole = Counter(node.op_type for node in build_graph(subject).graph.node)
    parts = Counter[str]()
    for operator in operators_of(SPACE.largest(), 14):
        parts += Counter(node.op_type for node in build_graph(OperatorChain(operator)).graph.node)
    assert whole == parts


def test_the_null_model_runs() -> None:
    (output,) = run_graph(build_graph(NullModel()), [np.float32([[[[-1, 2], [3, -4]]]])])
    assert output.tolist() == [[[[0, 2], [3, 0]]]]
