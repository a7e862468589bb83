"""An ONNX file of an export folder is a model like the network it came from; a folder that is not right is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from supernet.data.geometry import transform_points
from supernet.data.skeletons import COCO, CROWDPOSE
from supernet.errors import InputError
from supernet.evaluation import InferenceSettings
from supernet.evaluation.people import PeoplePredictor
from supernet.export.runtime import ExportedUsage, OnnxPose, SquarePredictor
from supernet.litepose import LitePose

SETTINGS = InferenceSettings(flip_test=True, threshold=0.5, max_people=5)


@pytest.fixture
def own_folder(folder: Path, tmp_path: Path) -> Path:
    """A copy of the export folder that the test may change."""
    return Path(shutil.copytree(folder, tmp_path / "m"))


def change_usage(folder: Path, change: Callable[[Any], object]) -> None:
    path = folder / "subnet.yaml"
    usage = yaml.safe_load(path.read_text())
    change(usage)
    path.write_text(yaml.safe_dump(usage))


def test_the_heads_are_those_of_torch(folder: Path, subnet: LitePose, images: Tensor) -> None:
    model = OnnxPose(folder / "model.onnx", ExportedUsage.load(folder))
    with torch.inference_mode():
        expected = subnet(images)
    for ours, theirs in zip(model(images), expected, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    recorded = json.loads((folder / "manifest.json").read_text())["sha256"]["model.onnx"]
    assert recorded.startswith(model.digest)


def test_it_finds_the_same_people(folder: Path, subnet: LitePose) -> None:
    usage = ExportedUsage.load(folder)
    assert usage == ExportedUsage(CROWDPOSE, 96)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((96, 96), (150, 100), (40, 200))]
    by_onnx = SquarePredictor(OnnxPose(folder / "model.onnx", usage), 96, CROWDPOSE, SETTINGS).predict(pictures)
    by_torch = SquarePredictor(subnet, 96, CROWDPOSE, SETTINGS).predict(pictures)
    for (ours, our_scores), (theirs, their_scores) in zip(by_onnx, by_torch, strict=True):
        assert len(ours) > 0
        np.testing.assert_allclose(our_scores, their_scores, atol=1e-3)
        same = np.abs(ours - theirs).max(axis=2) < 0.01
        assert same.mean() > 0.9, "a tie may fall the other way"


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
    model = OnnxPose(folder / "model.onnx", ExportedUsage.load(folder))
    with pytest.raises(InputError, match="takes inputs of 96x96 pixels; this one is 128x64"):
        model(torch.zeros(1, 3, 64, 128))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda usage: usage.pop("skeleton"), "lacks skeleton, keypoints or the input's shape"),
        (lambda usage: usage.update(input=7), "lacks skeleton, keypoints or the input's shape"),
        (lambda usage: usage["input"].update(shape=[1, 3]), "lacks skeleton, keypoints or the input's shape"),
        (lambda usage: usage.update(skeleton="cat"), "subnet.yaml: unknown skeleton 'cat'"),
        (lambda usage: usage.update(skeleton="coco"), "its keypoints are not those of the skeleton 'coco'"),
        (lambda usage: usage["keypoints"].reverse(), "its keypoints are not those of the skeleton 'crowdpose'"),
        (lambda usage: usage["input"].update(shape=[1, 3, 96, 64]), r"is \[1, 3, 96, 64\]; it must be square"),
        (lambda usage: usage["input"].update(shape=[1, 3, "R", "R"]), "it must be square"),
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


def test_a_folder_without_its_usage_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"subnet\.yaml: no such file; an export folder has one"):
        ExportedUsage.load(tmp_path)


def test_a_network_of_another_size_or_skeleton_is_named(own_folder: Path) -> None:
    path = own_folder / "model.onnx"
    with pytest.raises(
        InputError, match=r"images has the shape \[1, 3, 96, 96\]; subnet\.yaml says \[1, 3, 128, 128\]"
    ):
        OnnxPose(path, ExportedUsage(CROWDPOSE, 128))
    with pytest.raises(InputError, match=r"head0 has the shape \[1, 28, 24, 24\]; subnet\.yaml says \[1, 34, 24, 24\]"):
        OnnxPose(path, ExportedUsage(COCO, 96))


def test_a_damaged_file_is_named(own_folder: Path) -> None:
    path, usage = own_folder / "model.onnx", ExportedUsage.load(own_folder)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"?" + content[len(content) // 2 + 1 :])
    with pytest.raises(InputError, match=r"model\.onnx: is damaged: its SHA-256 is not the one in manifest\.json"):
        OnnxPose(path, usage)
    (own_folder / "manifest.json").unlink()
    path.write_bytes(content[:1000])
    with pytest.raises(InputError, match=r"model\.onnx: ONNX Runtime cannot open it"):
        OnnxPose(path, usage)
    path.unlink()
    with pytest.raises(InputError, match=r"model\.onnx: no such file"):
        OnnxPose(path, usage)
