"""Files under their runtimes: what is said when a file, a package or a network is not what it should be."""

import sys
from pathlib import Path

import pytest

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.formats import litert_format, ncnn_format, onnx_format, onnx_peaks_format
from litepose_ofa.supernet.export.runners import open_runner
from litepose_ofa.supernet.network.litepose import LitePose

pytest.importorskip("ai_edge_litert", reason="the extra 'litert' is not installed")
pytest.importorskip("ncnn", reason="the extra 'ncnn' is not installed")
pytest.importorskip("pnnx", reason="the extra 'ncnn' is not installed")

FILES = ("model.onnx", "model.tflite", "model.ncnn.param", "model.ncnn.bin")


@pytest.fixture(scope="module")
def contents(tiny: SearchSpace) -> dict[str, bytes]:
    network = LitePose(tiny.smallest()).eval()
    return {
        name: content
        for fmt in (onnx_format(), litert_format(), ncnn_format())
        for name, content in zip(fmt.files, fmt.convert(network), strict=True)
    }


@pytest.fixture
def folder(contents: dict[str, bytes], tmp_path: Path) -> Path:
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        open_runner(path.with_suffix(".param") if path.suffix == ".bin" else path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    refused(folder / file, f"{file}: no such file")


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        *((file, kept) for file in ("model.onnx", "model.tflite") for kept in (0, 0.01, 0.5, 0.99)),
        ("model.ncnn.param", 0),
        ("model.ncnn.bin", 0),
    ],
)
def test_a_damaged_file_is_one_line(folder: Path, file: str, kept: float) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: int(kept * len(content))])
    refused(folder / file, f"{file}: .* cannot open it")


def test_another_network_is_one_line(folder: Path, tiny: SearchSpace) -> None:
    (folder / "model.ncnn.param").write_bytes(b"7767517\n1 1\nInput image 0 1 image\n")
    refused(folder / "model.ncnn.param", "has the inputs and outputs image, .*; a pose network has in0, out0, out1")
    (content,) = onnx_peaks_format().convert(LitePose(tiny.smallest()).eval())
    (folder / "model.onnx").write_bytes(content)
    refused(folder / "model.onnx", "outputs scores, locations, tags; it must have head0, head1")


def test_a_missing_package_is_named_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pnnx", None)
    open_runner(folder / "model.ncnn.param")  # without the converter
    for package in ("ai_edge_litert", "ai_edge_litert.interpreter", "ncnn"):
        monkeypatch.setitem(sys.modules, package, None)
    install = r"needs the package {}; install it with pip install 'litepose-ofa\[{}\]'"
    refused(folder / "model.tflite", f"model.tflite {install.format('ai-edge-litert', 'litert')}")
    refused(folder / "model.ncnn.param", f"model.ncnn.param {install.format('ncnn', 'ncnn')}")
    with pytest.raises(InputError, match=f"format litert_fp16 {install.format('ai-edge-litert', 'litert')}"):
        litert_format(float16=True)
    with pytest.raises(InputError, match=f"format ncnn {install.format('ncnn', 'ncnn')}"):
        ncnn_format()
