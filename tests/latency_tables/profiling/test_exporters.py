"""What each runtime is given to time: it computes what the torch blocks do, and is what the usual converter makes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from litepose_ofa.latency_tables.profiling.exporters import EXPORTERS, find_exporter
from litepose_ofa.latency_tables.profiling.kit import BOARD_DIR
from litepose_ofa.latency_tables.profiling.measurements import Measurements
from litepose_ofa.latency_tables.profiling.plan import chains_of
from litepose_ofa.latency_tables.profiling.subjects import NullModel, OperatorChain, Subject, WholeNetwork, build_graph
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

Arrays = list[NDArray[np.float32]]
Export = Callable[[str, Subject], list[Path]]

SEPARATE = "ONNX with deconvs apart"
TINY = SearchSpace.preset("tiny")
OPERATORS = {
    Operator("stem", 32, 3, 32, 16, kernel=3, stride=2): "PAD CONV_2D DEPTHWISE_CONV_2D CONV_2D",
    Operator("bottleneck", 16, 8, 48, 16, kernel=7, stride=2, expansion=6): "CONV_2D PAD DEPTHWISE_CONV_2D CONV_2D",
    Operator("bottleneck", 16, 8, 24, 16, kernel=5, stride=1, expansion=3): "CONV_2D DEPTHWISE_CONV_2D CONV_2D",
    Operator("bottleneck", 8, 24, 96, 24, kernel=3, stride=1, expansion=4): "CONV_2D DEPTHWISE_CONV_2D CONV_2D ADD",
    Operator("fusion_deconv", 8, 40, 24, 16, kernel=4, stride=2): "TRANSPOSE_CONV TRANSPOSE_CONV ADD",
    Operator("head", 8, 24, 16, 28, kernel=5, stride=1): "DEPTHWISE_CONV_2D CONV_2D DEPTHWISE_CONV_2D CONV_2D ADD",
}
"""The TFLite operators that litert-torch 0.10 makes of the torch module, batch norms folded."""

NETWORKS = [
    WholeNetwork(TINY.smallest(), 14),
    WholeNetwork(TINY.largest(), 14),
    WholeNetwork(SearchSpace.preset("litepose_released").smallest().with_image_size(64), 17),
]
SUBJECTS: list[Subject] = [*(chain for operator in OPERATORS for chain in chains_of(operator)), *NETWORKS, NullModel()]


def run_onnx(paths: list[Path], inputs: Arrays) -> Arrays:
    onnx.checker.check_model(onnx.load(paths[0]), full_check=True)  # infers the outputs' shapes too
    session = onnxruntime.InferenceSession(paths[0], providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    outputs: Arrays = session.run(None, dict(zip(names, inputs, strict=True)))
    return outputs


def run_tflite(paths: list[Path], inputs: Arrays) -> Arrays:
    """Run a channels-last file on channels-first inputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(paths[0]), num_threads=1)
    interpreter.allocate_tensors()
    for tensor, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(tensor["index"], np.ascontiguousarray(value.transpose(0, 2, 3, 1)))
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return [interpreter.get_tensor(tensor["index"]).transpose(0, 3, 1, 2) for tensor in outputs]


def run_ncnn(paths: list[Path], inputs: Arrays) -> Arrays:
    import ncnn

    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(str(paths[0]))
    net.load_model(str(paths[1]))
    extractor = net.create_extractor()
    for i, value in enumerate(inputs):
        extractor.input(f"in{i}", ncnn.Mat(value[0]).clone())
    return [np.array(extractor.extract(name)[1])[None] for name in net.output_names()]


RUN = {"onnxruntime": run_onnx, SEPARATE: run_onnx, "litert": run_tflite, "ncnn": run_ncnn}


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Write a subject's files for a runtime, if what it takes is installed."""

    def write(runtime: str, subject: Subject) -> list[Path]:
        for package in {"litert": ["ai_edge_litert"], "ncnn": ["ncnn", "pnnx"]}.get(runtime, []):
            pytest.importorskip(package, reason=f"the extra {runtime!r} is not installed")
        if runtime == SEPARATE:
            onnx.save(build_graph(subject, "separate"), tmp_path / "separate.onnx")
            return [tmp_path / "separate.onnx"]
        files = find_exporter(runtime).export(subject, tmp_path / subject.id)
        assert sorted(tmp_path.iterdir()) == sorted(files)
        return files

    return write


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.id)
@pytest.mark.parametrize("runtime", RUN)
def test_what_is_written_computes_what_torch_does(
    runtime: str, subject: Subject, export: Export, run_torch: Callable[..., Arrays]
) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape, np.float32) for shape in subject.input_shapes]
    expected = run_torch(subject, inputs)
    atol = 1e-5 * subject.copies if isinstance(subject, OperatorChain) and runtime != "ncnn" else 1e-4
    for ours, theirs in zip(RUN[runtime](export(runtime, subject), inputs), expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=atol, rtol=1e-5)
        assert 0.05 < ours.std() < 100


def operators_in(path: Path) -> list[str]:
    """List a TFLite file's operators in the order they run."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    return [names[model.operatorCodes[operator.opcodeIndex].builtinCode] for operator in model.subgraphs[0].operators]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: OperatorChain(operator).id)
def test_an_operator_is_what_the_converter_makes_of_it(operator: Operator, export: Export) -> None:
    assert operators_in(export("litert", OperatorChain(operator))[0]) == OPERATORS[operator].split()


@pytest.mark.parametrize(
    ("runtime", "facts"),
    [
        ("onnxruntime", ("ONNX Runtime", "float32", "CPUExecutionProvider")),
        ("litert", ("LiteRT", "float32", "XNNPACK")),
        ("ncnn", ("ncnn", "float32", "CPU")),
    ],
)
def test_a_kit_runs_on_the_board(
    runtime: str, facts: tuple[str, ...], export: Callable[..., object], run_kit: Callable[..., Measurements]
) -> None:
    export(runtime, NullModel())
    measurements = run_kit(runtime)
    assert tuple(measurements.facts[name] for name in ("runtime", "precision", "provider")) == facts
    assert min(timing.ms for timing in measurements.networks.values()) > measurements.null.ms > 0


def test_every_runtime_has_a_backend_for_the_board() -> None:
    assert all((BOARD_DIR / exporter.backend).is_file() for exporter in EXPORTERS.values())
    with pytest.raises(InputError, match=r"unknown runtime 'tvm'; known: .*onnxruntime"):
        find_exporter("tvm")
