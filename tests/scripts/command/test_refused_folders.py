"""A run that is refused leaves no folder behind, and nothing that was there is touched."""

import os
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.scripts.command.refused_folders import remove_if_empty


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("script", "overrides"),
    [
        ("train", ("training.steps=many",)),
        ("train", ("dataset.root=/nowhere",)),
        ("train", ("training.augmentation.scale=[1.5,0.75]",)),
        ("evaluate", ()),
        ("fit", ()),
        ("search", ("tier=m",)),
        ("search", ("tier=../m",)),
        ("search", ("-m", "tier=s,m", "device=jetson_nano")),
        ("export", ("tier=m",)),
        ("predict", ("input=nothing", "model=nothing")),
        ("check_dataset", ("dataset.skeleton=cat",)),
    ],
)
def test_a_refused_run_leaves_nothing(
    run_script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, overrides: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_script(script, f"workspace={tmp_path / 'new' / 'run'}", "threads=1", *overrides)
    assert outcome.status == 2, outcome.stderr
    assert tree(tmp_path) == []


def test_what_was_there_stays(run_script: Any, tmp_path: Path) -> None:
    workspace = tmp_path / "mine"
    (workspace / "evaluations").mkdir(parents=True)
    (workspace / "notes").mkdir()
    (workspace / "notes" / "empty.log").touch()
    assert run_script("evaluate", f"workspace={workspace}", "threads=1").status == 2
    assert run_script("fit", f"workspace={workspace}").status == 2
    assert {"notes", "notes/empty.log", "evaluations"} <= set(tree(workspace))
    assert not (workspace / "predictor").exists()


def test_a_finished_run_of_a_sweep_keeps_its_folder(run_script: Any, tmp_path: Path) -> None:
    small = ("search.first=8", "search.generations=0", "evaluator=published", "device=jetson_nano")
    outcome = run_script("search", "-m", f"workspace={tmp_path / 'new'}", "tier=m,none", *small)
    assert outcome.status == 2
    assert os.listdir(tmp_path / "new" / "search" / "jetson_nano") == ["m"]


def test_only_empty_logs_are_removed_with_a_folder(tmp_path: Path) -> None:
    for name in ("a/kept.txt", "a/b/x.log", "a/c/.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("a/b", "a/c"):
        remove_if_empty(tmp_path / name, tmp_path)
    assert tree(tmp_path) == ["a", "a/c", "a/c/.lock", "a/kept.txt"], "another process writes to c"
