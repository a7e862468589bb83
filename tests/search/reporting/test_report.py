"""Reports on workspaces: whole ones, ones with gaps, and ones whose searches cannot be compared."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from markupsafe import escape
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from latency_tables import LatencyTable
from latency_tables.decoding import DecodingCost
from search.accuracy.evaluators import Accuracy, PredictorEvaluator
from search.accuracy.predictor import AccuracyPredictor
from search.accuracy.published_surrogate import PublishedSurrogate
from search.accuracy.sampling import AccuracySamples
from search.cost import CostModel
from search.course.generations import StudySettings
from search.course.results import choose, front_candidates, write_chosen, write_front, write_progress
from search.course.stopping import StopRule
from search.course.study import IDENTITY_KEY, SearchStudy
from search.problem import SearchProblem
from search.proposals.strategies import RandomStrategy
from search.reporting.device_latency import DEVICE, DeviceLatency
from search.reporting.evaluated import EvaluatedSubnets
from search.reporting.findings import Findings
from search.reporting.importances import accuracy_model
from search.reporting.page.document import render
from search.reporting.page.report_page import report_page
from search.reporting.page.section import Table
from search.reporting.panels import build_panel, panel_groups
from search.reporting.published_points import published_points
from search.reporting.report import remove_report, write_index, write_report
from search.reporting.searches import Gap, SearchedCell, comparable, group_name, read_searches
from search.reporting.summary import (
    SURROGATE_WARNING,
    collect_fronts,
    collect_progress,
    format_gaps,
    format_summary,
    summarise,
)
from supernet.arch import Arch
from supernet.complexity import measure_complexity
from supernet.data.skeletons import CROWDPOSE
from supernet.errors import InputError
from supernet.export.bundle import write_bundle
from supernet.files import read_json, write_json
from supernet.litepose import LitePose
from supernet.published import published_archs
from supernet.space import SearchSpace

SPACE = SearchSpace.preset("litepose_released")
BUDGETS_MS = {"jetson_nano": 140.0, "raspberry_pi_4b": 600.0}


def search(
    workspace: Path,
    *devices: str,
    tier: str = "m",
    model: Any = None,
    cost: CostModel | None = None,
    share: float = 1.0,
    verified: int = 0,
) -> None:
    """Leave what a search of a few random subnets leaves."""
    model = model or PublishedSurrogate(SPACE)
    cost = cost or CostModel(model.space, tables={name: LatencyTable.load(name) for name in devices})
    budgets = {name: share * BUDGETS_MS[name] for name in devices}
    problem = SearchProblem(cost, budgets)
    folder = workspace / "search" / "+".join(devices) / tier
    folder.mkdir(parents=True)
    study = SearchStudy(
        problem,
        PredictorEvaluator(model),
        RandomStrategy(problem),
        storage=folder / "study.log",
        name=f"{workspace.name}/search/{'+'.join(devices)}/{tier}",
        settings=StudySettings(first=40, batch=20),
        stop=StopRule(generations=1),
    )
    run = study.run()
    write_progress(folder / "progress.csv", run.progress, model.source)
    write_json(folder / "run.json", {"config": {"storage": None, "dataset": {"name": "coco"}}})
    for name in devices:
        front = front_candidates(problem, run.history, model.source, device=name)
        front[:verified] = [
            replace(each, verified=Accuracy(each.accuracy.ap - 0.05, "supernet")) for each in front[:verified]
        ]
        here = workspace / "search" / name / tier
        write_front(here / "front.csv", front)
        record = {
            "device": name, "table": name, "tier": tier, "budget_ms": budgets[name], "goal": "front",
            "evaluations": len(run.history), "stopped_by": run.stopped_by,
            "search": {**study.identity, "table": cost.tables[name].digest},
        }  # fmt: skip
        write_chosen(here / "chosen.json", choose(front), record)


@pytest.fixture(scope="module")
def _surrogate_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("surrogate")
    for device in BUDGETS_MS:
        search(workspace, device, tier="m")
        search(workspace, device, tier="s", share=0.7)
    return workspace


@pytest.fixture
def workspace(_surrogate_workspace: Path, tmp_path: Path) -> Path:
    """Two devices, two tiers, by the published surrogate; a copy that the test may change."""
    return Path(shutil.copytree(_surrogate_workspace, tmp_path / "surrogate"))


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AccuracyPredictor]:
    """A workspace of a search with a predictor, three of its front verified, and the predictor."""
    workspace = tmp_path_factory.mktemp("predicted")
    cost = CostModel(SPACE, tables={"jetson_nano": LatencyTable.load("jetson_nano")})
    genomes = cost.codec.sample(60, np.random.default_rng(3))
    ap = PublishedSurrogate(SPACE).predict_ap(genomes)
    predictor = AccuracyPredictor.fit(SPACE, genomes, ap, identity={"weights": "w", "split": "search"}, kind="ridge")
    search(workspace, "jetson_nano", model=predictor, cost=cost, verified=3)
    return workspace, predictor


def export(workspace: Path, device: str, tier: str, *, of: Arch | None = None, **changes: Any) -> None:
    """Leave what an export of the chosen subnet leaves, or of another that finetuning preferred."""
    chosen = read_json(workspace / "search" / device / tier / "chosen.json")
    arch = Arch.from_dict(chosen.pop("arch")) if of is None else of
    chosen.pop("arch", None)
    folder = workspace / "export" / device / tier
    facts = {
        "search": chosen, "finetuned": None, "accuracy": {"metrics": {"AP": 0.41}},
        "equal_to_supernet": {"bit_equal": True}, **changes,
    }  # fmt: skip
    images = np.zeros((0, 3, arch.image_size, arch.image_size), np.float32)
    write_bundle(folder, LitePose(arch), skeleton=CROWDPOSE, images=images, formats=(), facts=facts)


def collect(cells: Sequence[SearchedCell], gaps: Sequence[Gap] = (), **known: Any) -> Findings:
    return Findings.collect(cells, gaps, rng=np.random.default_rng(0), **known)


def test_cells_come_by_device_and_budget(workspace: Path) -> None:
    cells, gaps = read_searches(workspace)
    assert [(cell.device, cell.tier) for cell in cells] == [(d, t) for d in BUDGETS_MS for t in ("s", "m")]
    assert gaps == []
    assert all(cell.export_gap() is None for cell in cells), "a surrogate's choice has no weights to export"
    assert [len(group) for group in comparable(cells)] == [4]
    assert list(panel_groups(cells)) == list(BUDGETS_MS)


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


def test_a_surrogate_is_called_so_in_every_file_and_line(workspace: Path, tmp_path: Path) -> None:
    cells, _ = read_searches(workspace)
    text = write_report(tmp_path / "report", collect(cells))
    assert text.startswith("AP by a SURROGATE")
    lines = [line for line in text.splitlines() if "/search/" in line]
    assert len(lines) == 4
    assert all("surrogate  " in line and "~" in line for line in lines)
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


def test_a_page_has_every_section_and_leads_to_what_was_chosen(workspace: Path, tmp_path: Path) -> None:
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


def test_names_in_a_workspace_cannot_become_markup(workspace: Path, tmp_path: Path) -> None:
    tier = "<img src=x onerror=alert(1)>"
    (workspace / "search" / "jetson_nano" / "s").rename(workspace / "search" / "jetson_nano" / tier)
    cells, gaps = read_searches(workspace)
    hostile = Gap("</script><script>alert(1)</script>", tier, "`<b>`")
    page = render(report_page(collect(cells, [*gaps, hostile]), tmp_path))
    assert tier not in page
    assert tier.upper() not in page
    assert str(escape(tier)) in page
    assert "<script>alert" not in page
    assert "<li>&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;/" in page


def test_an_index_leads_to_reports_of_searches_that_cannot_be_compared(workspace: Path, tmp_path: Path) -> None:
    search(workspace, "jetson_nano", tier="coco", model=PublishedSurrogate(SPACE, dataset="coco"))
    reports = {group_name(group): collect(group) for group in comparable(read_searches(workspace)[0])}
    write_index(tmp_path, workspace, reports)
    page = (tmp_path / "report.html").read_text()
    assert len(reports) == 2
    assert all(f'href="{name}/report.html"' in page for name in reports)
    assert "vegaEmbed" not in page
    write_index(tmp_path, workspace, {"a #1": next(iter(reports.values()))})
    assert 'href="a%20%231/report.html"' in (tmp_path / "report.html").read_text()


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


def test_what_is_missing_is_said_and_the_rest_reported(workspace: Path, tmp_path: Path) -> None:
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
            "lacks the column 'ap'",
            "jetson_nano/l: not searched; run litepose search",
            "raspberry_pi_4b/s: has no progress.csv",
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


@pytest.mark.parametrize("column", ["verified_ap", "macs", "latency_provenance"])
def test_a_front_that_lacks_a_column_is_left_out(workspace: Path, column: str) -> None:
    path = workspace / "search" / "jetson_nano" / "m" / "front.csv"
    pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
    cells, (gap,) = read_searches(workspace)
    assert len(cells) == 3
    assert gap.reason == f"left out: {path}: lacks the column {column!r}; search again"


@pytest.mark.parametrize("content", ["[]", "{}", '{"config": 3}'])
def test_a_damaged_record_of_a_run_is_a_gap(
    predicted: tuple[Path, AccuracyPredictor], tmp_path: Path, content: str
) -> None:
    workspace = Path(shutil.copytree(predicted[0], tmp_path / "copy"))
    (workspace / "search" / "jetson_nano" / "m" / "run.json").write_text(content)
    findings = collect(read_searches(workspace)[0], predictor=predicted[1])
    (gap,) = [gap for gap in findings.gaps if "run.json" in gap.reason]
    assert gap.reason.endswith("run.json: has no config; remove the file, or search again")
    assert findings.dataset is None


def test_a_study_that_was_begun_anew_is_a_gap(workspace: Path) -> None:
    cell = read_searches(workspace)[0][0]
    path = cell.run_folder / "study.log"
    path.unlink()
    name = f"{workspace.name}/search/{cell.device}/{cell.tier}"
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name=name)
    study.set_user_attr(IDENTITY_KEY, {key: value for key, value in cell.search.items() if key != "table"})
    with pytest.raises(InputError, match="has no evaluated subnet"):
        EvaluatedSubnets.of(cell)


def test_a_study_in_a_database_is_read_and_let_go_of(workspace: Path) -> None:
    cell = read_searches(workspace)[0][0]
    journal, file = cell.run_folder / "study.log", workspace / "studies.db"
    expected = EvaluatedSubnets.of(cell)
    name, storage = f"search/{cell.device}/{cell.tier}", RDBStorage(f"sqlite:///{file}")
    source = JournalStorage(JournalFileBackend(str(journal)))
    (known,) = optuna.get_all_study_names(source)
    optuna.copy_study(from_study_name=known, from_storage=source, to_storage=storage, to_study_name=name)
    storage.remove_session()
    storage.engine.dispose()
    write_json(cell.run_folder / "run.json", {"config": {"storage": f"sqlite:///{file}"}})
    (cell, *_), _ = read_searches(workspace)
    found = EvaluatedSubnets.of(cell)
    np.testing.assert_array_equal(found.genomes, expected.genomes)
    np.testing.assert_array_equal(found.ap, expected.ap)
    opened = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
    assert file not in opened
    file.unlink()
    with pytest.raises(InputError, match=r"is gone \(.*studies\.db\)"):
        EvaluatedSubnets.of(cell)
    assert not file.exists(), "a report makes no database"


def test_without_a_finished_search_there_is_no_report(tmp_path: Path) -> None:
    write_json(tmp_path / "search" / "jetson_nano" / "m" / "run.json", {"config": {}})
    with pytest.raises(InputError, match="no search that has ended"):
        read_searches(tmp_path)


def test_gaps_of_one_reason_are_one_line() -> None:
    gaps = [Gap("a", "s", "lost"), Gap("b", "s", "broken"), Gap("a", "m", "lost")]
    assert format_gaps(gaps) == ["a/s, a/m: lost", "b/s: broken"]


def test_searches_of_another_space_or_dataset_are_kept_apart(workspace: Path) -> None:
    search(workspace, "jetson_nano", tier="coco", model=PublishedSurrogate(SPACE, dataset="coco"))
    tiny = PublishedSurrogate(SearchSpace.preset("tiny"))
    search(workspace, "jetson_nano", tier="tiny", model=tiny)
    groups = comparable(read_searches(workspace)[0])
    assert sorted(len(group) for group in groups) == [1, 1, 4]
    names = [group_name(group) for group in groups]
    assert len(set(names)) == 3
    assert sum(name.startswith("tiny-published-surrogate-") for name in names) == 1


def test_searches_with_another_table_or_with_decoding_have_a_panel_of_their_own(workspace: Path) -> None:
    table = LatencyTable.load("jetson_nano")
    slower = LatencyTable(replace(table.metadata, network_scale=1.5 * table.metadata.network_scale), table.rows)
    search(workspace, "jetson_nano", tier="slow", cost=CostModel(SPACE, tables={"jetson_nano": slower}))
    decoding = {"jetson_nano": DecodingCost.load("host_cpu")}
    search(
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
    assert (panel.summary["tier"].tolist(), set(panel.front["tier"]), panel.published) == (["slow"], {"slow"}, ())
    assert "latency table jetson_nano has changed since the search" in panel.note
    frame = summarise(panels["jetson_nano, with decoding of 5 people"])
    assert frame["decoding_provenance"].tolist() == ["assumed"]
    assert "another machine: an assumption" in format_summary(frame)


def test_a_search_for_several_devices_is_read_from_its_own_folder(tmp_path: Path) -> None:
    search(tmp_path / "several", "jetson_nano", "raspberry_pi_4b")
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
        Gap("jetson_nano+raspberry_pi_4b", "m", "not searched to the end; the same litepose search goes on")
    ]


def test_a_predictors_search_tells_predicted_verified_and_held_out_apart(
    predicted: tuple[Path, AccuracyPredictor], tmp_path: Path
) -> None:
    workspace = Path(shutil.copytree(predicted[0], tmp_path / "copy"))
    (cell,), _ = read_searches(workspace)
    gap = cell.export_gap()
    assert gap is not None
    assert gap.reason.startswith("not exported")
    (row,) = summarise([cell]).to_dict("records")
    assert (row["ap_predicted"], row["ap_search"]) == (cell.record["ap"], cell.record["verified_ap"])
    assert pd.isna(row["ap_val"])

    export(workspace, "jetson_nano", "m")
    (cell,), _ = read_searches(workspace)
    assert cell.export_gap() is None
    (row,) = summarise([cell]).to_dict("records")
    assert (row["ap_val"], row["bit_equal"], row["folder"]) == (0.41, True, str(cell.export_folder))
    text = format_summary(summarise([cell]))
    assert "AP held-out is measured" in text
    assert "surrogate" not in text

    export(workspace, "jetson_nano", "m", search={"budget_ms": 1})
    (cell,), _ = read_searches(workspace)
    gap = cell.export_gap()
    assert gap is not None
    assert "is not what the search chose last" in gap.reason
    assert summarise([cell])["ap_val"].isna().all()

    path = cell.export_folder / "arch.json"
    path.write_bytes(path.read_bytes() + b" ")
    (cell,), _ = read_searches(workspace)
    gap = cell.export_gap()
    assert gap is not None
    assert gap.reason.startswith(f"the export is left out: {path}: is damaged")
    assert cell.manifest is None


def test_a_finetuned_subnet_has_its_own_numbers(predicted: tuple[Path, AccuracyPredictor], tmp_path: Path) -> None:
    workspace = Path(shutil.copytree(predicted[0], tmp_path / "copy"))
    (cell,), _ = read_searches(workspace)
    other = cell.front[cell.front["arch_digest"] != cell.record["arch_digest"]].iloc[0]
    arch = next(arch for arch in cell.outcome.best(100) if arch.digest == other["arch_digest"])
    finetuned = {"ap_search": {"after": 0.77}}
    export(workspace, "jetson_nano", "m", of=arch, finetuned=finetuned, equal_to_supernet=None)
    (row,) = summarise(read_searches(workspace)[0]).to_dict("records")
    assert (row["arch_digest"], row["latency_ms"], row["macs"]) == (arch.digest, other["latency_ms"], other["macs"])
    assert (row["ap_search"], row["ap_predicted"], row["bit_equal"]) == (0.77, None, None)
    assert row["finetuned"]


def test_samples_are_drawn_only_if_they_are_of_the_same_supernet(predicted: tuple[Path, AccuracyPredictor]) -> None:
    workspace, predictor = predicted
    cells, _ = read_searches(workspace)
    tables = summarise(cells), collect_fronts(cells)
    samples = AccuracySamples(SPACE, 14, predictor.identity, predictor.genomes, predictor.ap)
    cost = CostModel(SPACE, tables={"jetson_nano": LatencyTable.load("jetson_nano")})
    cloud = build_panel("nano", cells, *tables, evaluated=None, samples=samples).cloud
    assert cloud is not None
    np.testing.assert_allclose(cloud.latency_ms, cost.latency_ms(predictor.genomes, "jetson_nano"))
    for other in (replace(samples, identity={"weights": "x", "split": "search"}), replace(samples, identity={"a": 1})):
        assert build_panel("nano", cells, *tables, evaluated=None, samples=other).cloud is None


def test_importances_are_of_the_model_that_the_search_had(
    predicted: tuple[Path, AccuracyPredictor], workspace: Path, tmp_path: Path
) -> None:
    path, predictor = predicted
    (cell,), _ = read_searches(path)
    assert accuracy_model(cell, [], predictor) is predictor
    with pytest.raises(InputError, match="has no predictor that can be read"):
        accuracy_model(cell, [], None)
    refitted = predictor.refitted(predictor.genomes[:1], np.array([0.9]))
    with pytest.raises(InputError, match="another one than the search had"):
        accuracy_model(cell, [], refitted)
    text = write_report(tmp_path, collect([cell], predictor=refitted))
    assert "no importances for AP" in text
    assert set(pd.read_csv(tmp_path / "importance.csv")["quantity"]) == {"latency_ms/jetson_nano"}
    surrogate = read_searches(workspace)[0][0]
    assert accuracy_model(surrogate, [], predictor).source == "published-surrogate"


def test_a_search_of_measured_subnets_is_explained_by_a_fit_to_them(
    predicted: tuple[Path, AccuracyPredictor],
) -> None:
    (cell,), _ = read_searches(predicted[0])
    outcome = replace(cell.outcome, record={**cell.record, "ap_source": "supernet"})
    measured = SearchedCell(cell.workspace, cell.device, cell.tier, outcome, cell.front)
    evaluated = EvaluatedSubnets.of(cell)
    model = accuracy_model(measured, [evaluated], None)
    assert np.abs(model.predict_ap(evaluated.genomes) - evaluated.ap).mean() < 0.005
    with pytest.raises(InputError, match="no study"):
        accuracy_model(measured, [], None)
    (row,) = summarise([measured]).to_dict("records")
    assert (row["ap_search"], row["ap_predicted"]) == (cell.record["verified_ap"], None)


def test_published_points() -> None:
    table, decoding = LatencyTable.load("jetson_nano"), DecodingCost.load("host_cpu")
    archs = published_archs()
    points = published_points(DeviceLatency(table), dataset="crowdpose")
    assert [(point.name, point.ap) for point in points] == [("XS", 0.495), ("S", 0.583), ("M", 0.599), ("L", 0.619)]
    assert [point.latency_ms for point in points] == [
        table.estimate(archs[f"search-{point.name}"]).ms for point in points
    ]
    elsewhere = published_points(DeviceLatency(table, decoding, people=3), dataset="people")
    for point, bare in zip(elsewhere, points, strict=True):
        size = archs[f"search-{point.name}"].image_size
        assert (point.ap, point.latency_ms) == (None, bare.latency_ms + decoding.ms(size, 3))


def test_a_device_latency_is_the_one_of_the_search() -> None:
    table, cost = LatencyTable.load("jetson_nano"), DecodingCost.load("host_cpu")
    record = {"measured_on": cost.name, "digest": cost.digest, "people": 7}
    latency = DeviceLatency.load("jetson_nano", table.digest, record)
    assert (latency.decoding, latency.people) == (cost, 7)
    model = latency.cost_model(SPACE)
    genomes = model.codec.sample(5, np.random.default_rng(0))
    np.testing.assert_allclose(model.latency_ms(genomes, DEVICE), latency.ms(model.codec.decode_many(genomes)))
    with pytest.raises(InputError, match="has changed since"):
        DeviceLatency.load("jetson_nano", "0" * 12)
    with pytest.raises(InputError, match="is not the one that the search used"):
        DeviceLatency.load("jetson_nano", table.digest, {**record, "digest": "0" * 12})
