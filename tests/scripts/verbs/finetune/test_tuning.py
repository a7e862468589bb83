"""Successive halving over finetunings: the best trial is kept, and a trial is a finetuning like any other."""

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.search.reporting.searches import SearchedCell
from litepose_ofa.search.reporting.summary import summarise
from litepose_ofa.search.study.results import Candidate
from litepose_ofa.search.tuning import asha
from litepose_ofa.search.tuning.trials import (
    FinetuningTrial,
    HalvingSettings,
    RungRecord,
    TrialOutcome,
    read_outcome,
)
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.network.checkpoints import load_subnet

RunScript = Callable[..., Any]
ASHA = ("tune=asha", "tune.candidates=2", "tune.num_samples=2", "training.validate_every=0", "tune.max_concurrent=1")
AssertEqual = Callable[[torch.nn.Module, torch.nn.Module], None]
Export = Callable[..., Any]
Info = Callable[[Path], dict[str, Any]]
SubnetPath = Callable[[Path], Path]


def run_here(
    make: Callable[[FinetuningTrial, Path], asha.Training],
    trials: Sequence[FinetuningTrial],
    settings: HalvingSettings,
    *,
    steps: int,
    folder: Path,
) -> list[TrialOutcome]:
    """Train every trial to the end, one after the other, in this process."""
    outcomes = []
    for trial in trials:
        place = folder / asha.TRIALS_FOLDER / trial.name
        for rung in settings.rungs(steps):
            ap = make(trial, place).train_to(rung)
            RungRecord(place).add(rung, ap, 1.5)
        outcomes.append(read_outcome(trial, place, steps))
    return outcomes


def test_the_best_trial_is_kept(
    run_script: RunScript,
    quick: tuple[str, ...],
    searched: Path,
    candidates: list[Candidate],
    monkeypatch: pytest.MonkeyPatch,
    cell: Path,
    subnet_path: SubnetPath,
    info: Info,
    export: Export,
) -> None:
    aps = {0: 0.3, 1: 0.5, 2: 0.4, 3: 0.2}

    def run_and_pretend(*args: Any, **settings: Any) -> list[TrialOutcome]:
        outcomes = run_here(*args, **settings)
        return [replace(outcome, ap=aps[index]) for index, outcome in enumerate(outcomes)]

    monkeypatch.setattr(asha, "run_asha", run_and_pretend)
    command = ("finetune", f"workspace={searched}", *quick, *ASHA, "training.steps=2", "tune.grace_period=1")
    outcome = run_script(*command)
    assert outcome.status == 0, outcome.stderr
    folder = subnet_path(searched).parent
    with (folder / "tune.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    digests = [candidate.arch.digest for candidate in candidates[:2]]
    assert [row["arch_digest"] for row in rows] == digests * 2
    assert [row["state"] for row in rows] == ["finished"] * 4
    assert info(searched)["tuning"] == {"trial": rows[1]["trial"], "num_trials": 4}
    assert info(searched)["rate"] == float(rows[1]["rate"])
    best = load_subnet(folder / "trials" / rows[1]["trial"] / "subnet.safetensors")
    found = load_subnet(subnet_path(searched))
    assert found.arch == best.arch == candidates[1].arch
    trained = dict(best.named_parameters())
    assert all(torch.equal(tensor, trained[name]) for name, tensor in found.named_parameters())
    assert "0.00167 CPU-hours" in outcome.stdout
    assert "already finetuned" in run_script(*command).stdout

    assert export(searched, "finetuned=true").status == 0
    assert Arch.load(searched / "export" / cell / "arch.json") == candidates[1].arch
    summary = summarise([SearchedCell.load(searched, (cell.parent.name, cell.name))])
    assert summary["arch_digest"].tolist() == [candidates[1].arch.digest]
    assert summary["ap_predicted"].isna().all(), "the search's prediction is of its choice"


def test_a_trial_ends_as_the_same_finetuning_alone(
    run_script: RunScript,
    quick: tuple[str, ...],
    searched: Path,
    monkeypatch: pytest.MonkeyPatch,
    subnet_path: SubnetPath,
    assert_equal: AssertEqual,
) -> None:
    alone = Path(shutil.copytree(searched, searched.parent / "alone"))
    monkeypatch.setattr(asha, "run_asha", run_here)
    one = (*ASHA, "tune.candidates=1", "tune.num_samples=1", "tune.rates=[0.5,0.5]")
    assert run_script("finetune", f"workspace={searched}", *quick, *one).status == 0
    assert run_script("finetune", f"workspace={alone}", *quick, "rate=0.5").status == 0
    assert_equal(load_subnet(subnet_path(searched)), load_subnet(subnet_path(alone)))


@pytest.mark.slow
def test_asha_on_ray(
    run_script: RunScript, quick: tuple[str, ...], searched: Path, subnet_path: SubnetPath, info: Info
) -> None:
    command = ("finetune", f"workspace={searched}", *quick, *ASHA)
    outcome = run_script(*command)
    assert outcome.status == 0, outcome.stderr
    folder = subnet_path(searched).parent
    with (folder / "tune.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert rows[0]["state"] == "finished", "nothing was there to compare the first with"
    assert all((row["state"] == "finished") == (row["steps"] == "6") for row in rows)
    best = max((row for row in rows if row["state"] == "finished"), key=lambda row: float(row["ap"]))
    assert info(searched)["tuning"]["trial"] == best["trial"]
    assert outcome.stderr == ""
    assert "already finetuned" in run_script(*command).stdout
