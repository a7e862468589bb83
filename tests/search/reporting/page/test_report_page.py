"""Reports on workspaces: tables, text, the page, and whose the numbers are."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.reporting.findings import Findings
from litepose_ofa.search.reporting.page.report_page import remove_report, report_page, write_index, write_report
from litepose_ofa.search.reporting.page.section import Table
from litepose_ofa.search.reporting.searches import comparable, group_name, read_searches
from litepose_ofa.search.reporting.summary import SURROGATE_WARNING, collect_fronts, collect_progress, summarise
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace, StageSpace

SPACE = SearchSpace.preset("litepose_released")


def test_a_summary_has_every_number_and_whose_it_is(workspace: Path) -> None:
    cells, _ = read_searches(workspace)
    summary = summarise(cells)
    for cell, row in zip(cells, summary.to_dict("records"), strict=True):
        complexity = measure_complexity(cell.outcome.arch)
        estimate = LatencyTable.load(cell.device).estimate(cell.outcome.arch)
        assert (row["macs"], row["params"]) == (complexity.macs, complexity.params)
        assert row["macs_as_published"] == complexity.macs_as_published
        assert row["peak_memory_bytes"] == complexity.peak_activation_bytes
        numbers = (row["latency_ms"], row["latency_low_ms"], row["latency_high_ms"])
        assert numbers == pytest.approx((estimate.ms, estimate.low_ms, estimate.high_ms))
        assert row["latency_table"] == LatencyTable.load(cell.device).digest
        assert (row["ap_source"], row["latency_provenance"]) == ("published-surrogate", estimate.provenance)
        assert row["ap_predicted"] == cell.record["ap"]
        assert pd.isna(row["ap_search"])
        assert pd.isna(row["ap_val"])
        assert pd.isna(row["bit_equal"])
        assert row["evaluations"] == 60


def test_a_surrogate_is_called_so_in_every_file_and_line(
    workspace: Path, tmp_path: Path, collect: Callable[..., Findings]
) -> None:
    cells, _ = read_searches(workspace)
    text = write_report(tmp_path / "report", collect(cells))
    assert text.startswith("AP by a SURROGATE")
    lines = [line for line in text.splitlines() if line.startswith(("jetson_nano ", "raspberry_pi_4b "))]
    assert len(lines) == 4
    assert all("surrogate  " in line and "~" in line and len(line) <= 100 for line in lines)
    assert (tmp_path / "report" / "summary.txt").read_text() == text + "\n"
    for name in ("summary", "front", "hypervolume", "importance"):
        table = pd.read_csv(tmp_path / "report" / f"{name}.csv")
        if name == "importance":
            table = table[table["quantity"] == "AP"]
        assert len(table)
        assert set(table["ap_source"]) == {"published-surrogate"}
    for name in ("front", "hypervolume", "importance"):
        assert (tmp_path / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report" / "report.html").read_text()
    assert f'<p class="warning" role="note">{SURROGATE_WARNING}.</p>' in page
    remove_report(tmp_path / "report")
    assert list((tmp_path / "report").iterdir()) == []


def test_a_page_has_every_section_and_leads_to_what_was_chosen(
    workspace: Path, tmp_path: Path, collect: Callable[..., Findings]
) -> None:
    cells, _ = read_searches(workspace)
    record = {"versions": {"torch": "2.13.0"}, "python": "3.11.7", "commit": "0123456789abcdef"}
    findings = collect(cells)
    page = report_page(findings, tmp_path / "report", record=record)
    anchors = [section.anchor for section in page.sections]
    assert anchors[:3] == ["summary", "fronts", "subnets"]
    assert len(set(anchors)) == len(anchors)
    assert {"hypervolume", "importance", "sensitivity", "predictor", "rank-fidelity", "training"} <= set(anchors)
    assert page.facts["source commit"] == "`0123456789ab`"
    assert page.facts["versions"] == "torch 2.13.0, Python 3.11.7"
    assert "estimated, not measured" in page.facts["latencies"]
    assert page.lead == "4 subnets for 2 devices. The searches made 240 evaluations."
    twice = replace(findings, summary=pd.concat([findings.summary, findings.summary]))
    assert report_page(twice, tmp_path).lead == page.lead, "a subnet that is chosen twice is one"
    table = page.sections[0].blocks[0]
    assert isinstance(table, Table)
    links = table.frame["tier"].tolist()
    assert [(tmp_path / "report" / link.href).resolve() for link in links] == [cell.outcome.folder for cell in cells]


def test_an_index_leads_to_reports_of_searches_that_cannot_be_compared(
    workspace: Path, tmp_path: Path, leave_search: Callable[..., None], collect: Callable[..., Findings]
) -> None:
    leave_search(workspace, "jetson_nano", tier="coco", model=PublishedSurrogate(SPACE, dataset="coco"))
    reports = {group_name(group): collect(group) for group in comparable(read_searches(workspace)[0])}
    write_index(tmp_path, workspace, reports)
    page = (tmp_path / "report.html").read_text()
    assert len(reports) == 2
    assert all(f'href="{name}/report.html"' in page for name in reports)
    assert "vegaEmbed" not in page
    write_index(tmp_path, workspace, {"a #1": next(iter(reports.values()))})
    assert 'href="a%20%231/report.html"' in (tmp_path / "report.html").read_text()


def test_a_report_that_fails_leaves_the_earlier_one(
    workspace: Path, tmp_path: Path, collect: Callable[..., Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, findings = tmp_path / "report", collect(read_searches(workspace)[0])
    write_report(folder, findings)
    (folder / "importance.csv").write_text("earlier")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("litepose_ofa.search.reporting.page.report_page.render", fail)
    with pytest.raises(OSError, match="No space left"):
        write_report(folder, findings)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.undo()
    write_report(folder, replace(findings, importances=pd.DataFrame()))
    assert {path.name for path in folder.iterdir()} == before.keys() - {"importance.csv", "importance.png"}


def test_a_space_of_one_architecture_has_a_report(
    tmp_path: Path, leave_search: Callable[..., None], collect: Callable[..., Findings]
) -> None:
    stages = tuple(
        StageSpace(stage.channels[:1], stage.depths[:1], stage.kernels[:1], stage.expansions[:1])
        for stage in SPACE.stages
    )
    deconv = tuple(channels[:1] for channels in SPACE.deconv_channels)
    single = replace(
        SPACE,
        image_sizes=SPACE.image_sizes[:1],
        stem_channels=SPACE.stem_channels[:1],
        stages=stages,
        deconv_channels=deconv,
    )
    leave_search(tmp_path, "jetson_nano", model=PublishedSurrogate(single), share=10)
    text = write_report(tmp_path / "report", collect(read_searches(tmp_path)[0]))
    assert "no importances: the space is one architecture" in text
    assert not (tmp_path / "report" / "importance.csv").exists()


def test_fronts_and_progress_keep_every_line(workspace: Path) -> None:
    cells, _ = read_searches(workspace)
    fronts = collect_fronts(cells)
    assert len(fronts) == sum(len(cell.front) for cell in cells)
    assert {"device", "tier", "budget_ms", "latency_table", "ap_source", "genome"} <= set(fronts.columns)
    assert (fronts["latency_ms"] <= fronts["budget_ms"]).all()
    progress, gaps = collect_progress(cells)
    assert gaps == []
    assert progress["evaluations"].tolist() == [40, 60] * 4
    assert set(progress["reference"]) == {"AP 0 and the latency budget"}
