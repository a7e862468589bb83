"""What an export is named, what it replaces, and what is left of one that did not end."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.bundle import open_export
from litepose_ofa.supernet.files import _before, read_json

Export = Callable[..., Any]
Judge = Callable[[Any], str]


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if ".runs" not in path.parts)


@pytest.mark.parametrize("override", ["tier=../m", "tier=.runs", "device.name=../x"])
def test_a_name_that_leads_elsewhere_is_refused(
    export: Export, searched: Path, complaint: Judge, override: str
) -> None:
    before = listing(searched.parent)
    key, _, value = override.partition("=")
    told = complaint(export(override)).removeprefix("error: ").replace("'", "")
    assert told.startswith(f"{key} is {value or repr('')}".replace("'", ""))
    assert "interpolation" not in told
    assert listing(searched.parent) == before


def test_it_is_written_once_and_again_where_something_changed(export: Export, bundle: Path, finished: Judge) -> None:
    assert "equal to the supernet on 2 images, AP" in finished(export())
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    changed = bundle.stat().st_mtime_ns
    assert "already exported" in finished(export())
    assert bundle.stat().st_mtime_ns == changed
    for overrides in (("onnx.batch=dynamic",), ("formats=[]", "resamples=0")):
        assert "already" not in finished(export(*overrides))
        assert "already exported" in finished(export(*overrides))
    (bundle / "arch.json").write_text("{}")
    assert "already" not in finished(export())
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before, "equal inputs, equal bytes"


def test_an_architecture_of_one_s_own_gets_a_folder_of_its_own(
    export: Export, bundle: Path, finished: Judge, complaint: Judge, tmp_path: Path
) -> None:
    finished(export())
    before = read_json(bundle / "manifest.json")
    smallest = SearchSpace.preset("tiny").smallest()
    smallest.save(tmp_path / "own.json")
    finished(export(f"arch={tmp_path / 'own.json'}"))
    manifest = open_export(bundle.with_name(smallest.digest))
    assert (manifest.record["tier"], manifest.record["search"]) == (None, None)
    assert Arch.load(manifest.folder / "arch.json") == smallest
    assert read_json(bundle / "manifest.json") == before
    smallest.with_image_size(64).save(tmp_path / "own.json")
    assert "is not in the space 'tiny'" in complaint(export(f"arch={tmp_path / 'own.json'}"))


def test_a_folder_of_others_is_not_replaced(export: Export, bundle: Path, complaint: Judge, finished: Judge) -> None:
    bundle.mkdir(parents=True)
    (bundle / "thesis.tex").write_text("mine")
    assert "holds other things than an export (manifest.json is missing); move it away" in complaint(export())
    assert listing(bundle) == ["thesis.tex"]
    (bundle / "manifest.json").write_text('{"onnx": {}}')
    finished(export())
    assert "thesis.tex" not in listing(open_export(bundle).folder)


def test_what_killed_exports_left_is_swept(export: Export, bundle: Path, finished: Judge) -> None:
    left = bundle.with_name(".litepose-0123.tmp.folder")
    left.mkdir(parents=True)
    left.with_suffix("").touch()
    (left / "model.onnx").write_bytes(b"half")
    finished(export())
    assert [path.name for path in bundle.parent.iterdir()] == ["m"]
    before = _before(bundle)
    bundle.rename(before)
    assert "already exported" in finished(export())
    before.mkdir()
    (before / "model.onnx").write_bytes(b"half removed")
    assert "already exported" in finished(export())
    assert [path.name for path in bundle.parent.iterdir()] == ["m"]


def test_a_run_folder_of_one_s_own_gets_nothing_beside_it(export: Export, finished: Judge, tmp_path: Path) -> None:
    finished(export("formats=[]", f"hydra.run.dir={tmp_path / 'mine' / 'run'}"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("formats=[onnx,onnx]", "it must be a list of different names"),
        ("formats=[tensorflow]", "formats is 'tensorflow'; it must be of onnx, onnx_int8, onnx_peaks, litert"),
        ("onnx.opset=5", "onnx.opset is 5; it must be an integer from 13 to 22"),
        ("device.decoding=none.yaml", "none.yaml"),
        ("device.table=5", "unknown latency table '5'"),
        ("tier=xl", "chosen.json: no such file; search first"),
    ],
)
def test_a_bad_setting_is_named(export: Export, searched: Path, complaint: Judge, override: str, told: str) -> None:
    assert told in complaint(export(*override.split()))
    assert not [name for name in listing(searched) if name.startswith("export/")]


@pytest.mark.parametrize(("name", "extra"), [("litert", "litert"), ("ncnn", "ncnn"), ("ncnn_fp16", "ncnn")])
def test_a_missing_package_is_named_before_anything_is_measured(
    export: Export,
    searched: Path,
    complaint: Judge,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    extra: str,
) -> None:
    for package in ("ai_edge_litert", "ncnn", "pnnx"):
        monkeypatch.setitem(sys.modules, package, None)
    told = complaint(export(f"formats=[onnx,{name}]"))
    assert f"pip install 'litepose-ofa[{extra}]'" in told
    assert not [name for name in listing(searched) if name.startswith("export/")]
