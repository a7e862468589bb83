"""An export folder is trained, measured and looked through again; one that is not whole is named."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from litepose_ofa.scripts.command.table import module_name
from litepose_ofa.supernet.export.bundle import open_export
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, read_description

RunScript = Callable[..., Any]
Export = Callable[..., Any]
Judge = Callable[[Any], str]


@pytest.fixture
def run_command(
    run_script: RunScript, quick_training: tuple[str, ...], quick_evaluation: tuple[str, ...], data_root: Path
) -> Callable[..., Any]:
    """Run a command of ``subnet.yaml`` as it stands, made quick."""

    def run(command: str, folder: Path, output: Path, *more: str) -> Any:
        program, verb, *overrides = shlex.split(command)
        assert program == "litepose"
        places = {"FOLDER": str(folder), "PICTURES": str(data_root / "people/images/val"), "OUTPUT": str(output)}
        for word, place in places.items():
            overrides = [override.replace(word, place) for override in overrides]
        quick = {"evaluate": ("resamples=0",), "finetune": quick_training, "predict": ()}[verb]
        if verb != "predict":
            quick = (*quick_evaluation, *quick, f"workspace={output}")
        return run_script(module_name(verb), *overrides, *quick, "threads=1", *more)

    return run


def commands_of(bundle: Path) -> dict[str, str]:
    commands: dict[str, str] = yaml.safe_load((bundle / "subnet.yaml").read_text())["commands"]
    return commands


def test_the_commands_of_the_folder_run(
    export: Export, run_command: Callable[..., Any], bundle: Path, finished: Judge, tmp_path: Path
) -> None:
    finished(export("+evaluation.threshold=0.05", "evaluation.flip_test=true", "evaluation.scales=[1.0]"))
    commands, record = commands_of(bundle), open_export(bundle).record
    assert list(commands) == ["evaluate", "finetune", "train", "predict"]
    lines = (bundle / "subnet.yaml").read_text().partition("commands:\n")[2].splitlines()
    assert len(lines) == len(commands), "each can be copied whole"
    assert "'evaluation.scales=[1.0]'" in commands["evaluate"], "brackets are for the shell otherwise"

    finished(run_command(commands["evaluate"], bundle, tmp_path))
    (path,) = (tmp_path / "evaluations").glob("*_val.json")
    measured = read_json(path)
    assert measured["metrics"] == record["accuracy"]["metrics"]
    assert measured["measured_on"]["inference"] == record["measured_on"]["inference"]

    for name, start in (("finetune", str(bundle)), ("train", "scratch")):
        run_folder = tmp_path / name
        finished(run_command(commands[name], bundle, tmp_path, f"hydra.run.dir={run_folder}", "training.steps=1"))
        trained = run_folder / "subnet.safetensors"
        assert load_subnet(trained).arch.digest == record["arch_digest"]
        assert read_description(trained)["info"]["start"] == start

    finished(run_command(commands["predict"], bundle, tmp_path / "predicted"))
    assert len(read_json(tmp_path / "predicted" / "images.json")["images"]) == 4


def test_runtimes_files_are_measured(
    export: Export, run_script: RunScript, bundle: Path, finished: Judge, complaint: Judge, tmp_path: Path
) -> None:
    pytest.importorskip("ncnn")
    finished(export("formats=[onnx,ncnn,onnx_peaks]", "measure_formats=true"))
    formats = open_export(bundle).formats

    def evaluate(file: str, *overrides: str) -> Any:
        places = (f"weights={bundle / file}", f"hydra.run.dir={tmp_path / file}", "threads=1", "resamples=0")
        return run_script("evaluate", *places, *overrides)

    for name, file in (("onnx", "model.onnx"), ("ncnn", "model.ncnn.param")):
        finished(evaluate(file))
        (path,) = (tmp_path / file).glob("*_val.json")
        measured = read_json(path)
        assert measured["metrics"]["AP"] == pytest.approx(formats[name]["accuracy"]["AP"])
        assert measured["measured_on"]["format"] == name
    assert "gives peaks" in complaint(evaluate("model_peaks.onnx"))
    assert "image_size is 64; it must be null or" in complaint(evaluate("model.onnx", "image_size=64"))
    assert "arch is 'largest'; it must be null" in complaint(evaluate("model.onnx", "arch=largest"))


def test_a_folder_that_is_not_whole_is_named(
    export: Export,
    run_command: Callable[..., Any],
    bundle: Path,
    finished: Judge,
    complaint: Judge,
    tmp_path: Path,
) -> None:
    finished(export("formats=[]"))
    weights, manifest = bundle / "weights.safetensors", bundle / "manifest.json"
    content, record = weights.read_bytes(), manifest.read_text()
    for verb in ("evaluate", "finetune", "predict"):
        weights.write_bytes(content)
        manifest.write_text(record)
        command = commands_of(bundle)[verb]
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert "weights.safetensors: is damaged: its SHA-256" in complaint(run_command(command, bundle, tmp_path))
        weights.unlink()
        assert "weights.safetensors: no such file" in complaint(run_command(command, bundle, tmp_path))
        manifest.unlink()
        assert "is not an export folder: it has no manifest.json" in complaint(run_command(command, bundle, tmp_path))
        assert "no such file or folder" in complaint(run_command(command, bundle / "none", tmp_path))
