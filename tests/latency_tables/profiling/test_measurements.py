"""Reading a board's measurements: what they say, and what is refused."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litepose_ofa.latency_tables.profiling import measurements as reading
from litepose_ofa.latency_tables.profiling.kit import MEASUREMENTS_FILE
from litepose_ofa.latency_tables.profiling.measurements import Measurements, read_measurements
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan
from litepose_ofa.latency_tables.profiling.subjects import OperatorChain, WholeNetwork
from litepose_ofa.supernet.errors import InputError


@pytest.fixture
def measured(
    kit: Path, plan: ProfilingPlan, profile: Callable[..., object], new_machine: Callable[..., Any], tmp_path: Path
) -> tuple[Path, dict[str, float]]:
    """What a machine of known times measured with the kit, and those times in ms by model."""
    names = [subject.id for subject in plan.subjects]
    known = {name: 0.5 + 0.25 * place for place, name in enumerate(sorted(names))}
    profile(new_machine(duration_ms=known.__getitem__), kit=kit, rounds=4, runs=20, seconds=1.0)
    return tmp_path / MEASUREMENTS_FILE, known


def test_every_model_has_the_time_that_it_took(
    kit: Path, plan: ProfilingPlan, measured: tuple[Path, dict[str, float]]
) -> None:
    path, known = measured
    read = read_measurements(kit, path)
    assert set(read.singles) == set(plan.timed)
    for subject in plan.subjects:
        timing = find(read, subject)
        assert timing.ms == pytest.approx(known[subject.id])
        assert timing.std_ms == pytest.approx(0, abs=1e-6)
        assert timing.runs == 20
        assert timing.round_ms == pytest.approx([known[subject.id]] * 4)
    assert (read.facts["processor"], read.network_keypoints) == ("core", 14)


def find(read: Measurements, subject: object) -> reading.Timing:
    if isinstance(subject, WholeNetwork):
        return read.networks[subject.arch]
    if isinstance(subject, OperatorChain) and subject.copies > 1:
        assert read.chains[subject.operator].copies == subject.copies
        return read.chains[subject.operator].chain
    return read.singles[subject.operator] if isinstance(subject, OperatorChain) else read.null


def test_the_lower_quartile_of_the_rounds_counts_and_the_faster_of_two_timings(
    kit: Path, plan: ProfilingPlan, measured: tuple[Path, dict[str, float]]
) -> None:
    path, _ = measured
    name = plan.subjects[-1].id
    medians = dict(zip("1234", [7.0, 5.0, 9.0, 6.0], strict=True))

    facts, header, *lines = path.read_text().splitlines()
    for place, line in enumerate(lines):
        fields = line.split(",")
        if fields[1:3] == [name, "round"]:
            lines[place] = ",".join([*fields[:4], str(medians[fields[0]]), *fields[5:]])
    path.write_text("\n".join([facts, header, *lines, f"3,{name},again,5,4.0,3.5,4.1,0.1,1e9,,,1\n"]))
    timing = find(read_measurements(kit, path), plan.subjects[-1])
    assert timing.round_ms == (7.0, 5.0, 4.0, 6.0)
    assert timing.ms == np.percentile([7, 5, 4, 6], 25)
    assert timing.std_ms == pytest.approx((6.25 - 4.75) / 1.34898, rel=1e-5)
    assert timing.runs == 25


@pytest.mark.parametrize(
    ("line", "old", "new", "message"),
    [
        (3, "round,5,[^,]+", "round,5,-1", "line 4: median_ms is '-1'; it must be a number above 0"),
        (3, "round,5", "round,٣", "line 4: runs is '٣'; it must be an integer of at least 1"),
        (3, "^1,[^,]+", "1,x", "line 4: model is 'x'; it must be one of the kit's"),
        (3, "^1,[^,]+", "1,x,y", "line 4: has 13 fields; it must have 12"),
        (3, "(.+\n)", r"\1\1", "the model and round of line 4 again"),
        (3, ".+\n", "", "is incomplete: the model"),
        (-1, "\n", "\n5,null", "is torn; start profile_board.py again to complete the file"),
        (0, ".+\n", "", "line 1: is not '# ' and the facts in JSON that a kit writes"),
        (1, ".+\n", "", "line 2: is '1,"),
        (0, '"processor": "core"', '"processor": 3', "line 1: processor is 3; it must be a text"),
        (0, '"kit": "', '"kit": "f', "has measurements of the kit 'f"),
    ],
)
def test_a_damaged_file_is_refused_by_file_line_and_field(
    line: int, old: str, new: str, message: str, kit: Path, measured: tuple[Path, dict[str, float]]
) -> None:
    path, _ = measured
    lines = path.read_text().splitlines(keepends=True)
    lines[line] = re.sub(old, new, lines[line])
    path.write_text("".join(lines))
    with pytest.raises(InputError) as error:
        read_measurements(kit, path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.usefixtures("board")
def test_board_and_reader_agree_on_the_columns() -> None:
    assert tuple(importlib.import_module("measurement_file").COLUMNS) == reading.COLUMNS


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12), st.floats(1.01, 10), st.data())
def test_disturbed_rounds_do_not_move_the_time_above_the_undisturbed_ones(
    medians: list[float], factor: float, data: st.DataObject
) -> None:
    quiet = max(medians)
    disturbed = data.draw(st.integers(0, len(medians) // 4))
    noisy = [*medians[disturbed:], *(quiet * factor for _ in range(disturbed))]
    assert time_of(medians) <= time_of(noisy) <= quiet


def time_of(medians: list[float]) -> float:
    def line(number: int, ms: float) -> reading.Line:
        return reading.Line(number, "m", "round", 1, ms, ms, ms, 0.0, 0.0, None, None, "0")

    return reading._timing([line(number, ms) for number, ms in enumerate(medians, start=1)]).ms
