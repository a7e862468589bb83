"""An export folder is opened whole and unchanged, or one line says what is wrong and what to do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.manifest import Manifest, read_manifest, write_manifest
from litepose_ofa.supernet.export.verification import open_export, open_exported_file

AGAIN = r"export again \(litepose export\)"


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the manifest as a text editor would."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=2) + "\n")


def reseal(folder: Path, **changes: Any) -> None:
    """Write the manifest anew, with hashes and digest that are right."""
    record = {key: value for key, value in read_manifest(folder).record.items() if key not in {"digest", "sha256"}}
    write_manifest(folder, {**record, **changes})


def complaint(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_export(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_whole_folder_is_opened(folder: Path, manifest: Manifest) -> None:
    assert open_export(folder) == manifest
    assert open_exported_file(folder / "model.onnx") == manifest
    assert (manifest.format_of("model.onnx"), manifest.format_of("arch.json")) == ("onnx", None)


def test_files_of_others_beside_it_are_let_be(own_folder: Path) -> None:
    (own_folder / "notes.txt").write_text("mine")
    open_export(own_folder)
    with pytest.raises(InputError, match=r"notes\.txt: is no file of this export; it has arch\.json, "):
        open_exported_file(own_folder / "notes.txt")


def test_what_is_missing_or_foreign_is_named(own_folder: Path, tmp_path: Path) -> None:
    assert complaint(tmp_path / "none").startswith(f"{tmp_path / 'none'}: no such folder")
    assert complaint(own_folder / "arch.json").endswith("or name another")
    assert "is no export folder: it has no manifest.json; litepose export makes one" in complaint(tmp_path)
    with pytest.raises(InputError, match=r"model\.tflite: no such file"):
        open_exported_file(own_folder / "model.tflite")
    for content in ("[]", '{"kit": 1}', '{"arch_digest": "0"}', '{"kind": "dataset", "schema": 1}', "7"):
        (own_folder / "manifest.json").write_text(content)
        assert "is not of an export of this version" in complaint(own_folder)
    for content in (b"", b"{", b"\xff\xfe\x00", b"[" * 100_000):
        (own_folder / "manifest.json").write_bytes(content)
        assert "manifest.json: is not JSON" in complaint(own_folder)
    (own_folder / "manifest.json").unlink()
    (own_folder / "manifest.json").mkdir()
    assert "it has no manifest.json" in complaint(own_folder)


@pytest.mark.parametrize("name", ["arch.json", "subnet.yaml", "weights.safetensors", "model.onnx"])
def test_a_file_that_is_gone_or_another_is_named(own_folder: Path, name: str) -> None:
    path = own_folder / name
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    assert complaint(own_folder).startswith(f"{path}: is damaged: its SHA-256 is not the one in manifest.json")
    path.unlink()
    assert complaint(own_folder).startswith(f"{path}: no such file, but manifest.json lists it; export again")


@pytest.mark.parametrize(
    "changes",
    [{"tier": "l"}, {"digest": "0"}, {"digest": None}, {"schema": 0}, {"schema": "1"}, {"schema": True}, {"more": 1}],
)
def test_a_manifest_that_was_edited_is_named(own_folder: Path, changes: dict[str, Any]) -> None:
    rewrite(own_folder, **changes)
    assert "manifest.json: was changed or damaged since the export; export again" in complaint(own_folder)


def test_a_manifest_in_another_spelling_was_changed(own_folder: Path) -> None:
    path = own_folder / "manifest.json"
    text = path.read_text()
    for other in (text + "\n", text.replace("\n", "\r\n"), json.dumps(json.loads(text)), text.replace("  ", "\t", 1)):
        path.write_bytes(other.encode())
        assert "was changed or damaged" in complaint(own_folder)


def test_a_newer_schema_asks_for_a_newer_version(own_folder: Path) -> None:
    rewrite(own_folder, schema=2)
    assert "has schema 2, this version reads 1; install a newer litepose-ofa" in complaint(own_folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"formats": []},
        {"formats": {"onnx": 7}},
        {"formats": {"onnx": {"files": "model.onnx"}}},
        {"arch_digest": 7},
        {"formats": {"onnx": {"files": ["../../model.onnx"]}}},
        {"formats": {"onnx": {"files": ["model.tflite"]}}},
    ],
)
def test_a_manifest_that_was_forged_is_named(own_folder: Path, changes: dict[str, Any]) -> None:
    reseal(own_folder, **changes)
    assert "manifest.json: " in complaint(own_folder)


def test_an_architecture_that_is_not_the_manifest_s_is_named(own_folder: Path) -> None:
    other = SearchSpace.preset("tiny").largest()
    assert other != Arch.load(own_folder / "arch.json")
    other.save(own_folder / "arch.json")
    digest = read_manifest(own_folder).arch_digest
    reseal(own_folder)
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


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_any_record_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("sealed")
    (folder / "file").write_bytes(b"content")
    written = write_manifest(folder, {"arch_digest": "0", "formats": {}, "value": value})
    read = read_manifest(folder)
    assert json.dumps(read.record) == json.dumps(written.record)
