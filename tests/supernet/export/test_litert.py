"""LiteRT: what is said when a file or the package is not what it should be."""

import sys
from pathlib import Path

import pytest

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.litert import LitertFormat, open_litert
from litepose_ofa.supernet.network.litepose import LitePose

pytest.importorskip("ai_edge_litert", reason="the extra 'litert' is not installed")


@pytest.fixture(scope="module")
def content(tiny: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("litert")
    LitertFormat().write(folder, LitePose(tiny.smallest()).eval())
    return (folder / "model.tflite").read_bytes()


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    install = r"needs the package ai-edge-litert; install it with pip install 'litepose-ofa\[litert\]'"
    with pytest.raises(InputError, match=f"format litert_fp16 {install}"):
        LitertFormat("float16")
    with pytest.raises(InputError, match=f"model.tflite {install}"):
        open_litert(tmp_path / "model.tflite")


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_damaged_file_is_one_line(kept: float, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.tflite: no such file"):
        LitertFormat().open(tmp_path)
    (tmp_path / "model.tflite").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"model\.tflite: LiteRT cannot open it") as error:
        LitertFormat().open(tmp_path)
    assert "\n" not in str(error.value)


def test_weights_beyond_float16_are_one_line(tiny: SearchSpace, tmp_path: Path) -> None:
    network = LitePose(tiny.smallest()).eval()
    network.get_parameter("first.0.0.weight").data[0] = 1e6
    with pytest.raises(InputError, match=r"format litert_fp16: first\.0\.0.* float16 ends at 65504; use litert"):
        LitertFormat("float16").write(tmp_path, network)
    assert not list(tmp_path.iterdir())
