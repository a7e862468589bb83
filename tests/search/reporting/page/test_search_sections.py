"""Sections of searches: the chosen subnets drawn, and the tables that their latencies rest on."""

import dataclasses
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.profiling.validation import NetworkCheck, ValidationReport
from litepose_ofa.search.reporting.page.drawing import spec_of
from litepose_ofa.search.reporting.page.section import Chart, Drawing, Listing, Prose, Section, Table
from litepose_ofa.search.reporting.page.summary_section import subnets_section
from litepose_ofa.search.reporting.page.tables_section import (
    explain_provenance,
    network_errors,
    tables_section,
    validation_points,
)
from litepose_ofa.search.reporting.searches import FinishedSearch
from litepose_ofa.search.study.results import SearchOutcome
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.files import write_json, write_text

SPACE = SearchSpace.preset("tiny")
MakeTable = Callable[..., LatencyTable]


def cell(workspace: Path, device: str, tier: str, arch: Arch, *, table: str = "", digest: str = "") -> FinishedSearch:
    """A finished search that chose an architecture."""
    search = {"space": SPACE.to_dict(), "num_keypoints": 14, "table": digest}
    record = {"arch_digest": arch.digest, "table": table, "search": search}
    outcome = SearchOutcome(workspace / "search" / device / tier, arch, record)
    return FinishedSearch(workspace, device, tier, outcome, pd.DataFrame({"arch_digest": [arch.digest]}))


def texts(section: Section) -> str:
    return " ".join(block.text for block in section.blocks if isinstance(block, Prose))


def test_subnets_are_drawn_by_device_and_each_once(tmp_path: Path) -> None:
    small, large = SPACE.smallest(), SPACE.largest()
    section = subnets_section(
        [cell(tmp_path, "one", "s", small), cell(tmp_path, "one", "l", large), cell(tmp_path, "two", "l", large)]
    )
    drawings = [block for block in section.blocks if isinstance(block, Drawing)]
    captions = [drawing.caption for drawing in drawings]
    assert [caption.partition(":")[0] for caption in captions] == ["one", "two", "one/s", "one/l, two/l"]
    assert f"{large.digest}, 128 px, " in captions[-1]
    assert captions[-1].endswith(" parameters.")
    depths = [len(re.findall('class="bottleneck"', drawing.svg)) for drawing in drawings]
    assert depths == [4 + 8, 8, 4, 8]
    assert {"48 at most" in drawing.svg for drawing in drawings} == {True}, "all are of one scale"


def test_an_export_that_finetuning_preferred_is_drawn(tmp_path: Path) -> None:
    arch, preferred = SPACE.smallest(), SPACE.largest()
    searched = cell(tmp_path, "one", "s", arch)
    assert searched.arch == arch
    preferred.save(searched.export_folder / "arch.json")
    exported = cell(tmp_path, "one", "s", arch)
    exported.__dict__["manifest"] = {"arch_digest": preferred.digest}
    assert exported.arch == preferred


@pytest.fixture
def board(make_table: MakeTable, tmp_path: Path) -> tuple[LatencyTable, FinishedSearch]:
    """A measured table with recorded errors, and a search by it."""
    errors = {"fit_errors": {"a": 0.1, "b": -0.1}, "validation_errors": {"c": 0.3}}
    table = make_table(SPACE).with_metadata(**errors, interval_coverage=0.75)
    table.save(tmp_path / "board")
    return table, cell(tmp_path, "board", "s", SPACE.smallest(), table=str(tmp_path / "board.csv"), digest=table.digest)


def test_a_table_tells_its_errors_and_what_would_validate_it(
    board: tuple[LatencyTable, FinishedSearch], tmp_path: Path
) -> None:
    section = tables_section(tmp_path, [board[1]])
    assert texts(section).startswith("Measured: board.")
    assert "`litepose validate-table table=... kit=...`" in texts(section)
    (frame,) = [block.frame for block in section.blocks if isinstance(block, Table)]
    (row,) = frame.to_dict("records")
    assert row["MAPE in the fit"] == "10.0 % of 2"
    assert row["MAPE left out"] == "30.0 % of 1"
    assert row["inside"] == "75 %"
    assert row["operators"].endswith(" measured")
    (chart,) = [block for block in section.blocks if isinstance(block, Chart)]
    points = [point for data in spec_of(chart)["datasets"].values() for point in data if "network" in point]
    assert sorted((p["network"], p["part"], round(p["error"])) for p in points) == [
        ("a", "in the fit", 10), ("b", "in the fit", -10), ("c", "left out of the fit", 30),
    ]  # fmt: skip


def test_estimates_are_called_estimates() -> None:
    tables = {"jetson_nano": LatencyTable.load("jetson_nano")}
    (line,) = explain_provenance(tables)
    assert line.startswith("Estimated, not measured: jetson_nano.")
    assert set(network_errors(tables)["part"]) == {"in the fit", "left out of the fit"}


def test_a_table_that_changed_or_went_is_named(tmp_path: Path) -> None:
    cells = [
        cell(tmp_path, "one", "s", SPACE.smallest(), table="jetson_nano", digest="another"),
        cell(tmp_path, "two", "s", SPACE.smallest(), table=str(tmp_path / "gone.csv"), digest="gone"),
    ]
    (lost,) = tables_section(tmp_path, cells).blocks
    assert isinstance(lost, Listing)
    assert "one: latency table jetson_nano has changed since the search." in lost.items
    assert "gone." in lost.items[1]


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
    chart = [block for block in section.blocks if isinstance(block, Chart)][-1]
    assert chart.caption.startswith("board: ")
    points = validation_points(record["runs"])
    assert (points["measured"] / points["ms"]).tolist() == pytest.approx([1.1] * 4)
    assert (points["low"] < points["ms"]).all()
    assert (points["ms"] < points["high"]).all()
    assert any(len(data) == 4 for data in spec_of(chart)["datasets"].values())


def test_a_validation_of_another_version_says_so(board: tuple[LatencyTable, FinishedSearch], tmp_path: Path) -> None:
    write_json(tmp_path / "latency_tables" / "board.json", validation_of(board[0], "another"))
    write_text(tmp_path / "latency_tables" / "broken.json", "{}")
    text = texts(tables_section(tmp_path, [board[1]]))
    assert "another version of the table than the searches used" in text
    assert "broken.json is not what `litepose validate-table` writes" in text


def test_texts_of_a_table_are_facts_of_its_metadata(board: tuple[LatencyTable, FinishedSearch], tmp_path: Path) -> None:
    table, searched = board
    rows = {operator: dataclasses.replace(row, samples=0) for operator, row in list(table.rows.items())[:5]}
    fitted = LatencyTable(table.metadata, {**table.rows, **rows})
    fitted.save(tmp_path / "fitted")
    again = cell(
        tmp_path, "board", "s", searched.outcome.arch, table=str(tmp_path / "fitted.csv"), digest=fitted.digest
    )
    (frame,) = [block.frame for block in tables_section(tmp_path, [again]).blocks if isinstance(block, Table)]
    assert frame["operators"].tolist() == [f"{len(table.rows) - 5:,} measured, 5 fitted"]
