"""Shipped networks by name, in an empty folder: nothing is trained, and nothing is written beside the outputs."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from litepose_ofa.search.study.results import read_rows
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, load_supernet, weights_digest

QUICK_SEARCH = ("search.first=8", "search.batch=8", "search.generations=1", "search.evolution.generations=5")
SMALL = ("space=small", "threads=1")
MEASURING = ("evaluation.bn_images=4", "evaluation.bn_batch_size=2")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    return path


def digest_of(stand_in: Path, name: str) -> str:
    return weights_digest(load_subnet(stand_in / name / "weights.safetensors"))


def test_people_are_found_by_a_shipped_network(run_script: Any, stand_in: Path, photo: Path) -> None:
    printed = run_script("predict", f"input={photo}", "model=small-m", "threads=1").printed
    assert "small-m, shipped: small-m AP 12.3" in printed
    folder = Path("runs/tiny-people/predictions")
    assert (folder / "pictures" / "photo.jpg").exists()
    assert read_json(folder / "run.json")["config"]["model"] == digest_of(stand_in, "small-m")


def test_names_that_are_none_are_refused(run_script: Any, stand_in: Path, photo: Path) -> None:
    refusal = run_script("predict", f"input={photo}", "model=small-q").refusal
    assert "model is 'small-q'" in refusal
    assert "small, small-l, small-m, small-s, small-xs" in refusal
    assert "is a supernet; say which subnet" in run_script("predict", f"input={photo}", "model=small").refusal
    assert "ships with" in run_script("search", *SMALL, "supernet=small-q").refusal
    assert "holds a subnet, not a supernet" in run_script("evaluate", *SMALL, "supernet=small-m").refusal
    assert not Path("runs").exists()


def test_a_shipped_supernet_is_searched_by_its_predictor(run_script: Any, stand_in: Path) -> None:
    search = (*SMALL, "device=jetson_nano", "tier=m", "supernet=small", *QUICK_SEARCH)
    assert "small, shipped: largest subnet AP 12.3" in run_script("search", *search).printed
    folder = Path("runs/small-people/search/jetson_nano/m")
    chosen = read_json(folder / "chosen.json")
    assert chosen["ap_source"] == "shipped-predictor"
    assert chosen["verified_ap"] is None
    assert {row["ap_source"] for row in read_rows(folder / "front.csv")} == {"shipped-predictor"}
    report = run_script("report", *SMALL, "samples=0").printed
    assert f"{100 * chosen['ap']:.1f} shipped" in report
    assert "nothing was measured here" in report
    assert "lspet" in (Path("runs/small-people/report/report.html")).read_text()
    assert "'tiny'" in run_script("search", "supernet=small", "threads=1").refusal
    assert "null with evaluator=published" in run_script("search", *search, "evaluator=published").refusal


def test_what_was_searched_is_exported_by_ones_own_pictures(run_script: Any, stand_in: Path) -> None:
    supernet = ("supernet=small", "device=jetson_nano", "tier=m")
    assert run_script("search", *SMALL, *supernet, *QUICK_SEARCH).status == 0
    run_script("export", *SMALL, *supernet, *MEASURING, "formats=[]", "resamples=0").printed  # noqa: B018
    folder = Path("runs/small-people/export/jetson_nano/m")
    source = read_json(folder / "manifest.json")["source"]
    assert source["checkpoint"] == "the shipped small"
    assert source["weights"] == weights_digest(load_supernet(stand_in / "small" / "supernet.safetensors"))
    assert "the shipped small" in (folder / "card.md").read_text()


def test_shipped_networks_are_evaluated(run_script: Any, stand_in: Path) -> None:
    digest = digest_of(stand_in, "small-xs")
    assert f"small-xs_{digest}, " in run_script("evaluate", *SMALL, "weights=small-xs", "resamples=0").printed
    supernet = ("supernet=small", "arch=smallest", "resamples=0", *MEASURING)
    assert run_script("evaluate", *SMALL, *supernet).status == 0
    measured = {path.name for path in Path("runs/small-people/evaluations").glob("*_val.json")}
    digests = weights_digest(load_supernet(stand_in / "small" / "supernet.safetensors"))
    arch = load_supernet(stand_in / "small" / "supernet.safetensors").space.smallest().digest
    assert measured == {f"small-xs_{digest}_val.json", f"{arch}_{digests}_val.json"}


def test_trainings_start_from_shipped_networks(
    run_script: Any, stand_in: Path, quick_training: tuple[str, ...]
) -> None:
    quick = (*SMALL, *quick_training, *MEASURING, "training.steps=1", "training.epochs=null", "training.workers=0")
    start = ("start=small-xs", "share=1", "rate=1e-6", "device=host_cpu", "tier=mine", "teacher.weights=small-s")
    assert "small-s, shipped" in run_script("finetune", *quick, *start).printed
    tuned = load_subnet("runs/small-people/finetune/host_cpu/mine/subnet.safetensors")
    shipped = load_subnet(stand_in / "small-xs" / "weights.safetensors")
    assert tuned.arch == shipped.arch
    assert (
        "small, shipped" in run_script("train", *quick, "init_from=small", "training.learning_rate.peak=1e-9").printed
    )
    supernet = load_supernet("runs/small-people/supernet/supernet.safetensors")
    for name, weight in load_supernet(stand_in / "small" / "supernet.safetensors").named_parameters():
        assert (supernet.get_parameter(name) - weight).abs().max() < 1e-6, name
