"""An export folder is complete, true to the subnet, and usable without this project."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from supernet.arch import Arch
from supernet.checkpoints import load_subnet, read_description
from supernet.complexity import measure_complexity
from supernet.data.loading import normalise
from supernet.data.skeletons import CROWDPOSE
from supernet.export import bundle as bundle_module
from supernet.export.bundle import write_bundle
from supernet.export.onnx_model import ParityError
from supernet.files import read_json
from supernet.litepose import LitePose

FILES = ["arch.json", "manifest.json", "model.onnx", "subnet.yaml", "weights.safetensors"]

STANDALONE = """
import json, sys
import numpy as np
import onnxruntime

usage = json.load(open(sys.argv[1] + "/usage.json"))
pixels = np.load(sys.argv[1] + "/pixels.npy")
given = usage["input"]
image = (pixels / 255 - given["mean"]) / given["std"]
image = image.transpose(2, 0, 1)[None].astype(np.float32)
assert list(image.shape) == given["shape"]
session = onnxruntime.InferenceSession(sys.argv[2])
names = list(usage["outputs"])
np.savez(sys.argv[1] + "/heads.npz", **dict(zip(names, session.run(names, {given["name"]: image}))))
assert not {"torch", "supernet"} & set(sys.modules)
"""


def test_a_folder_holds_its_files_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["m"]


def test_the_architecture_is_the_published_form(folder: Path, subnet: LitePose) -> None:
    assert Arch.load(folder / "arch.json") == subnet.arch
    assert read_json(folder / "arch.json") == subnet.arch.to_dict()


def test_the_weights_give_the_same_bits(folder: Path, subnet: LitePose, images: Tensor) -> None:
    loaded = load_subnet(folder / "weights.safetensors")
    assert loaded.arch == subnet.arch
    with torch.no_grad():
        for ours, theirs in zip(loaded(images), subnet(images), strict=True):
            assert torch.equal(ours, theirs)
    assert read_description(folder / "weights.safetensors")["info"]["tier"] == "m"


def test_the_manifest_is_true(folder: Path, subnet: LitePose, manifest: dict[str, Any]) -> None:
    assert read_json(folder / "manifest.json") == json.loads(json.dumps(manifest))
    assert (manifest["device"], manifest["tier"], manifest["accuracy"]) == ("raspberry_pi_4b", "m", {"AP": 0.5})
    assert manifest["arch_digest"] == subnet.arch.digest
    assert manifest["complexity"] == dataclasses.asdict(measure_complexity(subnet.arch, 14))
    assert manifest["onnx"]["images_compared"] == 3
    assert 0 <= manifest["onnx"]["max_abs_difference"] <= 1e-4
    assert sorted(manifest["sha256"]) == [name for name in FILES if name != "manifest.json"]
    for name, digest in manifest["sha256"].items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_onnx_runtime_and_numpy_suffice(folder: Path, subnet: LitePose, tmp_path: Path) -> None:
    usage = yaml.safe_load((folder / "subnet.yaml").read_text())
    assert usage["keypoints"] == list(CROWDPOSE.keypoints)
    assert [usage[name] for name in ("arch", "weights", "onnx")] == ["arch.json", "weights.safetensors", "model.onnx"]
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    (tmp_path / "usage.json").write_text(json.dumps(usage))
    command = [sys.executable, "-I", "-c", STANDALONE, str(tmp_path), str(folder / usage["onnx"])]
    subprocess.run(command, check=True, timeout=60)
    with torch.no_grad():
        expected = subnet(normalise(pixels[None]))
    with np.load(tmp_path / "heads.npz") as heads:
        for (name, described), head in zip(usage["outputs"].items(), expected, strict=True):
            assert list(head.shape) == described["shape"]
            np.testing.assert_allclose(heads[name], head.numpy(), atol=1e-4)


def test_a_failed_export_leaves_nothing(
    folder: Path, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_something_else(path: Path, subnet: object) -> None:
        path.write_bytes((folder / "model.onnx").read_bytes())

    monkeypatch.setattr(bundle_module, "export_onnx", export_something_else)
    subnet = load_subnet(folder / "weights.safetensors")
    with torch.no_grad():
        subnet.get_parameter("first.0.0.weight").mul_(2)
    with pytest.raises(ParityError):
        write_bundle(tmp_path / "tier", subnet, skeleton=CROWDPOSE, images=images, facts={})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_keeps_the_folder_that_was_there(
    subnet: LitePose, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, subnet: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(bundle_module, "export_onnx", fail)
    folder = tmp_path / "tier"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(OSError, match="no space left"):
        write_bundle(folder, subnet, skeleton=CROWDPOSE, images=images, facts={})
    assert [path.name for path in tmp_path.iterdir()] == ["tier"]
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]
