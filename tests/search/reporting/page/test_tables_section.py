"""What the latencies rest on: tables with their recorded errors, and validations on the device."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.profiling.validation import NetworkCheck, ValidationReport
from litepose_ofa.search.reporting.page.drawing import spec_of
from litepose_ofa.search.reporting.page.section import Section, Table, charts_of
from litepose_ofa.search.reporting.page.tables_section import table_figures, tables_section, validation_points
from litepose_ofa.search.reporting.searches import FinishedSearch
from litepose_ofa.search.study.results import SearchOutcome
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.files import write_json, write_text

SPACE = SearchSpace.preset("tiny")
MakeTable = Callable[..., LatencyTable]


def cell(workspace: Path, device: str, table: str, digest: str) -> FinishedSearch:
    """A finished search by a table."""
    arch = SPACE.smallest()
    record = {"arch_digest": arch.digest, "table": table, "search": {"space": SPACE.to_dict(), "table": digest}}
    outcome = SearchOutcome(workspace / "search" / device / "s", arch, record)
    return FinishedSearch(workspace, device, "s", outcome, pd.DataFrame())


def texts(section: Section) -> str:
    return " ".join(block for block in section.blocks if isinstance(block, str))


@pytest.fixture
def board(make_table: MakeTable, tmp_path: Path) -> tuple[LatencyTable, FinishedSearch]:
    """A measured table with recorded errors, and a search by it."""
    errors = {"fit_errors": {"a": 0.1, "b": -0.1}, "validation_errors": {"c": 0.3}}
    table = make_table(SPACE).with_metadata(**errors, interval_coverage=0.75)
    table.save(tmp_path / "board")
    return table, cell(tmp_path, "board", str(tmp_path / "board.csv"), table.digest)


def test_a_table_tells_its_errors_and_what_would_validate_it(
    board: tuple[LatencyTable, FinishedSearch], tmp_path: Path
) -> None:
    section = tables_section(tmp_path, [board[1]])
    assert "`litepose validate-table table=... kit=...`" in texts(section)
    (frame,) = [block.frame for block in section.blocks if isinstance(block, Table)]
    (row,) = frame.to_dict("records")
    assert row["MAPE in the fit"] == "10.0 % of 2"
    assert row["MAPE left out"] == "30.0 % of 1"
    assert row["inside"] == "75 %"
    assert row["operators"].endswith(" measured")


def test_a_table_that_changed_or_went_is_named(tmp_path: Path) -> None:
    cells = [
        cell(tmp_path, "one", "jetson_nano", "another"),
        cell(tmp_path, "two", str(tmp_path / "gone.csv"), "gone"),
    ]
    (lost,) = tables_section(tmp_path, cells).blocks
    assert lost[0] == "one: latency table jetson_nano has changed since the search."
    assert "gone." in lost[1]


def validation_of(table: LatencyTable, digest: str) -> dict[str, Any]:
    rng = random.Random(0)
    archs = [SPACE.sample(rng) for _ in range(4)]
    checks = tuple(NetworkCheck(arch, table.estimate(arch), 1.1 * table.estimate(arch).ms, (1.0,)) for arch in archs)
    return {"table": "board", "digest": digest, "runs": [ValidationReport("first run", checks).to_dict()]}


def test_a_validation_is_drawn_with_its_intervals(board: tuple[LatencyTable, FinishedSearch], tmp_path: Path) -> None:
    table, searched = board
    record = validation_of(table, table.digest)
    write_json(tmp_path / "latency_tables" / "board.json", record)
    section = tables_section(tmp_path, [searched])
    assert "first run: 4 networks, MAPE 9.1 %, Spearman 1.000" in texts(section)
    assert "another version" not in texts(section)
    assert "Not compared" not in texts(section)
    (chart,) = charts_of(section.blocks)
    assert chart.caption.startswith("board: ")
    points = validation_points(record["runs"])
    assert (points["measured, ms"] / points["by the table, ms"]).tolist() == pytest.approx([1.1] * 4)
    assert (points["80 % from, ms"] < points["by the table, ms"]).all()
    assert (points["by the table, ms"] < points["80 % to, ms"]).all()
    assert any(len(data) == 4 for data in spec_of(chart)["datasets"].values())


def test_a_validation_of_another_version_says_so(board: tuple[LatencyTable, FinishedSearch], tmp_path: Path) -> None:
    write_json(tmp_path / "latency_tables" / "board.json", validation_of(board[0], "another"))
    write_text(tmp_path / "latency_tables" / "broken.json", "{}")
    text = texts(tables_section(tmp_path, [board[1]]))
    assert "another version of the table than the searches used" in text
    assert "broken.json is not what `litepose validate-table` writes" in text


def test_fitted_and_estimated_operators_are_told_apart(board: tuple[LatencyTable, FinishedSearch]) -> None:
    table, _ = board
    rows = {operator: dataclasses.replace(row, samples=0) for operator, row in list(table.rows.items())[:5]}
    fitted = LatencyTable(table.metadata, {**table.rows, **rows})
    frame = table_figures({"fitted": fitted, "jetson_nano": LatencyTable.load("jetson_nano")})
    assert frame["operators"].tolist() == [f"{len(table.rows) - 5:,} measured, 5 fitted", "estimated"]
