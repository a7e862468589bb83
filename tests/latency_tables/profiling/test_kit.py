"""The kit's folder and its manifest."""

import json
from pathlib import Path

import onnx
import pytest

from litepose_ofa.latency_tables.profiling.exporters import EXPORTERS, Exporter, find_exporter
from litepose_ofa.latency_tables.profiling.kit import BOARD_DIR, BOARD_FILES, MANIFEST_FILE, Manifest, write_kit
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan
from litepose_ofa.latency_tables.profiling.subjects import OperatorChain
from litepose_ofa.supernet.errors import InputError


def test_a_kit_holds_its_models_its_scripts_and_nothing_else(kit: Path, plan: ProfilingPlan) -> None:
    files = {path.relative_to(kit).as_posix() for path in kit.rglob("*") if path.is_file()}
    models = {f"models/{subject.id}.onnx" for subject in plan.subjects}
    assert files == models | {MANIFEST_FILE, *BOARD_FILES, "backend_onnxruntime.py"}


def test_the_manifest_says_what_every_model_is(kit: Path, plan: ProfilingPlan) -> None:
    manifest = Manifest.load(kit)
    assert tuple(model.subject for model in manifest.models) == plan.subjects
    assert (manifest.spaces, manifest.num_keypoints, manifest.operators) == (("tiny",), (14,), 302)
    assert manifest.probe == plan.probe.id
    for entry in json.loads((kit / MANIFEST_FILE).read_text())["models"]:
        graph = onnx.load(kit / entry["files"][0]).graph
        shapes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in graph.input]
        assert shapes == entry["input_shapes"]


def test_equal_plans_are_equal_kits(kit: Path, plan: ProfilingPlan, tmp_path: Path) -> None:
    write_kit(tmp_path / "kit", plan, "onnxruntime")
    for path in kit.rglob("*.*"):
        assert (tmp_path / "kit" / path.relative_to(kit)).read_bytes() == path.read_bytes()


def test_a_folder_with_something_in_it_is_not_written_over(plan: ProfilingPlan, tmp_path: Path) -> None:
    (tmp_path / "measurements.csv").write_text("precious")
    with pytest.raises(InputError, match="is there already; a kit is written into a new folder"):
        write_kit(tmp_path, plan, "onnxruntime")
    assert [path.name for path in tmp_path.iterdir()] == ["measurements.csv"]


def test_a_kit_that_fails_half_way_leaves_nothing(
    plan: ProfilingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(subject: object, stem: Path) -> list[Path]:
        stem.write_text("half")
        if isinstance(subject, OperatorChain):
            raise OSError("disk full")
        return [stem]

    monkeypatch.setitem(EXPORTERS, "onnxruntime", Exporter("backend_onnxruntime.py", export))
    with pytest.raises(OSError, match="disk full"):
        write_kit(tmp_path / "kit", plan, "onnxruntime")
    assert list(tmp_path.iterdir()) == []


def test_every_runtime_has_a_backend_for_the_board() -> None:
    assert all((BOARD_DIR / exporter.backend).is_file() for exporter in EXPORTERS.values())
    with pytest.raises(InputError, match=r"unknown runtime 'tvm'; known: .*onnxruntime"):
        find_exporter("tvm")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 2', '"format": 1', "format is 1; this program reads 2"),
        ('"copies": 1', '"copies": 3', "was changed after the kit was written"),
        ('"resolution": 64', '"resolution": "64"', "is no kit's manifest (an operator's shape is integers)"),
        ('"probe"', '"robe"', "is no kit's manifest (lacks 'probe')"),
        ('"img_size": 128', '"img_size": 100', "img_size is 100; it must be a multiple of 16"),
    ],
)
def test_a_damaged_manifest_is_named(old: str, new: str, message: str, kit: Path, tmp_path: Path) -> None:
    text = (kit / MANIFEST_FILE).read_text()
    assert old in text
    path = tmp_path / MANIFEST_FILE
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        Manifest.load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
