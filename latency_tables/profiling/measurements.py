"""Reading what came back from a board: one CSV of timings, against the manifest of the kit that made it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic.dataclasses

from litepose_ofa.latency_tables.profiling.kit import Manifest
from litepose_ofa.latency_tables.profiling.subjects import NullModel, OperatorChain, WholeNetwork
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import read_text
from litepose_ofa.supernet.validation import Count, NonNegative, Positive, validate

TEXT_FACTS = ("kit", "started", "machine", "processor", "clocks", "runtime", "runtime_version", "precision")
QUARTILE_RANGE_SIGMAS = 1.3489795003921634
"""Interquartile range of a normal distribution in standard deviations."""

_FIRST_LINE = 3  # after the facts and the header


@dataclass(frozen=True, slots=True)
class Timing:
    """One model's time.

    Attributes:
        ms: Lower quartile over the rounds of the rounds' medians: what disturbs a run only ever adds to it.
        std_ms: Standard deviation of a round's median, from the rounds' interquartile range.
        round_ms: The medians in the order of the rounds; of the faster timing where a round has two.
    """

    ms: float
    std_ms: float
    runs: int
    round_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ChainTiming:
    """One operator alone and in a chain: the chain minus the one, over ``copies - 1``, is free of call and transfer."""

    single: Timing
    chain: Timing
    copies: int


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """All that a board measured with one kit.

    Attributes:
        network_keypoints: K of the whole networks.
        facts: The kit's digest and what the board said of itself: machine, processor, clocks, threads, runtime...
        singles: Every operator as a model of one copy.
        chains: The operators that were timed as a chain too.
    """

    network_keypoints: int
    facts: Mapping[str, Any]
    singles: Mapping[Operator, Timing]
    chains: Mapping[Operator, ChainTiming]
    networks: Mapping[Arch, Timing]
    null: Timing


@pydantic.dataclasses.dataclass(frozen=True, config={"allow_inf_nan": False})
class Line:
    """One line of the file, whose numbers are texts; its columns are ``COLUMNS``."""

    round: Count
    model: str
    purpose: Literal["round", "again", "probe"]
    runs: Count
    median_ms: Positive
    p10_ms: Positive
    mean_ms: NonNegative
    std_ms: NonNegative
    start_s: NonNegative
    clock_mhz: float | None
    temperature_c: float | None
    throttled: Literal["0", "1"]


COLUMNS = tuple(field.name for field in fields(Line))


def read_measurements(kit: Path, path: Path) -> Measurements:
    """Read the ``measurements.csv`` that a board made with a kit, whose folder or manifest ``kit`` is.

    Raises:
        InputError: If a file is missing or damaged (file, line and field are named), the measurements are of another
            kit, or a model was not timed in every round.
    """
    manifest = Manifest.load(kit)
    facts, lines = _read_file(path)
    if facts.get("kit") != manifest.kit:
        raise InputError(f"{path}: has measurements of the kit {shown(facts.get('kit'))}; {kit} is {manifest.kit!r}")
    subjects = manifest.plan.subjects
    by_model = _by_model(path, lines, [subject.id for subject in subjects])
    timings = {subject: _timing(by_model[subject.id]) for subject in subjects}
    chains = [subject for subject in subjects if isinstance(subject, OperatorChain)]
    singles = {chain.operator: timings[chain] for chain in chains if chain.copies == 1}
    return Measurements(
        network_keypoints=manifest.plan.num_keypoints[0],
        facts=facts,
        singles=singles,
        chains={
            chain.operator: ChainTiming(singles[chain.operator], timings[chain], chain.copies)
            for chain in chains
            if chain.copies > 1
        },
        networks={subject.arch: timings[subject] for subject in subjects if isinstance(subject, WholeNetwork)},
        null=timings[NullModel()],
    )


def _read_file(path: Path) -> tuple[Mapping[str, Any], list[Line]]:
    content = read_text(path)
    first, header, *rows = content.split("\n") if content.count("\n") > 1 else ("", "", "")
    try:
        facts = json.loads(first.removeprefix("# "))
    except ValueError:
        facts = None
    if not first.startswith("# ") or not isinstance(facts, dict):
        raise InputError(f"{path}, line 1: is not '# ' and the facts in JSON that a kit writes")
    for name in TEXT_FACTS:
        if not isinstance(facts.get(name), str):
            raise InputError(f"{path}, line 1: {name} is {shown(facts.get(name))}; it must be a text")
    if header != ",".join(COLUMNS):
        raise InputError(f"{path}, line 2: is {shown(header)}; it must be {','.join(COLUMNS)!r}")
    if rows and rows[-1]:
        raise InputError(f"{path}, line {len(rows) + 2}: is torn; start profile_board.py again to complete the file")
    lines = []
    for number, row in enumerate(rows[:-1], start=_FIRST_LINE):
        texts = row.split(",")
        if len(texts) != len(COLUMNS):
            raise InputError(f"{path}, line {number}: has {len(texts)} fields; it must have {len(COLUMNS)}")
        values: dict[str, str | None] = dict(zip(COLUMNS, texts, strict=True))
        for name in ("clock_mhz", "temperature_c"):
            values[name] = values[name] or None  # not every board shows them
        lines.append(validate(Line, values, f"{path}, line {number}"))
    return facts, lines


def _by_model(path: Path, lines: Sequence[Line], models: Sequence[str]) -> dict[str, list[Line]]:
    """Sort the lines, but the probe's, by model; refuse unknown and repeated ones, and models that lack a round."""
    by_model: dict[str, list[Line]] = {model: [] for model in models}
    seen: dict[tuple[int, str, str], int] = {}
    for number, line in enumerate(lines, start=_FIRST_LINE):
        if line.model not in by_model:
            raise InputError(f"{path}, line {number}: model is {shown(line.model)}; it must be one of the kit's")
        if line.purpose == "probe":
            continue
        first = seen.setdefault((line.round, line.model, line.purpose), number)
        if first != number:
            raise InputError(f"{path}, line {number}: the model and round of line {first} again")
        by_model[line.model].append(line)
    rounds = max((line.round for line in lines), default=1)
    for model, model_lines in by_model.items():
        missing = set(range(1, rounds + 1)) - {line.round for line in model_lines}
        if missing:
            what = f"the model {model} lacks round {min(missing)}"
            raise InputError(f"{path}: is incomplete: {what}; start profile_board.py again to complete the file")
    return by_model


def _timing(lines: Sequence[Line]) -> Timing:
    best: dict[int, float] = {}
    for line in lines:
        best[line.round] = min(line.median_ms, best.get(line.round, line.median_ms))
    medians = tuple(best[number] for number in sorted(best))
    low, high = np.percentile(medians, [25, 75])
    return Timing(float(low), float(high - low) / QUARTILE_RANGE_SIGMAS, sum(line.runs for line in lines), medians)
