"""Sections of records: what was recorded is shown, what was not is one line with the command that records it."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from litepose_ofa.search.reporting.page.drawing import spec_of
from litepose_ofa.search.reporting.page.predictor_section import predictor_section, regressor_table
from litepose_ofa.search.reporting.page.report_page import samples_section
from litepose_ofa.search.reporting.page.section import Chart, Grid, Picture, Prose, Section, Table, interval
from litepose_ofa.search.reporting.page.sensitivity_section import (
    changes,
    fidelity_section,
    fidelity_table,
    sensitivity_section,
)
from litepose_ofa.search.reporting.page.training_section import curves, read_metrics, thin_curve, training_section
from litepose_ofa.search.trust.rank_fidelity import FidelityRecord, fidelity_report
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import write_json, write_text

RECORDS: dict[str, tuple[Callable[[Path], Section], str]] = {
    "supernet/metrics.jsonl": (training_section, "`litepose train`"),
    "predictor/quality.json": (predictor_section, "`litepose fit`"),
    "rank_fidelity/rank_fidelity.json": (fidelity_section, "`litepose rank-fidelity`"),
    "sensitivity/sensitivity.csv": (sensitivity_section, "`litepose sensitivity`"),
}


def charts(section: Section) -> Iterator[Chart]:
    for block in section.blocks:
        blocks = block.blocks if isinstance(block, Grid) else (block,)
        yield from (inner for inner in blocks if isinstance(inner, Chart))


def prose(section: Section) -> str:
    return " ".join(block.text for block in section.blocks if isinstance(block, Prose))


def points_of(chart: Chart) -> list[list[dict[str, Any]]]:
    """The data of a chart, one list a table in it."""
    spec = spec_of(chart)
    assert spec["width"] == "container"
    return list(spec["datasets"].values())


@pytest.mark.parametrize("record", RECORDS)
def test_what_is_not_recorded_is_one_line_with_its_command(tmp_path: Path, record: str) -> None:
    build, command = RECORDS[record]
    section = build(tmp_path)
    (only,) = section.blocks
    assert isinstance(only, Prose)
    assert command in only.text
    assert "not recorded" in only.text


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"report": 1}', "a,b\n1,2\n", '"text"', "\x00"])
@pytest.mark.parametrize("record", RECORDS)
def test_a_damaged_record_is_a_line_and_no_error(tmp_path: Path, record: str, content: str) -> None:
    write_text(tmp_path / record, content)
    (only,) = RECORDS[record][0](tmp_path).blocks
    assert isinstance(only, Prose)
    assert "\n" not in only.text
    assert record in only.text


def test_an_interval_is_written_after_its_figure() -> None:
    assert interval({"value": 0.5, "low": 0.25, "high": 1}, ".1f", scale=100) == "50.0 (25.0 to 100.0)"


def write_metrics(path: Path, steps: int = 1000) -> None:
    lines = [
        {"step": step, "learning_rate": 0.25, "loss/largest": 2.0, "loss/smallest": 1.0, "largest/heatmap": 0.5,
         "largest/push": 0.0, "largest/distillation": 0.25, "images_per_second": 30.0, "skipped_updates": 2.0}
        for step in range(steps)
    ]  # fmt: skip
    ends = [{"step": steps - 1, "ap/smallest": 0.5, "ap/largest": 0.75}]
    write_text(path, "".join(json.dumps(line) + "\n" for line in [*lines, *ends]) + '{"step": 9')


def test_training_curves_are_thinned_and_tell_the_end(tmp_path: Path) -> None:
    write_metrics(tmp_path / "supernet" / "metrics.jsonl")
    section = training_section(tmp_path)
    assert prose(section) == (
        "1,000 steps, 30 images/s in the median, 2 updates skipped. AP at the end: 50.0 % smallest, 75.0 % largest."
    )
    loss, parts, accuracy, rate = charts(section)
    (points,) = points_of(loss)
    assert len(points) == 2 * 400
    assert {point["curve"]: point["value"] for point in points} == {"smallest": 1.0, "largest": 2.0}
    assert list(dict.fromkeys(point["curve"] for point in points)) == ["smallest", "largest"]
    shown = {point["curve"] for point in points_of(parts)[0]}
    assert shown == {"largest, heatmap", "largest, push", "largest, distillation"}
    assert [point["value"] for point in points_of(accuracy)[0]] == [50, 75]
    assert {point["value"] for point in points_of(rate)[0]} == {0.25}


def test_a_training_without_validations_says_how_to_have_them(tmp_path: Path) -> None:
    write_text(tmp_path / "supernet" / "metrics.jsonl", '{"step": 0, "loss/largest": null}\n')
    section = training_section(tmp_path)
    assert "training.validate_every" in prose(section)
    assert not list(charts(section)), "a curve without a value is no curve"


def test_finetuned_subnets_have_a_curve_each(tmp_path: Path) -> None:
    for tier in ("m", "s"):
        write_text(tmp_path / "finetune" / "board" / tier / "metrics.jsonl", '{"step": 0, "loss/subnet": 0.5}\n')
    section = training_section(tmp_path)
    (chart,) = charts(section)
    assert [point["curve"] for point in points_of(chart)[0]] == ["board/m", "board/s"]


def test_a_thinned_curve_keeps_ends_and_mean() -> None:
    steps = np.arange(1200.0)
    values = np.sin(steps)
    thin = thin_curve(steps, values, 400)
    assert len(thin) == 400
    assert thin["value"].mean() == pytest.approx(values.mean())
    assert thin["step"].iloc[0] == pytest.approx(1)
    assert thin["step"].is_monotonic_increasing
    short = thin_curve([0, 1, 2], [1, float("nan"), 3])
    assert short.to_numpy().tolist() == [[0, 1], [2, 3]], "a few points stay as they are"
    assert len(thin_curve([], [])) == 0


def test_metrics_of_a_killed_run_are_read(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.jsonl", steps=3)
    frame = read_metrics(tmp_path / "metrics.jsonl")
    assert frame["step"].tolist() == [0, 1, 2, 2]
    assert curves(frame, {"a": "ap/largest"}).to_dict("records") == [{"step": 2, "value": 0.75, "curve": "a"}]
    write_text(tmp_path / "empty.jsonl", "\n")
    with pytest.raises(InputError, match=r"empty\.jsonl: holds no metrics"):
        read_metrics(tmp_path / "empty.jsonl")


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


@pytest.fixture
def quality() -> dict[str, Any]:
    def regressor(tau: float) -> dict[str, Any]:
        held_out = {"num_subnets": 2, "top_k": 3, "kendall_tau": figure(tau), "spearman": figure(tau)}
        held_out |= {"regret": figure(0.01), "mae": figure(0.02)}
        return {"cross_validation": {"kendall_tau": tau, "mae": 0.02}, "held_out": held_out}

    kinds = {"ridge": regressor(0.6), "gaussian_process": regressor(0.8)}
    return {"chosen": "gaussian_process", "num_samples": 5, "num_held_out": 2, "confidence": 0.9, "regressors": kinds}


def test_a_predictor_is_judged_on_what_it_did_not_see(tmp_path: Path, quality: dict[str, Any]) -> None:
    quality["predictions"] = {"measured": [0.5, 0.6], "predicted": [0.55, 0.6], "held_out": [True, False]}
    write_json(tmp_path / "predictor" / "quality.json", quality)
    section = predictor_section(tmp_path)
    text = prose(section)
    assert "Gaussian process was chosen" in text
    assert "2 of 5 measured subnets" in text
    assert "Kendall tau 0.80 (0.70 to 0.90), mean absolute error 2.0 (-8.0 to 12.0) AP points" in text
    (chart,) = charts(section)
    equal, points = points_of(chart)
    assert equal == [{"predicted": 50, "measured": 50}, {"predicted": 60, "measured": 60}]
    assert [point["subnets"] for point in points] == ["held out", "cross-validated"]
    table = regressor_table(quality)
    assert table["regressor"].tolist() == ["Gaussian process, chosen", "ridge"]
    assert table["tau, cross-validated"].tolist() == ["0.80", "0.60"]
    assert isinstance(section.blocks[-1], Table)


def test_without_single_predictions_there_is_no_scatter(tmp_path: Path, quality: dict[str, Any]) -> None:
    write_json(tmp_path / "predictor" / "quality.json", quality)
    section = predictor_section(tmp_path)
    assert not list(charts(section))
    assert "`litepose fit` run again keeps them" in prose(section)


def test_rank_fidelity_is_shown_group_by_group(tmp_path: Path) -> None:
    groups = ("spread", "equal_macs")
    records = [
        FidelityRecord(group, f"{group}{i}", 10**6 * (i + 1), 0.1 * i, (0.1 * i, 0.1 * i + 0.02))  # type: ignore[arg-type]
        for group in groups
        for i in range(4)
    ]
    report = fidelity_report(records)
    content = {"report": report, "records": [dataclasses.asdict(record) for record in records], "steps": 600}
    write_json(tmp_path / "rank_fidelity" / "rank_fidelity.json", content)
    section = fidelity_section(tmp_path)
    assert "600 steps each" in prose(section)
    assert "Kendall tau: 1.00 (1.00 to 1.00) spread over the space" in prose(section)
    for chart, group in zip(charts(section), groups, strict=True):
        (points,) = points_of(chart)
        assert [point["arch"] for point in points] == [f"{group}{i}" for i in range(4)]
        assert [point["alone"] for point in points] == pytest.approx([1, 11, 21, 31])
        assert [point["high"] - point["low"] for point in points] == pytest.approx([2] * 4)
        assert "training seeds" in chart.caption
    table = fidelity_table(report)
    assert table["subnets"].tolist() == ["spread over the space, 4", "equal MACs, 4"]
    assert table["tau, two training seeds"].notna().all()


def sensitivity_frame(provenance: str = "calibrated-estimate") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "dimension": ["kernel", "kernel", "depth of stage 1", "depth of stage 1"],
            "value": [3, 7, 1, 2],
            "is_base": [False, True, False, True],
            "ap": [0.5, 0.6, 0.58, 0.6],
            "macs": [8e6, 1e7, 9e6, 1e7],
            "params": [1, 2, 3, 2],
            "latency_ms/board": [8.0, 10.0, 9.0, 10.0],
            "latency_provenance/board": provenance,
        }
    )


def test_changes_are_from_the_base() -> None:
    frame = sensitivity_frame()
    assert changes(frame, "ap", relative=False)["change"].tolist() == pytest.approx([-10, 0, -2, 0])
    assert changes(frame, "latency_ms/board", relative=True)["change"].tolist() == pytest.approx([-20, 0, -10, 0])


@pytest.mark.parametrize(("provenance", "said"), [("measured", "measured table"), ("calibrated-estimate", "estimated")])
def test_sensitivity_says_whether_a_latency_is_estimated(tmp_path: Path, provenance: str, said: str) -> None:
    path = tmp_path / "sensitivity" / "sensitivity.csv"
    path.parent.mkdir()
    sensitivity_frame(provenance).to_csv(path, index=False)
    section = sensitivity_section(tmp_path)
    assert "60.0 % AP and 10.0 MMACs" in prose(section)
    accuracy, latency = charts(section)
    assert "AP" in accuracy.caption
    assert latency.caption.startswith("board: ")
    assert said in latency.caption
    assert any(point.get("low") == -20 for points in points_of(latency) for point in points)


def test_sensitivity_without_tables_shows_macs(tmp_path: Path) -> None:
    path = tmp_path / "sensitivity" / "sensitivity.csv"
    path.parent.mkdir()
    sensitivity_frame().iloc[:, :6].to_csv(path, index=False)
    assert [chart.caption for chart in charts(sensitivity_section(tmp_path))][1].startswith("Change of MACs")


def test_samples_are_there_if_there_is_something_to_show_or_say() -> None:
    picture = Picture(b"jpeg", "people", "2 labelled")
    assert samples_section([]) is None
    assert samples_section([], "nothing is exported") == Section(
        "samples", "Sample predictions", [Prose("nothing is exported")]
    )
    shown = samples_section([picture], "held out")
    assert shown is not None
    assert shown.blocks == [Prose("held out"), Grid((picture,))]


def test_every_chart_has_hover_texts(tmp_path: Path, quality: dict[str, Any]) -> None:
    write_metrics(tmp_path / "supernet" / "metrics.jsonl", steps=3)
    quality["predictions"] = {"measured": [0.5], "predicted": [0.55], "held_out": [True]}
    write_json(tmp_path / "predictor" / "quality.json", quality)
    found = [chart for build in (training_section, predictor_section) for chart in charts(build(tmp_path))]
    assert len(found) == 5
    for chart in found:
        assert isinstance(chart.chart, alt.Chart | alt.LayerChart)
        assert "tooltip" in json.dumps(chart.chart.to_dict())
