"""Int8 files: what is quantised, how near they are, the same for the same images; pnnx: what it leaves and says."""

import logging
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export import conversion
from litepose_ofa.supernet.export.formats import measure_parity, onnx_int8_format
from litepose_ofa.supernet.export.onnx_graph import build_onnx
from litepose_ofa.supernet.export.runners import FloatArray, open_runner, run_torch
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.litepose import LitePose

K = 14


@pytest.fixture(scope="module")
def images() -> FloatArray:
    return np.random.default_rng(0).standard_normal((12, 3, 96, 96), np.float32)


@pytest.fixture(scope="module")
def network(tiny: SearchSpace, randomise: Callable[..., Any], images: FloatArray) -> LitePose:
    """A network whose tags are a hundred times its heatmaps."""
    network: LitePose = randomise(LitePose(tiny.largest().with_image_size(96)), 1).eval()
    recalibrate_batch_norm(network, [torch.from_numpy(images[:2])])
    with torch.no_grad():
        for side in ("refined", "raw"):
            network.get_parameter(f"final_{side}.0.conv.3.weight")[:K] /= 100
    return network.eval()


@pytest.fixture(scope="module")
def folder(network: LitePose, images: FloatArray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    onnx_int8_format(images).write(folder, network)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> onnx.ModelProto:
    return onnx.load(folder / "model_int8.onnx")


def test_the_file_is_a_valid_model_of_the_float_models_interface(model: onnx.ModelProto, network: LitePose) -> None:
    onnx.checker.check_model(model, full_check=True)
    original = build_onnx(network)
    for field in ("input", "output"):
        ours, theirs = ([(v.name, v.type) for v in getattr(each.graph, field)] for each in (model, original))
        assert ours == theirs
    assert (model.opset_import, model.ir_version) == (original.opset_import, original.ir_version)


def test_all_but_the_heads_are_quantised_by_output_channel(model: onnx.ModelProto) -> None:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scales = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    for node in convolutions:
        if node.name.startswith("final_"):
            assert values[node.input[1]].dtype == np.float32
            continue
        weight, scale, zero_point = (values[name] for name in scales[node.input[1]].input)
        axis = int(node.op_type == "ConvTranspose")
        assert weight.dtype == np.int8
        assert scale.shape == (weight.shape[axis],)
        assert not zero_point.any()
        feature_map = scales[node.input[0]]
        assert values[feature_map.input[2]].dtype == np.uint8
    assert Counter(node.name.startswith("final_") for node in convolutions) == {True: 8, False: len(convolutions) - 8}


def test_heatmaps_and_tags_are_near_in_their_own_scale(folder: Path, network: LitePose, images: FloatArray) -> None:
    runner = open_runner(folder / "model_int8.onnx")
    (ours0, ours1), (head0, head1) = runner(images[:1]), run_torch(network, images[:1])
    assert head0[:, K:].std() > 50 * head0[:, :K].std()
    for ours, head in ((ours0[:, :K], head0[:, :K]), (ours0[:, K:], head0[:, K:]), (ours1, head1)):
        error = np.sqrt(np.mean((ours - head) ** 2)) / head.std()
        assert 1e-4 < error < 0.2
    parity = measure_parity(onnx_int8_format(images), folder, network, images[:5])
    assert parity["tolerance"] is None
    assert parity["max_abs_difference"] > 1e-3


def test_a_file_depends_on_the_images_alone(
    folder: Path, network: LitePose, images: FloatArray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "model_int8.onnx").read_bytes()
    onnx_int8_format(images[::-1]).write(tmp_path, network)
    assert (tmp_path / "model_int8.onnx").read_bytes() == before
    onnx_int8_format(2 * images).write(tmp_path, network)
    assert (tmp_path / "model_int8.onnx").read_bytes() != before
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_nothing_is_left_behind_or_said(network: LitePose, temporary: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pnnx", reason="the extra 'ncnn' is not installed")
    param, _ = conversion.convert_to_ncnn(build_onnx(network))
    assert param.startswith(b"7767517\n")
    assert not list(temporary.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no such operator >&2; exit 1", "pnnx cannot convert litepose: no such operator"),
        ("exit 0", "pnnx cannot convert litepose: "),
        ("exec sleep 60", r"pnnx has not converted litepose in 0\.2 s"),
    ],
    ids=["fails", "writes nothing", "hangs"],
)
def test_a_converter_that_fails_is_an_error(
    script: str, message: str, network: LitePose, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable = tmp_path / "pnnx"
    executable.write_text(f"#!/bin/sh\n{script}\n")
    executable.chmod(executable.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setitem(sys.modules, "pnnx", SimpleNamespace(EXEC_PATH=str(executable)))
    monkeypatch.setattr(conversion, "TIMEOUT_S", 0.2)
    with pytest.raises(RuntimeError, match=message):
        conversion.convert_to_ncnn(build_onnx(network))
    assert not list(temporary.iterdir())
