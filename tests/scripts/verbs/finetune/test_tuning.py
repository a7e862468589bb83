"""Successive halving over finetunings: the best trial is kept, and a trial is a finetuning like any other."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.search.tuning import asha
from litepose_ofa.search.tuning.trials import Rung, RungRecord, TrialOutcome, read_outcome
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.network.checkpoints import load_subnet

ASHA = ("tune=asha", "tune.candidates=2", "tune.num_samples=2", "training.validate_every=0", "tune.max_concurrent=1")


def tuned(folder: Path) -> list[dict[str, str]]:
    with (folder / "tune.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def run_here(make: Any, trials: Any, settings: Any, *, steps: int, folder: Path) -> list[TrialOutcome]:
    """Train every trial to the end, one after the other, in this process."""
    outcomes = []
    for trial in trials:
        place = folder / asha.TRIALS_FOLDER / trial.name
        for rung in settings.rungs(steps):
            ap = make(trial, place)(rung)
            RungRecord(place).add(Rung(step=rung, ap=ap, seconds=1.5, diverged=None))
        outcomes.append(read_outcome(trial, place, steps))
    return outcomes


def test_the_best_trial_is_kept(
    jobs: Any, searched: Path, candidates: Any, export: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aps = {0: 0.3, 1: 0.5, 2: 0.4, 3: 0.2}

    def run_and_pretend(*args: Any, **settings: Any) -> list[TrialOutcome]:
        outcomes = run_here(*args, **settings)
        return [replace(outcome, ap=aps[index]) for index, outcome in enumerate(outcomes)]

    monkeypatch.setattr(asha, "run_asha", run_and_pretend)
    settings = (*ASHA, "training.steps=2", "tune.grace_period=1")
    outcome = jobs.finetune(searched, *settings)
    folder, rows = jobs.path(searched).parent, tuned(jobs.path(searched).parent)
    digests = [candidate.arch.digest for candidate in candidates[:2]]
    assert [row["arch_digest"] for row in rows] == digests * 2
    assert [row["state"] for row in rows] == ["finished"] * 4
    assert jobs.info(searched)["tuning"] == {"trial": rows[1]["trial"], "num_trials": 4}
    assert jobs.info(searched)["rate"] == float(rows[1]["rate"])
    best = load_subnet(folder / "trials" / rows[1]["trial"] / "subnet.safetensors")
    found = jobs.network(searched)
    assert found.arch == best.arch == candidates[1].arch
    trained = dict(best.named_parameters())
    assert all(torch.equal(tensor, trained[name]) for name, tensor in found.named_parameters())
    assert "0.00167 CPU-hours" in outcome.stdout
    assert "already finetuned" in jobs.finetune(searched, *settings).stdout

    assert export("finetuned=true").status == 0
    assert Arch.load(bundle / "arch.json") == candidates[1].arch


def test_a_trial_ends_as_the_same_finetuning_alone(
    jobs: Any, searched: Path, monkeypatch: pytest.MonkeyPatch, assert_equal: Any
) -> None:
    alone = Path(shutil.copytree(searched, searched.parent / "alone"))
    monkeypatch.setattr(asha, "run_asha", run_here)
    jobs.finetune(searched, *ASHA, "tune.candidates=1", "tune.num_samples=1", "tune.rates=[0.5,0.5]")
    jobs.finetune(alone, "rate=0.5")
    assert_equal(jobs.network(searched), jobs.network(alone))


def test_asha_is_no_job_for_torchrun(jobs: Any, searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    assert "run it without torchrun" in jobs.refused(searched, "tune=asha")


@pytest.mark.slow
def test_asha_on_ray(jobs: Any, searched: Path) -> None:
    outcome = jobs.finetune(searched, *ASHA)
    rows = tuned(jobs.path(searched).parent)
    assert len(rows) == 4
    assert rows[0]["state"] == "finished", "nothing was there to compare the first with"
    assert all((row["state"] == "finished") == (row["steps"] == "6") for row in rows)
    best = max((row for row in rows if row["state"] == "finished"), key=lambda row: float(row["ap"]))
    assert jobs.info(searched)["tuning"]["trial"] == best["trial"]
    assert outcome.stderr == ""
    assert "already finetuned" in jobs.finetune(searched, *ASHA).stdout
