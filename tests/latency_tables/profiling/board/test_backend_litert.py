"""The kit's TFLite files: against torch, against what litert-torch makes of the same networks, and on the board."""

import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from litepose_ofa.latency_tables.profiling.exporters import find_exporter
from litepose_ofa.latency_tables.profiling.measurements import Measurements
from litepose_ofa.latency_tables.profiling.plan import chains_of
from litepose_ofa.latency_tables.profiling.subjects import NullModel, OperatorChain, Subject, WholeNetwork
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.litepose import LitePose

pytest.importorskip("ai_edge_litert", reason="the extra 'litert' is not installed")

BENCHMARK = Path(__file__).parents[4] / "benchmarks" / "folded_network.py"
fold_batch_norms = runpy.run_path(str(BENCHMARK))["fold_batch_norms"]

SPACE = SearchSpace.preset("tiny")
OPERATORS = {
    Operator("stem", 32, 3, 32, 16, kernel=3, stride=2): "PAD CONV_2D DEPTHWISE_CONV_2D CONV_2D",
    Operator("bottleneck", 16, 8, 48, 16, kernel=7, stride=2, expansion=6): "CONV_2D PAD DEPTHWISE_CONV_2D CONV_2D",
    Operator("bottleneck", 16, 8, 24, 16, kernel=5, stride=1, expansion=3): "CONV_2D DEPTHWISE_CONV_2D CONV_2D",
    Operator("bottleneck", 8, 24, 96, 24, kernel=3, stride=1, expansion=4): "CONV_2D DEPTHWISE_CONV_2D CONV_2D ADD",
    Operator("fusion_deconv", 8, 40, 24, 16, kernel=4, stride=2): "TRANSPOSE_CONV TRANSPOSE_CONV ADD",
    Operator("head", 8, 24, 16, 28, kernel=5, stride=1): ("DEPTHWISE_CONV_2D CONV_2D DEPTHWISE_CONV_2D CONV_2D ADD"),
}
"""The TFLite operators that litert-torch 0.10 makes of the torch module, batch norms folded."""

Arrays = list[NDArray[np.float32]]


def draw_inputs(subject: Subject) -> Arrays:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32) for shape in subject.input_shapes]


def run_file(path: Path, inputs: Arrays) -> Arrays:
    """Run a channels-last file on channels-first inputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    for tensor, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(tensor["index"], np.ascontiguousarray(value.transpose(0, 2, 3, 1)))
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return [interpreter.get_tensor(tensor["index"]).transpose(0, 3, 1, 2) for tensor in outputs]


def operators_in(path: Path) -> list[str]:
    """List a file's TFLite operators in the order they run."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    return [names[model.operatorCodes[operator.opcodeIndex].builtinCode] for operator in model.subgraphs[0].operators]


@pytest.fixture
def export(tmp_path: Path) -> Callable[[Subject], Path]:
    exporter = find_exporter("litert")

    def write(subject: Subject) -> Path:
        (path,) = exporter.export(subject, tmp_path / subject.id)
        return path

    return write


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: OperatorChain(operator).id)
def test_an_operator_computes_what_the_torch_block_does(
    operator: Operator, export: Callable[[Subject], Path], run_torch: Callable[..., Arrays]
) -> None:
    for subject in chains_of(operator):
        inputs = draw_inputs(subject)
        (ours,), (expected,) = run_file(export(subject), inputs), run_torch(subject, inputs)
        np.testing.assert_allclose(ours, expected, atol=1e-5 * subject.copies, rtol=1e-5)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: OperatorChain(operator).id)
def test_an_operator_is_what_the_converter_makes_of_it(operator: Operator, export: Callable[[Subject], Path]) -> None:
    assert operators_in(export(OperatorChain(operator))) == OPERATORS[operator].split()


@pytest.mark.parametrize("arch", [SPACE.smallest(), SPACE.largest()], ids=["smallest", "largest"])
def test_a_network_computes_what_torch_does(
    arch: Arch, export: Callable[[Subject], Path], run_torch: Callable[..., Arrays]
) -> None:
    subject = WholeNetwork(arch, num_keypoints=14)
    inputs = draw_inputs(subject)
    for ours, expected in zip(run_file(export(subject), inputs), run_torch(subject, inputs), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)
        assert expected.std() > 0.05


def test_the_null_model_runs(export: Callable[[Subject], Path]) -> None:
    (output,) = run_file(export(NullModel()), [np.float32([[[[-1, 2], [3, -4]]]])])
    assert output.tolist() == [[[[0, 2], [3, 0]]]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_network_is_what_the_converter_makes_of_it(
    export: Callable[[Subject], Path], tmp_path: Path, pose_network: Callable[[WholeNetwork], LitePose]
) -> None:
    litert_torch = pytest.importorskip("litert_torch", reason="litert-torch is not installed")
    subject = WholeNetwork(SPACE.largest(), num_keypoints=14)
    network = pose_network(subject)
    module = litert_torch.to_channel_last_io(fold_batch_norms(network), args=[0], outputs=[0, 1]).eval()
    size = subject.arch.image_size
    litert_torch.convert(module, (torch.zeros(1, size, size, 3),)).export(str(tmp_path / "converted.tflite"))
    assert Counter(operators_in(export(subject))) == Counter(operators_in(tmp_path / "converted.tflite"))


def test_a_kit_runs_on_the_board(run_kit: Callable[..., Measurements]) -> None:
    measurements = run_kit("litert")
    assert (measurements.facts["runtime"], measurements.facts["provider"]) == ("LiteRT", "XNNPACK")
    assert min(timing.ms for timing in measurements.networks.values()) > measurements.null.ms > 0
