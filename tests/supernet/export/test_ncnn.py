"""ncnn and pnnx: what is said when a file, a package or the converter is not what it should be."""

import stat
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.ncnn import NcnnFiles, NcnnFormat, convert_to_ncnn, open_ncnn
from litepose_ofa.supernet.export.onnx_model import build_onnx
from litepose_ofa.supernet.network.litepose import LitePose

pytest.importorskip("ncnn", reason="the extra 'ncnn' is not installed")
pytest.importorskip("pnnx", reason="the extra 'ncnn' is not installed")


@pytest.fixture(scope="module")
def model(tiny: SearchSpace) -> onnx.ModelProto:
    return build_onnx(LitePose(tiny.smallest()).eval())


@pytest.fixture(scope="module")
def files(model: onnx.ModelProto) -> NcnnFiles:
    return convert_to_ncnn(model)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def pretend_pnnx(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable = tmp_path / "pnnx"
    executable.write_text(f"#!/bin/sh\n{script}\n")
    executable.chmod(executable.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setitem(sys.modules, "pnnx", SimpleNamespace(EXEC_PATH=str(executable)))


@pytest.mark.parametrize("package", ["ncnn", "pnnx"])
def test_a_missing_package_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"format ncnn needs the package {package}; install it with pip install 'litepose-ofa\[ncnn\]'"
    with pytest.raises(InputError, match=message):
        NcnnFormat()


def test_files_are_opened_without_the_converter(
    files: NcnnFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = files.write(tmp_path, "model")
    monkeypatch.setitem(sys.modules, "pnnx", None)
    open_ncnn(tmp_path / names[0])


def test_nothing_is_left_behind_or_said(
    model: onnx.ModelProto, temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = convert_to_ncnn(model)
    assert files.param.startswith(b"7767517\n")
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
    script: str,
    message: str,
    model: onnx.ModelProto,
    temporary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_pnnx(script, tmp_path, monkeypatch)
    with pytest.raises(RuntimeError, match=message):
        convert_to_ncnn(model, timeout_s=0.2)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("missing", ["model.ncnn.param", "model.ncnn.bin"])
def test_a_missing_file_is_named(missing: str, files: NcnnFiles, tmp_path: Path) -> None:
    files.write(tmp_path, "model")
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=f"{missing}: no such file"):
        NcnnFormat().open(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.ncnn.param", b""),
        ("model.ncnn.param", b"7767517\n1 1\nInput image 0 1 image\n"),
        ("model.ncnn.bin", b""),
    ],
)
def test_a_damaged_file_is_one_line(file: str, content: bytes, files: NcnnFiles, tmp_path: Path) -> None:
    files.write(tmp_path, "model")
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=f"{file}: ") as error:
        NcnnFormat().open(tmp_path)
    assert "\n" not in str(error.value)
