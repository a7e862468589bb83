"""The kit's ONNX graphs against the export of a whole network."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from litepose_ofa.latency_tables.profiling.plan import chains_of
from litepose_ofa.latency_tables.profiling.subjects import WholeNetwork, build_graph
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.onnx_graph import export_onnx
from litepose_ofa.supernet.network.litepose import LitePose

SPACE = SearchSpace.preset("tiny")


def test_a_chain_of_copies_has_weights_of_its_own_in_every_copy() -> None:
    chain = chains_of(Operator("bottleneck", 16, 24, 144, 24, kernel=7, stride=1, expansion=6))[-1]
    kernels = [tensor for tensor in build_graph(chain).graph.initializer if list(tensor.dims) == [144, 24, 1, 1]]
    assert len({tensor.raw_data for tensor in kernels}) == chain.copies >= 4


@pytest.mark.parametrize("arch", [SPACE.largest(), SPACE.sample(random.Random(5))], ids=["largest", "random"])
def test_a_network_is_the_one_that_is_exported(
    arch: Arch, tmp_path: Path, pose_network: Callable[[WholeNetwork], LitePose]
) -> None:
    """Equal outputs, and equal nodes after ONNX Runtime's fusions, but before layouts of one processor."""
    subject = WholeNetwork(arch, num_keypoints=14)
    onnx.save(build_graph(subject, deconvs="merged"), tmp_path / "built.onnx")
    export_onnx(tmp_path / "exported.onnx", pose_network(subject))
    images = np.random.default_rng(0).standard_normal(subject.input_shapes[0], np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    nodes, outputs = [], []
    for name in ("built", "exported"):
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {session.get_inputs()[0].name: images}))
        nodes.append(Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node))
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert nodes[0] == nodes[1]
