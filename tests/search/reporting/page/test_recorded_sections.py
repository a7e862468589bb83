"""Sections of records: what was recorded is shown, what was not is one line with the command that records it."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from litepose_ofa.search.reporting.page.drawing import spec_of
from litepose_ofa.search.reporting.page.predictor_section import regressor_table
from litepose_ofa.search.reporting.page.report_page import (
    fidelity_section,
    predictor_section,
    samples_section,
    sensitivity_section,
    training_section,
)
from litepose_ofa.search.reporting.page.section import Chart, Grid, Picture, Section, Table, charts_of
from litepose_ofa.search.reporting.page.training_section import curves, read_metrics, thin_curve
from litepose_ofa.search.trust.rank_fidelity import FidelityRecord, fidelity_report
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import write_json, write_text

RECORDS: dict[str, tuple[Callable[[Path], Section], str]] = {
    "supernet/metrics.jsonl": (training_section, "`litepose train`"),
    "predictor/quality.json": (predictor_section, "`litepose fit`"),
    "rank_fidelity/rank_fidelity.json": (fidelity_section, "`litepose rank-fidelity`"),
    "sensitivity/sensitivity.csv": (sensitivity_section, "`litepose sensitivity`"),
}


def charts(section: Section) -> list[Chart]:
    return charts_of(section.blocks)


def prose(section: Section) -> str:
    return " ".join(block for block in section.blocks if isinstance(block, str))


def points_of(chart: Chart) -> list[dict[str, Any]]:
    """The data of a chart's points."""
    return list(spec_of(chart)["datasets"].values())[-1]


@pytest.mark.parametrize("record", RECORDS)
def test_what_is_not_recorded_is_one_line_with_its_command(tmp_path: Path, record: str) -> None:
    build, command = RECORDS[record]
    section = build(tmp_path)
    (only,) = section.blocks
    assert command in only
    assert "not recorded" in only


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"report": 1}', "a,b\n1,2\n", '"text"', "\x00"])
@pytest.mark.parametrize("record", RECORDS)
def test_a_damaged_record_is_a_line_and_no_error(tmp_path: Path, record: str, content: str) -> None:
    write_text(tmp_path / record, content)
    (only,) = RECORDS[record][0](tmp_path).blocks
    assert isinstance(only, str)
    assert "\n" not in only
    assert record in only


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
    points = points_of(loss)
    assert len(points) == 2 * 400
    assert {point["curve"]: point["loss"] for point in points} == {"smallest": 1.0, "largest": 2.0}
    assert list(dict.fromkeys(point["curve"] for point in points)) == ["smallest", "largest"]
    shown = {point["curve"] for point in points_of(parts)}
    assert shown == {"largest, heatmap", "largest, push", "largest, distillation"}
    assert [point["AP, %"] for point in points_of(accuracy)] == [50, 75]
    assert {point["learning rate"] for point in points_of(rate)} == {0.25}


def test_a_training_without_validations_says_how_to_have_them(tmp_path: Path) -> None:
    write_text(tmp_path / "supernet" / "metrics.jsonl", '{"step": 0, "loss/largest": null}\n')
    section = training_section(tmp_path)
    assert "training.validate_every" in prose(section)
    assert not charts(section), "a curve without a value is no curve"


def test_finetuned_subnets_have_a_curve_each(tmp_path: Path) -> None:
    for tier in ("m", "s"):
        write_text(tmp_path / "finetune" / "board" / tier / "metrics.jsonl", '{"step": 0, "loss/subnet": 0.5}\n')
    section = training_section(tmp_path)
    (chart,) = charts(section)
    assert [point["curve"] for point in points_of(chart)] == ["board/m", "board/s"]


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
        held_out = {"num_subnets": 2, "top_k": 3, "kendall_tau": figure(tau), "spearman": tau}
        held_out |= {"regret": 0.01, "mae": figure(0.02)}
        validation = {"kendall_tau": tau, "mae": 0.02}
        return {"cross_validation": validation, "held_out": held_out, "tau_within_budgets": figure(tau / 2)}

    kinds = {"ridge": regressor(0.6), "gaussian_process": regressor(0.8)}
    return {"chosen": "gaussian_process", "num_samples": 5, "num_held_out": 2, "confidence": 0.9, "regressors": kinds}


def test_a_predictor_is_judged_on_what_it_did_not_see(tmp_path: Path, quality: dict[str, Any]) -> None:
    quality["predictions"] = {"measured": [0.5, 0.6], "predicted": [0.55, 0.6], "held_out": [True, False]}
    write_json(tmp_path / "predictor" / "quality.json", quality)
    section = predictor_section(tmp_path)
    text = prose(section)
    assert "Gaussian process was chosen" in text
    assert "2 of 5 measured subnets" in text
    assert "Kendall tau 0.80 (0.70, 0.90), mean absolute error 2.0 (-8.0, 12.0) AP points" in text
    (chart,) = charts(section)
    assert [tuple(point.values()) for point in points_of(chart)] == [
        (pytest.approx(55), 50, "held out"),
        (60, 60, "cross-validated"),
    ]
    table = regressor_table(quality)
    assert table["regressor"].tolist() == ["Gaussian process, chosen", "ridge"]
    assert table["tau, cross-validated"].tolist() == ["0.80", "0.60"]
    assert table["tau, within budgets"].tolist() == ["0.40 (0.30, 0.50)", "0.30 (0.20, 0.40)"]
    assert "tau is 0.40 (0.30, 0.50)" in text
    assert isinstance(section.blocks[-1], Table)


def test_without_single_predictions_there_is_no_scatter(tmp_path: Path, quality: dict[str, Any]) -> None:
    write_json(tmp_path / "predictor" / "quality.json", quality)
    section = predictor_section(tmp_path)
    assert not charts(section)
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
    assert "Kendall tau: 1.00 spread over the space" in prose(section)
    for chart, group in zip(charts(section), groups, strict=True):
        points = points_of(chart)
        assert [point["subnet"] for point in points] == [f"{group}{i}" for i in range(4)]
        assert [point["AP trained alone, %"] for point in points] == pytest.approx([1, 11, 21, 31])
        spans = [point["best of the seeds"] - point["least of the seeds"] for point in points]
        assert spans == pytest.approx([2] * 4)
        assert "training seeds" in chart.caption
    table = section.blocks[-1]
    assert isinstance(table, Table)
    assert table.frame["subnets"].tolist() == ["4", "4"]
    assert table.frame["Kendall tau, two training seeds"].notna().all()


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


@pytest.mark.parametrize(("provenance", "said"), [("measured", "measured table"), ("calibrated-estimate", "estimated")])
def test_sensitivity_says_whether_a_latency_is_estimated(tmp_path: Path, provenance: str, said: str) -> None:
    path = tmp_path / "sensitivity" / "sensitivity.csv"
    path.parent.mkdir()
    sensitivity_frame(provenance).to_csv(path, index=False)
    section = sensitivity_section(tmp_path)
    assert "60.0 % AP and 10.0 MMACs" in prose(section)
    accuracy, latency = charts(section)
    assert [point["change of AP, points"] for point in points_of(accuracy)] == pytest.approx([-10, 0, -2, 0])
    assert latency.caption.startswith("board: ")
    assert said in latency.caption
    changes = [change for *_, change in map(dict.values, points_of(latency))]
    assert changes == pytest.approx([-20, 0, -10, 0])


def test_sensitivity_without_tables_shows_macs(tmp_path: Path) -> None:
    path = tmp_path / "sensitivity" / "sensitivity.csv"
    path.parent.mkdir()
    sensitivity_frame().iloc[:, :6].to_csv(path, index=False)
    assert charts(sensitivity_section(tmp_path))[1].caption.startswith("Change of MACs")


def test_samples_are_there_if_there_is_something_to_show_or_say() -> None:
    picture = Picture(b"jpeg", "people", "2 labelled")
    assert samples_section([]) is None
    for pictures, blocks in (([], ["why"]), ([picture], ["why", Grid((picture,))])):
        section = samples_section(pictures, "why")
        assert section is not None
        assert section.blocks == blocks
