"""The kit's ncnn files: against torch, and on the board."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from litepose_ofa.latency_tables.profiling.exporters import find_exporter
from litepose_ofa.latency_tables.profiling.kit import BOARD_DIR
from litepose_ofa.latency_tables.profiling.measurements import Measurements
from litepose_ofa.latency_tables.profiling.subjects import NullModel, OperatorChain, Subject, WholeNetwork
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.archs.space import SearchSpace

ncnn = pytest.importorskip("ncnn", reason="the extra 'ncnn' is not installed")
pytest.importorskip("pnnx", reason="the extra 'ncnn' is not installed")

SUBJECTS = [
    OperatorChain(Operator("stem", 32, 3, 32, 16, kernel=3, stride=2)),
    OperatorChain(Operator("bottleneck", 16, 8, 48, 16, kernel=7, stride=2, expansion=6)),
    OperatorChain(Operator("bottleneck", 8, 24, 96, 24, kernel=5, stride=1, expansion=4), copies=4),
    OperatorChain(Operator("fusion_deconv", 8, 40, 24, 16, kernel=4, stride=2)),
    OperatorChain(Operator("head", 8, 24, 16, 28, kernel=5, stride=1)),
    WholeNetwork(SearchSpace.preset("tiny").largest(), num_keypoints=14),
    NullModel(),
]

Arrays = list[NDArray[np.float32]]


def run_files(paths: list[Path], inputs: Arrays) -> Arrays:
    """Run a float32 net."""
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(str(paths[0]))
    net.load_model(str(paths[1]))
    extractor = net.create_extractor()
    for i, value in enumerate(inputs):
        extractor.input(f"in{i}", ncnn.Mat(value[0]).clone())
    return [np.array(extractor.extract(name)[1])[None] for name in net.output_names()]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BOARD_DIR))
    import backend_ncnn

    yield backend_ncnn
    del sys.modules["backend_ncnn"]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.id)
def test_the_files_compute_what_torch_does(subject: Subject, tmp_path: Path, run_torch: Callable[..., Arrays]) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape, np.float32) for shape in subject.input_shapes]
    files = find_exporter("ncnn").export(subject, tmp_path / subject.id)
    for ours, expected in zip(run_files(files, inputs), run_torch(subject, inputs), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_a_kit_runs_on_the_board(run_kit: Callable[..., Measurements]) -> None:
    measurements = run_kit("ncnn")
    assert (measurements.facts["runtime"], measurements.facts["precision"]) == ("ncnn", "float32")
    assert min(timing.ms for timing in measurements.networks.values()) > measurements.null.ms > 0


def test_half_precision_is_an_option_that_the_facts_state(backend: ModuleType) -> None:
    assert backend.describe()["precision"] == "float32"
    backend.configure(precision="float16")
    assert backend.describe()["precision"].startswith("float16 storage")


@pytest.mark.parametrize("options", [{"precision": "int8"}, {"threads": "2"}])
def test_other_options_are_refused_in_one_line(
    options: dict[str, str], backend: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        backend.configure(**options)
    assert capsys.readouterr().err.endswith("the options of ncnn are precision=float32|float16\n")


def test_files_that_ncnn_cannot_read_are_named(
    backend: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        backend.load([str(tmp_path / "no.param"), str(tmp_path / "no.bin")], [[1, 1, 2, 2]], 1)
    assert "no.param: ncnn" in capsys.readouterr().err
