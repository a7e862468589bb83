"""Finetuning trials: the rungs, the draw, the record on disk, what is made of it."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litepose_ofa.search.tuning.trials import (
    FinetuningTrial,
    HalvingSettings,
    Rung,
    RungRecord,
    SamplingSettings,
    TrialOutcome,
    best_outcome,
    read_facts,
    read_outcome,
    sample_trials,
    write_trials,
)
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import save_network
from litepose_ofa.supernet.network.litepose import LitePose

TINY = SearchSpace.preset("tiny")
ARCHS = [TINY.smallest(), TINY.largest()]
TRIAL = FinetuningTrial("000_a", ARCHS[0], 0.1)


def rung(step: int, ap: float, diverged: str | None = None) -> Rung:
    return Rung(step=step, ap=ap, seconds=1.5, diverged=diverged)


def test_rungs_are_spaced_by_the_factor() -> None:
    assert HalvingSettings(0.25, 2).rungs(300) == (75, 150, 300)
    assert HalvingSettings(1 / 81, 3).rungs(81) == (1, 3, 9, 27, 81)
    assert HalvingSettings(0.3, 1.5).rungs(10) == (3, 5, 7, 10)
    assert HalvingSettings(1, 2).rungs(4) == (4,)


@given(st.integers(1, 5000), st.floats(0.001, 1), st.floats(1.01, 8))
def test_rungs_ascend_and_end_at_the_last_step(steps: int, grace_period: float, reduction_factor: float) -> None:
    rungs = HalvingSettings(grace_period, reduction_factor).rungs(steps)
    assert all(a < b for a, b in itertools.pairwise(rungs))
    assert rungs[0] >= 1
    assert rungs[-1] == steps


def test_trials_cross_all_architectures_with_all_rates() -> None:
    trials = sample_trials(ARCHS, SamplingSettings(2, 3, (0.01, 1.0)), seed=4)
    rates = list(dict.fromkeys(trial.rate for trial in trials))
    assert len(rates) == 3
    assert [(trial.arch, trial.rate) for trial in trials] == [(arch, rate) for rate in rates for arch in ARCHS]
    assert len({trial.name for trial in trials}) == 6
    assert trials == sample_trials(ARCHS, SamplingSettings(2, 3, (0.01, 1.0)), seed=4)
    logs = np.sort(
        np.log10([trial.rate for trial in sample_trials(ARCHS[:1], SamplingSettings(1, 2000, (0.01, 1.0)), seed=0)])
    )
    assert np.abs(logs - (-2 + 2 * (np.arange(2000) + 0.5) / 2000)).max() < 0.1, "log-uniform"


def test_a_record_comes_back_from_disk_and_survives_a_torn_line(tmp_path: Path) -> None:
    record = RungRecord(tmp_path)
    assert record.rungs == {}
    record.add(rung(2, 0.25))
    with record.path.open("a") as file:
        file.write('{"step": 4, "ap"')
    again = RungRecord(tmp_path)
    assert again.rungs == record.rungs == {2: rung(2, 0.25)}
    again.add(rung(4, 0.5, "loss was not finite"))
    assert RungRecord(tmp_path).rungs == again.rungs
    assert [json.loads(line)["step"] for line in record.path.read_text().splitlines()] == [2, 4]


@pytest.mark.parametrize(
    ("rungs", "outcome"),
    [
        ([(2, 0.1, None)], (2, 0.1, 1.5, "stopped")),
        ([(2, 0.1, None), (4, 0.2, None), (8, 0.3, None)], (8, 0.3, 4.5, "finished")),
        ([(2, 0.1, None), (4, 0.0, "loss was not finite")], (4, 0.0, 3.0, "diverged")),
    ],
)
def test_the_outcome_follows_from_the_record(
    tmp_path: Path, rungs: list[tuple[int, float, str | None]], outcome: tuple[int, float, float, str]
) -> None:
    record = RungRecord(tmp_path)
    for step, ap, diverged in rungs:
        record.add(rung(step, ap, diverged))
    found = read_outcome(TRIAL, tmp_path, 8)
    assert (found.steps, found.ap, found.seconds, found.state) == outcome


def test_a_line_that_is_not_a_rung_is_named(tmp_path: Path) -> None:
    (tmp_path / "rungs.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"jsonl: has a line that is not a rung; remove the file to try the trial"):
        RungRecord(tmp_path)


def outcomes() -> list[TrialOutcome]:
    trials = sample_trials(ARCHS, SamplingSettings(2, 2, (0.01, 1.0)), seed=0)
    ends = [(8, 0.5, 2.0, "finished"), (2, 0.9, 0.5, "stopped"), (8, 0.6, 2.0, "finished"), (4, 0.0, 1.0, "diverged")]
    return [TrialOutcome(trial, *end) for trial, end in zip(trials, ends, strict=True)]  # type: ignore[arg-type]


def test_the_best_is_the_best_of_those_that_finished() -> None:
    found = outcomes()
    assert best_outcome(found) is found[2]
    with pytest.raises(InputError, match="none of 2 trials finished"):
        best_outcome([found[1], found[3]])


def test_the_table_has_a_line_a_trial(tmp_path: Path) -> None:
    found = outcomes()
    write_trials(tmp_path / "tune.csv", found, 0.008)
    with (tmp_path / "tune.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [outcome.trial.name for outcome in found]
    for row, outcome in zip(rows, found, strict=True):
        assert (row["arch_digest"], row["state"]) == (outcome.trial.arch.digest, outcome.state)
        assert float(row["learning_rate"]) == pytest.approx(float(row["rate"]) * 0.008, rel=1e-5)
        numbers = int(row["steps"]), float(row["ap"]), float(row["seconds"])
        assert numbers == (outcome.steps, outcome.ap, outcome.seconds)


def test_facts_come_back_or_what_is_wrong_is_named(tmp_path: Path) -> None:
    path, network = tmp_path / "subnet.safetensors", LitePose(SearchSpace.preset("tiny").smallest())
    facts: dict[str, Any] = {
        "archs": ["0123456789ab"],
        "supernet": None,
        "start": "scratch",
        "steps": 6,
        "rate": 1,
        "ap_search": {"before": 0.0, "after": 0.5},
        "teacher": None,
    }
    save_network(path, network, facts)
    assert read_facts(path) == facts
    for change, message in (
        ({"archs": []}, r"archs is \[\]; it must be a list of at least 1"),
        ({"ap_search": {"before": 0.1}}, r"ap_search\.after is missing"),
        ({"steps": "6"}, "steps is '6'; it must be an integer"),
    ):
        save_network(path, network, facts | change)
        with pytest.raises(InputError, match=f"^{path}: is not of a finetuned network: {message}"):
            read_facts(path)
