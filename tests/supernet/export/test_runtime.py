"""A runtime's file of an export folder is a model like the network it came from."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from litepose_ofa.supernet.data.geometry import transform_points
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.people import PeoplePredictor
from litepose_ofa.supernet.export.bundle import read_manifest, write_bundle, write_manifest
from litepose_ofa.supernet.export.formats import ExportFormat
from litepose_ofa.supernet.export.litert import LitertFormat
from litepose_ofa.supernet.export.ncnn import NcnnFormat
from litepose_ofa.supernet.export.peaks import OnnxPeaksFormat
from litepose_ofa.supernet.export.runtime import ExportedPose, ExportedUsage, SquarePredictor
from litepose_ofa.supernet.network.litepose import LitePose

SETTINGS = InferenceSettings(flip_test=True, threshold=0.5, max_people=5)


def change_usage(folder: Path, change: Callable[[Any], object]) -> None:
    path = folder / "subnet.yaml"
    usage = yaml.safe_load(path.read_text())
    change(usage)
    path.write_text(yaml.safe_dump(usage))


def test_the_heads_are_those_of_torch(folder: Path, subnet: LitePose, images: Tensor) -> None:
    exported = ExportedPose.open(folder / "model.onnx")
    assert (exported.format, exported.usage) == ("onnx", ExportedUsage(CROWDPOSE, 96))
    with torch.inference_mode():
        expected = subnet(images)
    for ours, theirs in zip(exported.model(images), expected, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    recorded = read_manifest(folder).files["model.onnx"]
    assert (recorded[:12], len(exported.digest)) == (exported.digest, 12)


def test_it_finds_the_same_people(folder: Path, subnet: LitePose) -> None:
    exported = ExportedPose.open(folder / "model.onnx")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((96, 96), (150, 100), (40, 200))]
    by_onnx = SquarePredictor(exported.model, 96, CROWDPOSE, SETTINGS).predict(pictures)
    by_torch = SquarePredictor(subnet, 96, CROWDPOSE, SETTINGS).predict(pictures)
    for (ours, our_scores), (theirs, their_scores) in zip(by_onnx, by_torch, strict=True):
        assert len(ours) > 0
        np.testing.assert_allclose(our_scores, their_scores, atol=1e-3)
        same = np.abs(ours - theirs).max(axis=2) < 0.01
        assert same.mean() > 0.9, "a tie may fall the other way"


def runtime_files(subnet: LitePose, images: Tensor, folder: Path, *formats: ExportFormat) -> Path:
    arguments = {"skeleton": CROWDPOSE, "images": images[:1].numpy(), "formats": formats, "facts": {}}
    return write_bundle(folder, subnet, **arguments).folder  # type: ignore[arg-type]


@pytest.mark.parametrize("file", ["model_fp16.tflite", "model.ncnn.param", "model.ncnn.bin"])
def test_every_runtime_s_file_is_a_model(subnet: LitePose, images: Tensor, tmp_path: Path, file: str) -> None:
    pytest.importorskip("ai_edge_litert" if file.endswith("tflite") else "ncnn")
    fmt = LitertFormat("float16") if file.endswith("tflite") else NcnnFormat()
    folder = runtime_files(subnet, images, tmp_path / "m", fmt)
    exported = ExportedPose.open(folder / file)
    assert exported.format == fmt.name
    strided = images.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        expected = subnet(images)
    for ours, theirs in zip(exported.model(strided), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.02 * float(theirs.abs().max()), rtol=0)


def test_a_file_that_gives_no_heads_is_named(subnet: LitePose, images: Tensor, tmp_path: Path) -> None:
    folder = runtime_files(subnet, images, tmp_path / "m", OnnxPeaksFormat())
    with pytest.raises(InputError, match=r"model_peaks\.onnx: gives peaks for a device's own decoder, not heatmaps"):
        ExportedPose.open(folder / "model_peaks.onnx")
    with pytest.raises(InputError, match=r"arch\.json: is not a runtime's file .*has model_peaks\.onnx"):
        ExportedPose.open(folder / "arch.json")


@pytest.mark.parametrize(
    ("file", "package", "extra"),
    [("model.tflite", "ai_edge_litert", "litert"), ("model.ncnn.param", "ncnn", "ncnn")],
)
def test_a_missing_runtime_is_named_with_what_to_install(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, package: str, extra: str
) -> None:
    (own_folder / file).write_bytes(b"a network")
    record = dict(read_manifest(own_folder).record)
    record.pop("digest")
    write_manifest(own_folder, {**record, "formats": {"another": {"files": [file]}}})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{re.escape(file)} needs .* pip install 'litepose-ofa\[{extra}\]'"):
        ExportedPose.open(own_folder / file)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (96, 96), (1, 1), (1000, 125)])
def test_a_whole_picture_fits_into_the_square(size: tuple[int, int]) -> None:
    def no_model(images: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError

    width, height = size
    matrix, input_size = SquarePredictor(no_model, 96, CROWDPOSE).fit(width, height)
    assert input_size == (96, 96)
    corners = transform_points(matrix, [(0, 0), (width, height)])
    np.testing.assert_allclose(corners.sum(axis=0), [96, 96], atol=1e-9)
    np.testing.assert_allclose((corners[1] - corners[0]).max(), 96)
    np.testing.assert_allclose((corners[1] - corners[0])[0] * height, (corners[1] - corners[0])[1] * width)
    if width == height:
        np.testing.assert_allclose(matrix, PeoplePredictor(no_model, 96, CROWDPOSE).fit(width, height)[0])


def test_another_input_size_is_refused(folder: Path) -> None:
    model = ExportedPose.open(folder / "model.onnx").model
    with pytest.raises(InputError, match="takes inputs of 96x96 pixels; this one is 128x64"):
        model(torch.zeros(1, 3, 64, 128))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda usage: usage.pop("skeleton"), "lacks skeleton, keypoints or the input's shape"),
        (lambda usage: usage["input"].update(shape=[1, 3]), "lacks skeleton, keypoints or the input's shape"),
        (lambda usage: usage.update(skeleton="cat"), "subnet.yaml: unknown skeleton 'cat'"),
        (lambda usage: usage["keypoints"].reverse(), "its keypoints are not those of the skeleton 'crowdpose'"),
        (lambda usage: usage["input"].update(shape=[1, 3, 96, 64]), "the input is 64x96; it must be square"),
    ],
)
def test_a_usage_that_is_none_is_named(own_folder: Path, change: Callable[[Any], object], told: str) -> None:
    change_usage(own_folder, change)
    with pytest.raises(InputError, match=told):
        ExportedUsage.load(own_folder)


def test_a_skeleton_that_is_spelt_out_is_read(own_folder: Path) -> None:
    change_usage(own_folder, lambda usage: usage.update(skeleton=CROWDPOSE.to_dict() | {"name": "mine"}))
    usage = ExportedUsage.load(own_folder)
    assert (usage.skeleton.name, usage.skeleton.limbs) == ("mine", CROWDPOSE.limbs)
