"""The kit's folder and its manifest."""

import json
from pathlib import Path

import onnx
import pytest

from litepose_ofa.latency_tables.profiling.kit import BOARD_FILES, MANIFEST_FILE, Manifest, write_kit
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan
from litepose_ofa.supernet.errors import InputError


def test_a_kit_holds_its_models_its_scripts_and_nothing_else(kit: Path, plan: ProfilingPlan, tmp_path: Path) -> None:
    files = {path.relative_to(kit).as_posix() for path in kit.rglob("*") if path.is_file()}
    models = {f"models/{subject.id}.onnx" for subject in plan.subjects}
    assert files == models | {MANIFEST_FILE, *BOARD_FILES, "backend_onnxruntime.py"}
    write_kit(tmp_path / "kit", plan, "onnxruntime")
    for file in files:
        assert (tmp_path / "kit" / file).read_bytes() == (kit / file).read_bytes(), "equal plans are equal kits"


def test_the_manifest_says_what_every_model_is(kit: Path, plan: ProfilingPlan) -> None:
    assert Manifest.load(kit).plan == plan
    assert (plan.spaces, plan.num_keypoints, plan.operators) == (("tiny",), (14,), 302)
    for entry in json.loads((kit / MANIFEST_FILE).read_text())["models"]:
        graph = onnx.load(kit / entry["files"][0]).graph
        shapes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in graph.input]
        assert shapes == entry["input_shapes"]


def test_a_folder_with_something_in_it_is_not_written_over(plan: ProfilingPlan, tmp_path: Path) -> None:
    (tmp_path / "measurements.csv").write_text("precious")
    with pytest.raises(InputError, match="is there already; a kit is written into a new folder"):
        write_kit(tmp_path, plan, "onnxruntime")
    assert [path.name for path in tmp_path.iterdir()] == ["measurements.csv"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 2', '"format": 1', "is not a kit's manifest: format is 1; this program reads 2"),
        ('"copies": 1', '"copies": 3', "was changed after the kit was written"),
        ('"resolution": 64', '"resolution": "64"', "was changed after the kit was written"),
    ],
)
def test_a_damaged_manifest_is_named(old: str, new: str, message: str, kit: Path, tmp_path: Path) -> None:
    text = (kit / MANIFEST_FILE).read_text()
    assert old in text
    path = tmp_path / MANIFEST_FILE
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        Manifest.load(path)
    assert str(error.value).startswith(f"{path}: {message}")
