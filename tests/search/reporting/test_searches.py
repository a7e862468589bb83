"""Searches of a workspace read back: whole, damaged, unfinished, and which may be compared."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.reporting.evaluated import EvaluatedSubnets
from litepose_ofa.search.reporting.findings import Findings, build_panel, panel_groups
from litepose_ofa.search.reporting.page.report_page import report_page, write_report
from litepose_ofa.search.reporting.searches import Missing, comparable, group_name, read_searches
from litepose_ofa.search.reporting.summary import collect_fronts, collect_progress, format_summary, summarise
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import write_json

SPACE = SearchSpace.preset("litepose_released")
BUDGETS_MS = {"jetson_nano": 140.0, "raspberry_pi_4b": 600.0}


def test_what_is_missing_is_said_and_the_rest_reported(
    workspace: Path, tmp_path: Path, collect: Callable[..., Findings]
) -> None:
    search_folder = workspace / "search"
    (search_folder / "jetson_nano" / "m" / "chosen.json").unlink()
    (search_folder / "jetson_nano" / "s" / "front.csv").write_text("arch_digest\n")
    (search_folder / "raspberry_pi_4b" / "s" / "progress.csv").unlink()
    (search_folder / "raspberry_pi_4b" / "s" / "study.log").unlink()
    cells, gaps = read_searches(workspace, [("jetson_nano", "m"), ("jetson_nano", "l"), ("raspberry_pi_4b", "m")])
    assert [(cell.device, cell.tier) for cell in cells] == [("raspberry_pi_4b", "s"), ("raspberry_pi_4b", "m")]
    text = write_report(tmp_path / "report", collect(cells, gaps))
    missing = text.partition("Missing:")[2].splitlines()[1:]
    assert len(missing) == 5
    for said, line in zip(
        (
            "jetson_nano/m: not searched to the end",
            "lacks the column 'ap_source'",
            "jetson_nano/l: not searched; run litepose search",
            "progress.csv: no such file; search again",
            "its study is gone",
        ),
        missing,
        strict=True,
    ):
        assert said in line
    page = (tmp_path / "report" / "report.html").read_text()
    assert all(f"<li>{escape(line.removeprefix('- '))}</li>" in page for line in missing)
    assert (tmp_path / "report" / "importance.csv").exists(), "the surrogate and the table are there"


@pytest.mark.parametrize("content", ["{", "{}", '{"arch": {}}'])
def test_a_damaged_choice_is_left_out(workspace: Path, content: str) -> None:
    (workspace / "search" / "jetson_nano" / "m" / "chosen.json").write_text(content)
    cells, gaps = read_searches(workspace)
    assert len(cells) == 3
    assert len(gaps) == 1
    assert gaps[0].reason.startswith("left out: ")


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("progress.csv", "1,60,0.1", "no hypervolume: {}: has accuracies of another source"),
        ("progress.csv", "1,60", "no hypervolume: {}: lacks a number in the column 'hypervolume'"),
        ("progress.csv", "", "no hypervolume: {}: is no CSV"),
        ("front.csv", "6ab,0.5", "left out: {}: lacks a number in the column 'latency_ms'"),
        ("front.csv", "", "left out: {}: is no CSV"),
        ("front.csv", "arch_digest\n", "left out: {}: lacks the column 'ap_source'; search again"),
    ],
)
def test_a_table_that_was_cut_off_is_a_gap(workspace: Path, name: str, line: str, said: str) -> None:
    path = workspace / "search" / "jetson_nano" / "m" / name
    header, *_, last = path.read_text().splitlines(keepends=True)
    path.write_text(line if line.endswith("\n") or not line else header + last + line)
    cells, gaps = read_searches(workspace)
    gaps += collect_progress(cells)[1]
    assert [(gap.device, gap.tier) for gap in gaps] == [("jetson_nano", "m")]
    assert gaps[0].reason.startswith(said.format(path))


@pytest.mark.parametrize("content", ["[]", "{}", '{"config": 3}'])
def test_a_damaged_record_of_a_run_is_a_gap(
    predicted: tuple[Path, AccuracyPredictor], tmp_path: Path, content: str, collect: Callable[..., Findings]
) -> None:
    workspace = Path(shutil.copytree(predicted[0], tmp_path / "copy"))
    (workspace / "search" / "jetson_nano" / "m" / "run.json").write_text(content)
    findings = collect(read_searches(workspace)[0], predictor=predicted[1])
    (gap,) = [gap for gap in findings.gaps if "run.json" in gap.reason]
    assert gap.reason.endswith("run.json: has no config; remove the file, or search again")
    assert findings.dataset is None


def test_without_a_finished_search_there_is_no_report(tmp_path: Path) -> None:
    write_json(tmp_path / "search" / "jetson_nano" / "m" / "run.json", {"config": {}})
    with pytest.raises(InputError, match="no search that has ended"):
        read_searches(tmp_path)


def test_searches_of_another_space_or_dataset_are_kept_apart(
    workspace: Path, leave_search: Callable[..., None]
) -> None:
    leave_search(workspace, "jetson_nano", tier="coco", model=PublishedSurrogate(SPACE, dataset="coco"))
    tiny = PublishedSurrogate(SearchSpace.preset("tiny"))
    leave_search(workspace, "jetson_nano", tier="tiny", model=tiny)
    groups = comparable(read_searches(workspace)[0])
    assert sorted(len(group) for group in groups) == [1, 1, 4]
    names = [group_name(group) for group in groups]
    assert len(set(names)) == 3
    assert sum(name.startswith("tiny-published-surrogate-") for name in names) == 1


def test_searches_with_another_table_or_with_decoding_have_a_panel_of_their_own(
    workspace: Path, leave_search: Callable[..., None]
) -> None:
    table = LatencyTable.load("jetson_nano")
    slower = table.with_metadata(network_scale=1.5 * table.metadata.network_scale)
    leave_search(workspace, "jetson_nano", tier="slow", cost=CostModel(SPACE, tables={"jetson_nano": slower}))
    decoding = {"jetson_nano": DecodingCost.load("host_cpu")}
    leave_search(
        workspace, "jetson_nano", tier="frame", cost=CostModel(SPACE, tables={"jetson_nano": table}, decoding=decoding)
    )
    cells, _ = read_searches(workspace)
    (group,) = comparable(cells)
    panels = panel_groups(group)
    assert {title: len(members) for title, members in panels.items()} == {
        f"jetson_nano, table {table.digest}": 2,
        f"jetson_nano, table {slower.digest}": 1,
        "jetson_nano, with decoding of 5 people": 1,
        "raspberry_pi_4b": 2,
    }
    (slow,) = panels[f"jetson_nano, table {slower.digest}"]
    panel = build_panel("slow", [slow], summarise(cells), collect_fronts(cells), evaluated=None, samples=None)
    assert (panel.summary["tier"].tolist(), set(panel.front["tier"])) == (["slow"], {"slow"})
    assert panel.published.empty
    assert "latency table jetson_nano has changed since the search" in panel.note
    frame = summarise(panels["jetson_nano, with decoding of 5 people"])
    assert frame["decoding_provenance"].tolist() == ["assumed"]
    assert "another machine: an assumption" in format_summary(frame)


def test_a_search_for_several_devices_is_read_from_its_own_folder(
    tmp_path: Path, leave_search: Callable[..., None], collect: Callable[..., Findings]
) -> None:
    leave_search(tmp_path / "several", "jetson_nano", "raspberry_pi_4b")
    cells, gaps = read_searches(tmp_path / "several")
    assert (len(cells), gaps) == (2, [])
    progress, without = collect_progress(cells)
    assert (set(progress["device"]), len(progress), without) == ({"jetson_nano+raspberry_pi_4b"}, 2, [])
    nano, pi = (EvaluatedSubnets.of(cell) for cell in cells)
    np.testing.assert_array_equal(nano.genomes, pi.genomes)
    cost = CostModel(SPACE, tables={name: LatencyTable.load(name) for name in BUDGETS_MS})
    for device, found in zip(BUDGETS_MS, (nano, pi), strict=True):
        np.testing.assert_allclose(found.latency_ms, cost.latency_ms(found.genomes, device))
    np.testing.assert_allclose(nano.ap, PublishedSurrogate(SPACE).predict_ap(nano.genomes))
    merged = EvaluatedSubnets.merged([nano, pi])
    np.testing.assert_array_equal(merged.genomes, nano.genomes)
    assert "The searches made 60 evaluations." in report_page(collect(cells), tmp_path).lead, "one search for both"
    (tmp_path / "several" / "search" / "raspberry_pi_4b" / "m" / "chosen.json").unlink()
    _, gaps = read_searches(tmp_path / "several")
    assert gaps == [
        Missing("jetson_nano+raspberry_pi_4b", "m", "not searched to the end; the same litepose search goes on")
    ]


def test_cells_come_by_device_and_budget(workspace: Path) -> None:
    cells, gaps = read_searches(workspace)
    assert [(cell.device, cell.tier) for cell in cells] == [(d, t) for d in BUDGETS_MS for t in ("s", "m")]
    assert gaps == []
    assert all(cell.export_gap() is None for cell in cells), "a surrogate's choice has no weights to export"
    assert [len(group) for group in comparable(cells)] == [4]
    assert list(panel_groups(cells)) == list(BUDGETS_MS)
