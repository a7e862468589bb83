"""Which finetunings to try, and what became of each: successive halving over architectures and learning rates.

A trial's folder holds ``rungs.jsonl``: the AP and the seconds of every rung it has reached, on the disk before anyone
is informed. It is the record that a resumed run replays, and that the table of all trials is made from.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from litepose_ofa.search.workspace import write_csv
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.json_lines import append_json_line, read_json_lines
from litepose_ofa.supernet.network.checkpoints import read_description
from litepose_ofa.supernet.validation import Checked, Count, Fraction, NonNegative, Positive, settings, validate

RUNGS_FILE = "rungs.jsonl"

State = Literal["finished", "stopped", "diverged"]


@settings
class HalvingSettings:
    """Asynchronous successive halving (ASHA).

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning (arXiv:1810.05934).

    Attributes:
        grace_period: Part of a trial's steps before the first rung, where the first trials are stopped.
        reduction_factor: Of the trials that reach a rung about one in so many goes on; rungs lie so many times as far
            apart.
        cpus, gpus: What a trial reserves; a part of a GPU lets trials share it.
        max_concurrent: Most trials at a time.
    """

    grace_period: Annotated[float, Field(gt=0, le=1)] = 0.25
    reduction_factor: Annotated[float, Field(ge=1.01)] = 2.0
    cpus: Count = 1
    gpus: NonNegative = 0.0
    max_concurrent: Count = 2

    def rungs(self, steps: int) -> tuple[int, ...]:
        """Return the steps at which trials of this length are measured, ascending; the last is the length."""
        first = max(1, round(self.grace_period * steps))
        spaced = (math.ceil(first * self.reduction_factor**k) for k in itertools.count())
        return (*dict.fromkeys(itertools.takewhile(lambda rung: rung < steps, spaced)), steps)

    @property
    def resource(self) -> tuple[str, float]:
        """The resource that a trial's time is counted in, and how much of it a trial holds: GPU if any, else CPU."""
        return ("GPU", self.gpus) if self.gpus else ("CPU", float(self.cpus))


@settings
class SamplingSettings:
    """Which trials there are.

    Attributes:
        candidates: Architectures to take from the front.
        num_samples: Learning rates, the same for each architecture.
        rates: Least and largest factor of the training's learning rate, drawn log-uniformly.
    """

    candidates: Count = 3
    num_samples: Annotated[int, Field(ge=1, le=10_000)] = 4
    rates: tuple[Positive, Positive] = (0.02, 1.0)

    def __post_init__(self) -> None:
        require(self.rates[0] <= self.rates[1], "rates", self.rates, "ascending")


@dataclass(frozen=True, slots=True)
class FinetuningTrial:
    """One finetuning to try, in a folder of its name; ``rate`` is a factor of the training's learning rate."""

    name: str
    arch: Arch
    rate: float


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """The end of a trial: the step and the AP of its last rung, and the seconds that it took over all starts."""

    trial: FinetuningTrial
    steps: int
    ap: float
    seconds: float
    state: State


def sample_trials(archs: Sequence[Arch], sampling: SamplingSettings, *, seed: int) -> list[FinetuningTrial]:
    """Cross architectures with sampled learning rates, rounded to four digits."""
    low, high = np.log(sampling.rates)
    drawn = np.exp(np.random.default_rng(seed).uniform(float(low), float(high), sampling.num_samples))
    pairs = itertools.product((float(f"{rate:.4g}") for rate in drawn), archs)
    return [
        FinetuningTrial(f"{index:03d}_{arch.digest}_{rate:g}", arch, rate) for index, (rate, arch) in enumerate(pairs)
    ]


class Rung(Checked):
    """A rung that a trial has reached; ``diverged`` says why it ended there, or is None."""

    step: Count
    ap: Fraction
    seconds: NonNegative
    diverged: str | None


class RungRecord:
    """The rungs that a trial has reached, in its folder, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RUNGS_FILE
        where = f"{self.path}: has a line that is not a rung; remove the file to try the trial again"
        rungs = [validate(Rung, line, where) for line in read_json_lines(self.path)]
        self.rungs = {rung.step: rung for rung in rungs}

    def add(self, rung: Rung) -> None:
        """Record a rung; it is on the disk when this returns."""
        append_json_line(self.path, rung.model_dump())
        self.rungs[rung.step] = rung


def read_outcome(trial: FinetuningTrial, folder: Path, steps: int) -> TrialOutcome:
    """Return what became of a trial of so many steps that has ended in a folder."""
    record = RungRecord(folder)
    if not record.rungs:
        raise InputError(f"{record.path}: the trial has reached no rung; remove the run folder to start again")
    last = record.rungs[max(record.rungs)]
    state: State = "stopped" if last.step < steps else "finished"
    seconds = sum(rung.seconds for rung in record.rungs.values())
    return TrialOutcome(trial, last.step, last.ap, seconds, state if last.diverged is None else "diverged")


def best_outcome(outcomes: Sequence[TrialOutcome]) -> TrialOutcome:
    """Return the finished trial with the greatest AP, of equals the first."""
    finished = [outcome for outcome in outcomes if outcome.state == "finished"]
    if not finished:
        raise InputError(f"none of {len(outcomes)} trials finished: all diverged; lower rates help")
    return max(finished, key=lambda outcome: outcome.ap)


def write_trials(path: Path, outcomes: Sequence[TrialOutcome], learning_rate: float) -> None:
    """Write a line a trial as CSV; a trial's rate multiplies the learning rate, the peak of the schedule."""
    rows = [
        {
            "trial": outcome.trial.name,
            "arch_digest": outcome.trial.arch.digest,
            "image_size": outcome.trial.arch.image_size,
            "rate": outcome.trial.rate,
            "learning_rate": f"{outcome.trial.rate * learning_rate:.6g}",
            "steps": outcome.steps,
            "ap": outcome.ap,
            "seconds": round(outcome.seconds, 3),
            "state": outcome.state,
        }
        for outcome in outcomes
    ]
    write_csv(path, list(rows[0]), rows)


class _Measured(Checked):
    before: float
    after: float


class _Facts(Checked, extra="ignore"):
    """What is read back of the facts that a finetuned network's file states."""

    archs: Annotated[list[str], Field(min_length=1)]
    supernet: str | None
    start: str
    steps: int
    rate: float
    ap_search: _Measured


def read_facts(path: Path) -> dict[str, Any]:
    """Return what a finetuned network's file says of its finetuning; refuse one of a network that was not."""
    facts: dict[str, Any] = read_description(path)["info"]
    validate(_Facts, facts, f"{path}: is not of a finetuned network")
    return facts
