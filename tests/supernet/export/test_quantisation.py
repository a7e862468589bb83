"""Int8 ONNX files: what is quantised, how near they are, and that the same images give the same file."""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.formats import FloatArray, measure_parity, run_torch
from litepose_ofa.supernet.export.onnx_model import build_onnx
from litepose_ofa.supernet.export.quantisation import OnnxInt8Format
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
    OnnxInt8Format(images).write(folder, network)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> onnx.ModelProto:
    return onnx.load(folder / "model_int8.onnx")


def test_the_file_is_a_valid_model_of_the_float_models_interface(model: onnx.ModelProto, network: LitePose) -> None:
    onnx.checker.check_model(model, full_check=True)
    original = build_onnx(network)
    for field in ("input", "output"):
        values = [list(getattr(each.graph, field)) for each in (model, original)]
        assert [(v.name, v.type) for v in values[0]] == [(v.name, v.type) for v in values[1]]
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
    runner = OnnxInt8Format(images).open(folder)
    (ours0, ours1), (head0, head1) = runner(images[:1]), run_torch(network, images[:1])
    assert head0[:, K:].std() > 50 * head0[:, :K].std()
    for ours, head in ((ours0[:, :K], head0[:, :K]), (ours0[:, K:], head0[:, K:]), (ours1, head1)):
        error = np.sqrt(np.mean((ours - head) ** 2)) / head.std()
        assert 1e-4 < error < 0.2


def test_the_difference_is_reported_whatever_it_is(folder: Path, network: LitePose, images: FloatArray) -> None:
    parity = measure_parity(OnnxInt8Format(images), folder, network, images[:5])
    assert parity.tolerance is None
    assert parity.max_abs_difference > 1e-3


def test_a_file_depends_on_the_images_alone(
    folder: Path, network: LitePose, images: FloatArray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "model_int8.onnx").read_bytes()
    OnnxInt8Format(images[::-1]).write(tmp_path, network)
    assert (tmp_path / "model_int8.onnx").read_bytes() == before
    OnnxInt8Format(2 * images).write(tmp_path, network)
    assert (tmp_path / "model_int8.onnx").read_bytes() != before
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET


def test_images_that_cannot_calibrate_are_refused(network: LitePose, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a value of the calibration images is 'nan or inf'; it must be finite"):
        OnnxInt8Format(np.full((1, 3, 96, 96), np.nan))
    with pytest.raises(InputError, match=r"is \(3, 64, 64\); it must be \(3, 96, 96\)"):
        OnnxInt8Format(np.zeros((1, 3, 64, 64), np.float32)).write(tmp_path, network)
    assert not list(tmp_path.iterdir())
