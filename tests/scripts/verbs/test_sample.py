"""Subnets are measured, each once, in this process or by Ray's workers, and a predictor is fitted to them."""

from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.supernet.files import read_json


@pytest.fixture
def sample(run_script: Any, trained: Path, quick_evaluation: tuple[str, ...]) -> Any:
    return lambda *overrides: run_script("sample", f"workspace={trained}", *quick_evaluation, *overrides)


def test_samples_grow_and_a_predictor_is_fitted(sample: Any, run_script: Any, trained: Path) -> None:
    folder = trained / "accuracies"
    assert sample("num_subnets=8").status == 0
    few = AccuracySamples.load(folder / "samples.json")
    lines = (folder / "accuracies.jsonl").read_bytes()
    assert sample("num_subnets=14", "refine.budget=4", "refine.batch=4", "refine.tau_width=0.001").status == 0
    samples = AccuracySamples.load(folder / "samples.json")
    assert samples.genomes[:8].tolist() == few.genomes.tolist()
    assert len(samples.ap) in (14, 18)  # equal accuracies leave nothing to learn, and an interval without width
    assert (folder / "accuracies.jsonl").read_bytes().startswith(lines)
    assert len(AccuracyCache(folder / "accuracies.jsonl")) == len(samples.ap)
    assert "held out" in run_script("fit", f"workspace={trained}", "predictor=ridge").printed
    quality = read_json(trained / "predictor" / "quality.json")
    assert (quality["chosen"], quality["num_samples"]) == ("ridge", len(samples.ap))
    assert (trained / "predictor" / "predictor.png").stat().st_size > 10_000
    assert AccuracyPredictor.load(trained / "predictor" / "predictor.safetensors").kind == "ridge"


@pytest.mark.slow
def test_ray_workers_write_the_files_of_serial(sample: Any, trained: Path) -> None:
    written = []
    for backend in (("backend=serial",), ("backend=ray", "backend.num_workers=2", "backend.cpus_per_worker=0.5")):
        assert sample("num_subnets=6", *backend).status == 0
        paths = [trained / "accuracies" / name for name in ("accuracies.jsonl", "samples.json")]
        written.append([path.read_bytes() for path in paths])
        for path in paths:
            path.unlink()
    assert written[0] == written[1]


def test_workers_measure_on_what_the_study_says(sample: Any) -> None:
    told = sample("backend=ray", "backend.gpus_per_worker=0.5", "accelerator=cpu").refusal
    assert "accelerator is 'cpu', but workers with gpus_per_worker 0.5 measure on 'cuda'" in told
