"""The report on workspaces that searches left: whole sweeps, killed ones, mixed ones, empty ones."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from litepose_ofa.scripts.verbs.report import planned_cells
from litepose_ofa.supernet.files import write_text

SMALL = (
    "evaluator=published", "search.first=20", "search.batch=8", "search.generations=1",
    "search.evolution.population=20", "search.evolution.generations=3",
)  # fmt: skip
SWEEP = ("device=jetson_nano,raspberry_pi_4b", "tier=xs,l", "--multirun")


@pytest.fixture(scope="module")
def _swept(start_script: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("swept")
    start_script("search", f"workspace={workspace}", *SMALL, *SWEEP)
    return workspace


@pytest.fixture
def swept(_swept: Path, tmp_path: Path) -> Path:
    """A workspace with a sweep over two devices and two tiers; a copy that the test may change."""
    return Path(shutil.copytree(_swept, tmp_path / "swept"))


def test_a_sweep_is_one_table(run_script: Any, swept: Path) -> None:
    printed = run_script("report", str(swept)).printed
    folder = swept / "report"
    summary = pd.read_csv(folder / "summary.csv")
    cells = [(device, tier) for device in ("jetson_nano", "raspberry_pi_4b") for tier in ("xs", "l")]
    assert [*zip(summary["device"], summary["tier"], strict=True)] == cells
    assert (summary["latency_ms"] <= summary["budget_ms"]).all()
    assert "SURROGATE" in printed
    assert "Missing" not in printed
    written = {path.name for path in folder.iterdir()}
    assert written >= {"summary.csv", "summary.txt", "front.csv", "front.png", "hypervolume.csv", "hypervolume.png"}
    assert written >= {"importance.csv", "importance.png", "run.json", "report.html"}
    assert (folder / "report.html").stat().st_size < 5e6
    before = (folder / "summary.csv").read_bytes(), (folder / "importance.csv").read_bytes()
    assert run_script("report", f"workspace={swept}").status == 0
    assert before == ((folder / "summary.csv").read_bytes(), (folder / "importance.csv").read_bytes())


def test_a_killed_sweep_is_reported_with_what_it_lacks(run_script: Any, swept: Path) -> None:
    (swept / "search" / "raspberry_pi_4b" / "xs" / "chosen.json").unlink()
    damaged = swept / "predictor" / "predictor.safetensors"
    write_text(damaged, "torn")
    shutil.rmtree(swept / "search" / "raspberry_pi_4b" / "l")
    printed = run_script("report", f"workspace={swept}").printed
    assert len(pd.read_csv(swept / "report" / "summary.csv")) == 2
    assert "- raspberry_pi_4b/xs: not searched to the end; the same litepose search goes on" in printed
    assert "- raspberry_pi_4b/l: not searched; run litepose search" in printed
    assert f"- jetson_nano/xs, jetson_nano/l: left out: {damaged}: is no" in printed


def test_other_searches_get_a_report_of_their_own(run_script: Any, swept: Path) -> None:
    write_text(swept / "report" / "summary.csv", "of an earlier report")
    other = ("published=coco", "device=host_cpu", "tier=m")
    assert run_script("search", f"workspace={swept}", *SMALL, *other).status == 0
    assert "a report each" in run_script("report", f"workspace={swept}").printed
    reports = sorted((swept / "report").glob("tiny-published-surrogate-*/summary.csv"))
    assert sorted(len(pd.read_csv(path)) for path in reports) == [1, 4]
    assert not (swept / "report" / "summary.csv").exists(), "the earlier report had not all of it"
    index = (swept / "report" / "report.html").read_text()
    assert all(f'href="{path.parent.name}/report.html"' in index for path in reports)


def test_nothing_to_report_is_one_line(run_script: Any, tmp_path: Path) -> None:
    workspace = tmp_path / "it's a (run)"
    assert run_script("report", str(workspace)).refusal.startswith(f"error: {workspace}: no such folder; ")
    assert not workspace.exists()
    workspace.mkdir()
    told = f"error: {workspace}: no search that has ended; run litepose search first\n"
    assert run_script("report", str(workspace)).refusal == told


@pytest.mark.parametrize(
    ("overrides", "planned"),
    [
        ("[device=a, 'tier=xs,s']", [("a", "xs"), ("a", "s")]),
        ("[tier=m]", []),
        ("[{device: a}]", []),
        ("['device=a,b', 'tier=choice(xs,s)']", []),
        ("7", []),
    ],
)
def test_a_sweeps_record_names_the_planned_cells(
    tmp_path: Path, overrides: str, planned: list[tuple[str, str]]
) -> None:
    assert planned_cells(tmp_path) == []
    for config, expected in (("search", planned), ("export", [])):
        record = f"hydra:\n  job:\n    config_name: {config}\n  overrides:\n    task: {overrides}\n"
        (tmp_path / "multirun.yaml").write_text(record)
        assert planned_cells(tmp_path) == expected
