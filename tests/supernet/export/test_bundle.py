"""An export folder is complete, true to the subnet, and usable without this project."""

import copy
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.loading.batches import normalise
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.bundle import (
    Manifest,
    exported_skeleton,
    open_export,
    open_exported,
    read_manifest,
    write_bundle,
    write_manifest,
)
from litepose_ofa.supernet.export.formats import (
    ExportFormat,
    ParityError,
    litert_format,
    ncnn_format,
    onnx_format,
    onnx_peaks_format,
)
from litepose_ofa.supernet.export.onnx_graph import OPSET
from litepose_ofa.supernet.export.runners import open_runner
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import read_description, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose

FILES = ["arch.json", "manifest.json", "model.onnx", "subnet.yaml", "weights.safetensors"]


def write(
    folder: Path, subnet: LitePose, images: Tensor, *, facts: Mapping[str, Any] | None = None, **changes: Any
) -> Manifest:
    given = {"skeleton": CROWDPOSE, "formats": [onnx_format()], "facts": facts or {}, **changes}
    return write_bundle(folder, subnet, images=images.numpy(), **given)


def test_the_manifest_is_true(folder: Path, subnet: LitePose, manifest: Manifest) -> None:
    record = manifest.record
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert open_export(folder) == manifest
    assert read_description(folder / "weights.safetensors")["info"]["tier"] == "m"
    assert read_json(folder / "manifest.json") == record
    assert (record["kind"], record["schema"]) == ("litepose-export", 1)
    assert (record["device"], record["tier"], record["accuracy"]) == ("raspberry_pi_4b", "m", {"metrics": {"AP": 0.5}})
    assert (record["arch_digest"], record["weights"]) == (subnet.arch.digest, weights_digest(subnet))
    assert record["complexity"] == dataclasses.asdict(measure_complexity(subnet.arch, 14))
    described = record["formats"]["onnx"]
    assert described["files"] == ["model.onnx"]
    assert (described["opset"], described["batch"], described["precision"]) == (OPSET, 1, "float32")
    assert described["runtime_version"] == version("onnxruntime")
    assert described["parity"]["images"] == 3
    assert 0 <= described["parity"]["max_abs_difference"] <= described["parity"]["tolerance"] == 1e-4
    assert record["versions"]["torch"] == version("torch")
    assert sorted(record["sha256"]) == [name for name in FILES if name != "manifest.json"]
    for name, digest in record["sha256"].items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_equal_exports_are_equal_bytes(folder: Path, subnet: LitePose, images: Tensor, tmp_path: Path) -> None:
    facts = {"device": "raspberry_pi_4b", "tier": "m", "accuracy": {"metrics": {"AP": 0.5}}}
    again = write(tmp_path / "elsewhere", subnet, images, facts=facts).folder
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_what_a_caller_adds_is_in_the_manifest(subnet: LitePose, images: Tensor, tmp_path: Path) -> None:
    def measure(fmt: ExportFormat, folder: Path) -> dict[str, Any]:
        assert open_runner(folder / fmt.files[0])(images[:1].numpy())[0].shape == (1, 28, 24, 24)
        return {"accuracy": {"AP": 0.4}}

    def add(folder: Path, record: Mapping[str, Any]) -> None:
        assert {path.name for path in folder.iterdir()} == {*FILES} - {"manifest.json"}
        (folder / "card.md").write_text(f"AP {record['formats']['onnx']['accuracy']['AP']}")

    without = write(tmp_path / "none", subnet, images, formats=[])  # no format is needed
    assert open_export(without.folder).formats == {}
    given = write(
        tmp_path / "m", subnet, images, measure_format=measure, add_files=add, config={"overrides": ["space=x"]}
    )
    assert given.formats["onnx"]["accuracy"] == {"AP": 0.4}
    assert (given.folder / "card.md").read_text() == "AP 0.4"
    assert "card.md" in given.record["sha256"]
    assert yaml.safe_load((given.folder / "subnet.yaml").read_text())["overrides"] == ["space=x"]
    assert open_export(given.folder) == given


def test_the_usage_describes_what_the_network_takes_and_gives(folder: Path, subnet: LitePose, images: Tensor) -> None:
    usage = yaml.safe_load((folder / "subnet.yaml").read_text())
    assert usage["keypoints"] == list(CROWDPOSE.keypoints)
    assert [usage[name] for name in ("arch", "weights")] == ["arch.json", "weights.safetensors"]
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    given = (pixels / 255 - usage["input"]["mean"]) / usage["input"]["std"]
    np.testing.assert_allclose(given.transpose(2, 0, 1)[None], normalise(pixels[None]).numpy(), atol=1e-6)
    with torch.no_grad():
        heads = subnet(images[:1])
    assert usage["input"]["shape"] == list(images[:1].shape)
    assert [each["shape"] for each in usage["outputs"].values()] == [list(head.shape) for head in heads]


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ParityError])
def test_a_failed_export_leaves_what_was_there(
    subnet: LitePose, images: Tensor, folder: Path, tmp_path: Path, error: type[BaseException], exists: bool
) -> None:
    def fail(subnet: LitePose) -> list[bytes]:
        if error is not ParityError:
            raise error
        other = copy.deepcopy(subnet)
        other.get_parameter("first.0.0.weight").data.mul_(2)
        return list(onnx_format().convert(other))

    target = tmp_path / "tier"
    if exists:
        shutil.copytree(folder, target)
    with pytest.raises(error):
        write(target, subnet, images, formats=[onnx_format(), dataclasses.replace(onnx_format(), convert=fail)])
    assert [path.name for path in tmp_path.iterdir()] == (["tier"] if exists else [])
    if exists:
        open_export(target)


def complaint(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_export(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_is_missing_or_foreign_is_named(own_folder: Path, tmp_path: Path) -> None:
    (own_folder / "notes.txt").write_text("mine")
    open_export(own_folder)  # files of others are let be
    assert complaint(tmp_path / "none").startswith(f"{tmp_path / 'none'}: no such folder")
    assert "is not an export folder: it has no manifest.json; litepose export makes one" in complaint(tmp_path)
    for content in (b"[]", b'{"kind": "dataset", "schema": 1}'):
        (own_folder / "manifest.json").write_bytes(content)
        assert "is not of an export of this version" in complaint(own_folder)
    for content in (b"", b"{", b"\xff\xfe\x00", b"[" * 100_000):
        (own_folder / "manifest.json").write_bytes(content)
        assert "manifest.json: is not JSON" in complaint(own_folder)


def test_a_file_that_is_gone_or_another_is_named(own_folder: Path) -> None:
    path = own_folder / "model.onnx"
    path.write_bytes(path.read_bytes() + b" ")
    assert complaint(own_folder).startswith(f"{path}: is damaged: its SHA-256 is not the one in manifest.json")
    path.unlink()
    assert complaint(own_folder).startswith(f"{path}: no such file, but manifest.json lists it; export again")


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"tier": "l"}, "was changed or damaged since the export"), ({"schema": 2}, "has schema 2, this version reads 1")],
)
def test_a_manifest_that_was_edited_is_named(own_folder: Path, changes: dict[str, Any], told: str) -> None:
    path = own_folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=2) + "\n")
    assert f"manifest.json: {told}" in complaint(own_folder)


def test_an_architecture_that_is_not_the_manifest_s_is_named(own_folder: Path) -> None:
    other = SearchSpace.preset("tiny").largest()
    assert other != Arch.load(own_folder / "arch.json")
    other.save(own_folder / "arch.json")
    digest = read_manifest(own_folder).record["arch_digest"]
    record = {key: value for key, value in read_manifest(own_folder).record.items() if key not in {"digest", "sha256"}}
    write_manifest(own_folder, record)
    assert f"arch.json: is not the architecture {digest} of manifest.json" in complaint(own_folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_or_missing_byte_is_accepted(data: st.DataObject, folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "m"
    shutil.copytree(folder, own, dirs_exist_ok=True)
    path = data.draw(st.sampled_from(sorted(own.iterdir())))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    assert path.name in complaint(own)


@pytest.mark.parametrize("file", ["model.onnx", "model_fp16.tflite", "model.ncnn.param", "model.ncnn.bin"])
def test_a_runtime_s_file_is_a_model_like_torch(subnet: LitePose, images: Tensor, tmp_path: Path, file: str) -> None:
    formats = {".onnx": onnx_format, ".tflite": lambda: litert_format(float16=True)}
    fmt = formats.get(Path(file).suffix, ncnn_format)()
    exported = open_exported(write(tmp_path / "m", subnet, images[:1], formats=[fmt]).folder / file)
    assert (exported.format, len(exported.digest)) == (fmt.name, 12)
    strided = images.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        expected = subnet(images)
    for ours, theirs in zip(exported.model(strided), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.02 * float(theirs.abs().max()), rtol=0)
    with pytest.raises(InputError, match="takes inputs of 96x96 pixels; this one is 128x64"):
        exported.model(torch.zeros(1, 3, 64, 128))


def test_a_file_that_gives_no_heads_is_named(subnet: LitePose, images: Tensor, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", subnet, images[:1], formats=[onnx_peaks_format()]).folder
    with pytest.raises(InputError, match=r"model_peaks\.onnx: gives peaks for a device's own decoder, not heatmaps"):
        open_exported(folder / "model_peaks.onnx")
    with pytest.raises(InputError, match=r"arch\.json: is not a runtime's file .*has model_peaks\.onnx"):
        open_exported(folder / "arch.json")


def test_the_skeleton_is_read_from_the_usage(own_folder: Path) -> None:
    path = own_folder / "subnet.yaml"
    usage = yaml.safe_load(path.read_text())
    assert exported_skeleton(own_folder) == CROWDPOSE
    own = dataclasses.replace(CROWDPOSE, name="mine")
    path.write_text(yaml.safe_dump({**usage, "skeleton": own.to_dict()}))
    assert exported_skeleton(own_folder) == own
    for content, told in (
        ({**usage, "skeleton": "cat"}, r"subnet\.yaml: unknown skeleton 'cat'"),
        ({**usage, "keypoints": ["nose"]}, "its keypoints are not those of the skeleton 'crowdpose'"),
        ([], r"subnet\.yaml: lacks skeleton or keypoints"),
    ):
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(InputError, match=told):
            exported_skeleton(own_folder)
