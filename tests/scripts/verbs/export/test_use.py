"""An export folder is trained, measured and looked through again; one that is damaged is named."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from litepose_ofa.scripts.command.table import module_name
from litepose_ofa.supernet.export.bundle import open_export
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, read_description


@pytest.fixture
def run_command(
    run_script: Any, quick_training: tuple[str, ...], quick_evaluation: tuple[str, ...], data_root: Path
) -> Any:
    """Run a command of ``subnet.yaml`` as it stands, made quick."""

    def run(command: str, folder: Path, output: Path, *more: str) -> Any:
        places = {"FOLDER": folder, "PICTURES": data_root / "people/images/val", "OUTPUT": output}
        for word, place in places.items():
            command = command.replace(word, str(place))
        program, verb, *overrides = shlex.split(command)
        assert program == "litepose"
        measured = (*quick_evaluation, f"workspace={output}")
        quick = {"evaluate": (*measured, "resamples=0"), "finetune": (*measured, *quick_training), "predict": ()}[verb]
        return run_script(module_name(verb), *overrides, *quick, "threads=1", *more)

    return run


def commands_of(bundle: Path) -> dict[str, str]:
    commands: dict[str, str] = yaml.safe_load((bundle / "subnet.yaml").read_text())["commands"]
    return commands


def test_the_commands_of_the_folder_run(export: Any, run_command: Any, bundle: Path, tmp_path: Path) -> None:
    settings = ("formats=[]", "evaluation.threshold=0.05", "evaluation.flip_test=true", "evaluation.scales=[1.0]")
    assert export(*settings).status == 0
    commands, record = commands_of(bundle), open_export(bundle).record
    assert list(commands) == ["evaluate", "finetune", "train", "predict"]
    lines = (bundle / "subnet.yaml").read_text().partition("commands:\n")[2].splitlines()
    assert len(lines) == len(commands), "each can be copied whole"
    assert "'evaluation.scales=[1.0]'" in commands["evaluate"], "brackets are for the shell otherwise"

    assert run_command(commands["evaluate"], bundle, tmp_path).status == 0
    (path,) = (tmp_path / "evaluations").glob("*_val.json")
    measured = read_json(path)
    assert measured["metrics"] == record["accuracy"]["metrics"]
    assert measured["measured_on"]["inference"] == record["measured_on"]["inference"]

    for name, start in (("finetune", str(bundle)), ("train", "scratch")):
        run_folder = f"hydra.run.dir={tmp_path / name}"
        assert run_command(commands[name], bundle, tmp_path, run_folder, "training.steps=1").status == 0
        trained = tmp_path / name / "subnet.safetensors"
        assert load_subnet(trained).arch.digest == record["arch_digest"]
        assert read_description(trained)["info"]["start"] == start

    assert run_command(commands["predict"], bundle, tmp_path / "predicted").status == 0
    assert len(read_json(tmp_path / "predicted" / "images.json")["images"]) == 4

    weights = bundle / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    for verb in ("evaluate", "finetune", "predict"):
        told = run_command(commands[verb], bundle, tmp_path / "damaged").refusal
        assert "weights.safetensors: is damaged: its SHA-256" in told


def test_runtimes_files_are_measured(export: Any, run_script: Any, bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    assert export("formats=[onnx,ncnn,onnx_peaks]", "measure_formats=true").status == 0
    formats = open_export(bundle).formats

    def evaluate(file: str, *overrides: str) -> Any:
        places = (f"weights={bundle / file}", f"hydra.run.dir={tmp_path / file}", "threads=1", "resamples=0")
        return run_script("evaluate", *places, *overrides)

    for name, file in (("onnx", "model.onnx"), ("ncnn", "model.ncnn.param")):
        assert evaluate(file).status == 0
        (path,) = (tmp_path / file).glob("*_val.json")
        measured = read_json(path)
        assert measured["metrics"]["AP"] == pytest.approx(formats[name]["accuracy"]["AP"])
        assert measured["measured_on"]["format"] == name
    assert "gives peaks" in evaluate("model_peaks.onnx").refusal
    assert "image_size is 64; it must be null or" in evaluate("model.onnx", "image_size=64").refusal
    assert "arch is 'largest'; it must be null" in evaluate("model.onnx", "arch=largest").refusal
