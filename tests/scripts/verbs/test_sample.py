"""Subnets are measured, each once, and fitted to: the files, going on, Ray's workers, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.supernet.files import read_json

RunScript = Callable[..., Any]


@pytest.fixture
def options(trained: Path, quick_evaluation: tuple[str, ...]) -> tuple[str, ...]:
    return (f"workspace={trained}", *quick_evaluation)


def test_samples_grow_and_a_predictor_is_fitted(run_script: RunScript, options: tuple[str, ...], trained: Path) -> None:
    folder = trained / "accuracies"
    assert run_script("sample", *options, "num_subnets=8").status == 0
    few = AccuracySamples.load(folder / "samples.json")
    lines = (folder / "accuracies.jsonl").read_bytes()
    refine = ("num_subnets=14", "refine.budget=4", "refine.batch=4", "refine.tau_width=0.001")
    outcome = run_script("sample", *options, *refine)
    assert outcome.status == 0, outcome.stderr
    samples = AccuracySamples.load(folder / "samples.json")
    assert samples.genomes[:8].tolist() == few.genomes.tolist()
    assert len(samples.ap) in (14, 18)  # equal accuracies leave nothing to learn, and an interval without width
    assert (folder / "accuracies.jsonl").read_bytes().startswith(lines)
    assert len(AccuracyCache(folder / "accuracies.jsonl")) == len(samples.ap)
    outcome = run_script("fit", options[0], "predictor=ridge")
    assert outcome.status == 0, outcome.stderr
    assert "held out" in outcome.stdout
    quality = read_json(trained / "predictor" / "quality.json")
    assert (quality["chosen"], quality["num_samples"]) == ("ridge", len(samples.ap))
    assert (trained / "predictor" / "predictor.png").stat().st_size > 10_000
    assert AccuracyPredictor.load(trained / "predictor" / "predictor.safetensors").kind == "ridge"


@pytest.mark.slow
def test_ray_workers_write_the_files_of_serial(run_script: RunScript, options: tuple[str, ...], trained: Path) -> None:
    written = []
    for backend in (("backend=serial",), ("backend=ray", "backend.num_workers=2", "backend.cpus_per_worker=0.5")):
        outcome = run_script("sample", *options, "num_subnets=6", *backend)
        assert outcome.status == 0, outcome.stderr
        paths = [trained / "accuracies" / name for name in ("accuracies.jsonl", "samples.json")]
        written.append([path.read_bytes() for path in paths])
        for path in paths:
            path.unlink()
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("script", "overrides", "message"),
    [
        ("sample", ["num_subnets=1"], "num_subnets is 1; it must be an integer from 2 to 1000000"),
        ("sample", ["spread_over=toaster"], "toaster"),
        ("sample", ["refine.batch=1"], "refine.batch is 1; it must be an integer of at least 2"),
        ("sample", ["+backend.num_workers=two"], "backend.num_workers is 'two'; it must be an integer"),
        (
            "sample",
            ["backend=ray", "backend.gpus_per_worker=0.5", "accelerator=cpu"],
            "accelerator is 'cpu', but workers with gpus_per_worker 0.5 measure on 'cuda'",
        ),
        ("fit", [], "samples.json: no such file"),
        ("fit", ["predictor=oracle"], "predictor is 'oracle'; it must be one of auto, ridge, gaussian_proc"),
        ("fit", ["folds=1"], "folds is 1; it must be an integer from 2 to 1000"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    run_script: RunScript, options: tuple[str, ...], script: str, overrides: list[str], message: str
) -> None:
    outcome = run_script(script, *(options if script == "sample" else options[:1]), *overrides)
    assert outcome.status == 2
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
