"""An export's name, what it replaces, and when it is written again."""

import sys
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.bundle import open_export
from litepose_ofa.supernet.files import read_json


def test_it_is_written_once_and_again_where_something_changed(export: Any, bundle: Path) -> None:
    assert "equal to the supernet on 2 images, AP" in export().printed
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    changed = bundle.stat().st_mtime_ns
    assert "already exported" in export().printed
    assert bundle.stat().st_mtime_ns == changed
    for overrides in (("onnx.batch=dynamic",), ("formats=[]", "resamples=0")):
        assert "already" not in export(*overrides).printed
        assert "already exported" in export(*overrides).printed
    (bundle / "arch.json").write_text("{}")
    assert "already" not in export().printed
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before, "equal inputs, equal bytes"


def test_an_architecture_of_one_s_own_gets_a_folder_of_its_own(export: Any, bundle: Path, tmp_path: Path) -> None:
    assert export("formats=[]").status == 0
    before = read_json(bundle / "manifest.json")
    smallest = SearchSpace.preset("tiny").smallest()
    smallest.save(tmp_path / "own.json")
    own = ("formats=[]", f"arch={tmp_path / 'own.json'}")
    assert export(*own).status == 0
    manifest = open_export(bundle.with_name(smallest.digest))
    assert (manifest.record["tier"], manifest.record["search"]) == (None, None)
    assert Arch.load(manifest.folder / "arch.json") == smallest
    assert read_json(bundle / "manifest.json") == before
    smallest.with_image_size(64).save(tmp_path / "own.json")
    assert "is not in the space 'tiny'" in export(*own).refusal


def test_a_folder_of_others_is_not_replaced(export: Any, bundle: Path) -> None:
    bundle.mkdir(parents=True)
    (bundle / "thesis.tex").write_text("mine")
    assert "holds other things than an export (manifest.json is missing); move it away" in export().refusal
    assert [path.name for path in bundle.iterdir()] == ["thesis.tex"]
    (bundle / "manifest.json").write_text('{"onnx": {}}')
    assert export("formats=[]").status == 0
    assert not (open_export(bundle).folder / "thesis.tex").exists()


def test_a_run_folder_of_one_s_own_gets_nothing_beside_it(export: Any, tmp_path: Path) -> None:
    assert export("formats=[]", f"hydra.run.dir={tmp_path / 'mine' / 'run'}").status == 0
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["run"]


@pytest.mark.parametrize(("name", "extra"), [("litert", "litert"), ("ncnn_fp16", "ncnn")])
def test_a_missing_package_is_named_before_anything_is_measured(
    export: Any, searched: Path, monkeypatch: pytest.MonkeyPatch, name: str, extra: str
) -> None:
    for package in ("ai_edge_litert", "ncnn", "pnnx"):
        monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install 'litepose-ofa[{extra}]'" in export(f"formats=[onnx,{name}]").refusal
    assert not (searched / "export" / "raspberry_pi_4b").exists()
