"""Successive halving on Ray: who is stopped where, and that a killed run ends as one that was left alone."""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from ray import cloudpickle

from litepose_ofa.search.tuning.asha import TRIALS_FOLDER, TrainTo, run_asha
from litepose_ofa.search.tuning.trials import (
    FinetuningTrial,
    HalvingSettings,
    SamplingSettings,
    TrialOutcome,
    sample_trials,
)
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, NotFiniteError

STEPS = 8
SETTINGS = HalvingSettings(max_concurrent=1)
QUALITIES = (0.5, 0.4, 0.6, 0.45, 0.7, 0.1)
"""What each trial's AP grows towards, in order."""

EXPECTED = [(8, 0.5), (2, 0.1), (8, 0.6), (2, 0.1125), (8, 0.7), (2, 0.025)]
"""One at a time, a trial is stopped at step 2 if its AP there is below the median of those before it."""


def make_trials() -> list[FinetuningTrial]:
    space = SearchSpace.preset("tiny")
    return sample_trials([space.smallest(), space.largest()], SamplingSettings(2, 3, (0.01, 1.0)), seed=0)


def summary(outcomes: list[TrialOutcome]) -> list[tuple[int, float]]:
    return [(outcome.steps, pytest.approx(outcome.ap)) for outcome in outcomes]


def calls(folder: Path) -> list[list[int]]:
    """Steps that each trial was trained to, over all starts."""
    paths = sorted((folder / TRIALS_FOLDER).glob("*/calls"))
    return [[int(line) for line in path.read_text().split()] for path in paths]


def make_training(pause: float = 0) -> Callable[[FinetuningTrial, Path], TrainTo]:
    """Trainings whose AP is their quality times the part of the steps that is done; pickled by value."""
    qualities, steps = QUALITIES, STEPS

    def make(trial: FinetuningTrial, folder: Path) -> TrainTo:
        def train_to(step: int) -> float:
            time.sleep(pause)
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "calls").open("a") as file:
                file.write(f"{step}\n")
            return qualities[int(trial.name[:3])] * step / steps

        return train_to

    return make


def test_the_worse_trials_are_stopped_early(tmp_path: Path) -> None:
    outcomes = run_asha(make_training(), make_trials(), SETTINGS, steps=STEPS, folder=tmp_path)
    assert summary(outcomes) == EXPECTED
    assert [outcome.state for outcome in outcomes] == ["finished", "stopped"] * 3
    assert calls(tmp_path) == [[2, 4, 8], [2]] * 3


@pytest.mark.slow
def test_bad_input_divergence_and_missing_hardware(tmp_path: Path) -> None:
    def make(trial: FinetuningTrial, folder: Path) -> TrainTo:
        def train_to(step: int) -> float:
            if trial.name.startswith("001") and step > 2:
                raise NotFiniteError("loss was not finite")
            if trial.name.startswith("002"):
                raise InputError("image.png: is damaged")
            return step / 8

        return train_to

    trials = make_trials()
    diverging = run_asha(make, trials[:2], SETTINGS, steps=STEPS, folder=tmp_path / "diverging")
    assert [(outcome.state, outcome.steps, outcome.ap) for outcome in diverging] == [
        ("finished", 8, 1.0),
        ("diverged", 4, 0.0),
    ]
    with pytest.raises(InputError, match=r"^image\.png: is damaged$"):
        run_asha(make, trials[2:3], SETTINGS, steps=STEPS, folder=tmp_path / "bad")
    with pytest.raises(InputError, match="cpus of a trial is 4096; it must be at most"):
        run_asha(make, trials, HalvingSettings(cpus=4096), steps=STEPS, folder=tmp_path / "large")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kill", "terminate"])
def test_stopped_it_goes_on_without_repeating_what_is_done(tmp_path: Path, kind: str) -> None:
    run = partial(run_asha, make_training(0.5), make_trials(), SETTINGS, steps=STEPS, folder=tmp_path)
    (tmp_path / "run.pickle").write_bytes(cloudpickle.dumps(run))
    program = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))()"
    command = [sys.executable, "-c", program, str(tmp_path / "run.pickle")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    try:
        while sum(map(len, calls(tmp_path))) < 5:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        getattr(process, kind)()
        process.wait()
    before = calls(tmp_path)
    outcomes = run_asha(make_training(), make_trials(), SETTINGS, steps=STEPS, folder=tmp_path)
    assert summary(outcomes) == EXPECTED
    repeated = [after[: len(reached)] == reached for reached, after in zip(before, calls(tmp_path), strict=False)]
    assert all(repeated)
    assert sum(map(len, calls(tmp_path))) <= 12 + 1, "at most the rung that was being trained is trained again"
