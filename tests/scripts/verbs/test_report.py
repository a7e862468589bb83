"""The report script on workspaces that searches left: whole sweeps, killed ones, mixed ones, empty ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from litepose_ofa.scripts.verbs.report import name_workspace, planned_cells
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import write_text

RunScript = Callable[..., Any]
SMALL = (
    "evaluator=published", "search.first=20", "search.batch=8", "search.generations=1",
    "search.evolution.population=20", "search.evolution.generations=3",
)  # fmt: skip
SWEEP = ("device=jetson_nano,raspberry_pi_4b", "tier=xs,l", "--multirun")


@pytest.fixture
def swept(run_script: RunScript, tmp_path: Path) -> Path:
    """A workspace with a sweep over two devices and two tiers."""
    outcome = run_script("search", f"workspace={tmp_path}", *SMALL, *SWEEP)
    assert outcome.status == 0, outcome.stderr
    return tmp_path


def test_a_sweep_is_one_table(run_script: RunScript, swept: Path) -> None:
    outcome = run_script("report", f"workspace={swept}")
    assert outcome.status == 0, outcome.stderr
    folder = swept / "report"
    summary = pd.read_csv(folder / "summary.csv")
    cells = [(device, tier) for device in ("jetson_nano", "raspberry_pi_4b") for tier in ("xs", "l")]
    assert [*zip(summary["device"], summary["tier"], strict=True)] == cells
    assert (summary["latency_ms"] <= summary["budget_ms"]).all()
    assert "SURROGATE" in outcome.stdout
    assert "Missing" not in outcome.stdout
    written = {path.name for path in folder.iterdir()}
    assert written >= {"summary.csv", "summary.txt", "front.csv", "front.png", "hypervolume.csv", "hypervolume.png"}
    assert written >= {"importance.csv", "importance.png", "run.json", "report.html"}
    assert (folder / "report.html").stat().st_size < 5e6
    before = (folder / "summary.csv").read_bytes(), (folder / "importance.csv").read_bytes()
    assert run_script("report", f"workspace={swept}").status == 0
    assert before == ((folder / "summary.csv").read_bytes(), (folder / "importance.csv").read_bytes())


def test_a_killed_sweep_is_reported_with_what_it_lacks(run_script: RunScript, swept: Path) -> None:
    (swept / "search" / "raspberry_pi_4b" / "xs" / "chosen.json").unlink()
    write_text(swept / "predictor" / "predictor.safetensors", "torn")
    for path in (swept / "search" / "raspberry_pi_4b" / "l").iterdir():
        path.unlink()
    (swept / "search" / "raspberry_pi_4b" / "l").rmdir()
    outcome = run_script("report", f"workspace={swept}")
    assert outcome.status == 0, outcome.stderr
    assert len(pd.read_csv(swept / "report" / "summary.csv")) == 2
    assert "- raspberry_pi_4b/xs: not searched to the end; the same litepose search goes on" in outcome.stdout
    assert "- raspberry_pi_4b/l: not searched; run litepose search" in outcome.stdout
    damaged = swept / "predictor" / "predictor.safetensors"
    assert f"- jetson_nano/xs, jetson_nano/l: left out: {damaged}: is no" in outcome.stdout


def test_other_searches_get_a_report_of_their_own(run_script: RunScript, swept: Path) -> None:
    write_text(swept / "report" / "summary.csv", "of an earlier report")
    other = ("published=coco", "device=host_cpu", "tier=m")
    assert run_script("search", f"workspace={swept}", *SMALL, *other).status == 0
    outcome = run_script("report", f"workspace={swept}")
    assert outcome.status == 0, outcome.stderr
    assert "a report each" in outcome.stdout
    reports = sorted((swept / "report").glob("tiny-published-surrogate-*/summary.csv"))
    assert sorted(len(pd.read_csv(path)) for path in reports) == [1, 4]
    assert not (swept / "report" / "summary.csv").exists(), "the earlier report had not all of it"
    index = (swept / "report" / "report.html").read_text()
    assert all(f'href="{path.parent.name}/report.html"' in index for path in reports)


def test_nothing_to_report_is_one_line(run_script: RunScript, tmp_path: Path) -> None:
    outcome = run_script("report", f"workspace={tmp_path}")
    assert outcome.status == 2
    assert outcome.stderr == f"error: {tmp_path}: no search that has ended; run litepose search first\n"


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
    record = "hydra:\n  job:\n    config_name: {}\n  overrides:\n    task: {}\n"
    (tmp_path / "multirun.yaml").write_text(record.format("search", overrides))
    assert planned_cells(tmp_path) == planned
    (tmp_path / "multirun.yaml").write_text(record.format("export", overrides))
    assert planned_cells(tmp_path) == []


@pytest.mark.parametrize("count", ["-1", "1.5", "four", "true"])
def test_samples_are_a_count_or_an_earlier_report_stays(run_script: RunScript, tmp_path: Path, count: str) -> None:
    report = tmp_path / "report" / "report.html"
    write_text(report, "earlier")
    outcome = run_script("report", f"workspace={tmp_path}", f"samples={count}")
    assert (outcome.status, report.read_text()) == (2, "earlier")
    assert outcome.stderr.startswith("error: samples is ")
    assert outcome.stderr.endswith("; it must be an integer from 0 to 1000\n")


def test_without_a_sweep_nothing_is_planned(tmp_path: Path) -> None:
    assert planned_cells(tmp_path) == []


def test_a_workspace_may_be_named_by_its_path_alone(run_script: RunScript, tmp_path: Path) -> None:
    workspace = tmp_path / "it's a (run)"
    workspace.mkdir()
    outcome = run_script("report", str(workspace))
    assert outcome.stderr == f"error: {workspace}: no search that has ended; run litepose search first\n"


def test_a_missing_workspace_is_one_line_and_is_not_made(run_script: RunScript, tmp_path: Path) -> None:
    outcome = run_script("report", str(tmp_path / "none"))
    assert outcome.status == 2
    assert outcome.stderr.startswith(f"error: {tmp_path / 'none'}: no such folder; ")
    assert outcome.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["{}", "seed=3"], ["workspace={}", "seed=3"]),
        (["seed=3", "{}"], ["seed=3", "workspace={}"]),
        (["--config-dir", "own", "~samples", "workspace={}"], ["--config-dir", "own", "~samples", "workspace={}"]),
        (["-m", "{}"], ["-m", "workspace={}"]),
        ([], []),
    ],
)
def test_only_what_stands_alone_is_a_workspace(tmp_path: Path, arguments: list[str], named: list[str]) -> None:
    filled = [argument.format(tmp_path) for argument in arguments]
    assert name_workspace(filled) == [argument.format(tmp_path) for argument in named]
    with pytest.raises(InputError, match="no such folder"):
        name_workspace([*filled, "x", str(tmp_path / "nowhere")])
