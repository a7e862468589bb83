"""Reports on searches with a predictor: what was predicted, verified, held out, finetuned."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.reporting.evaluated import EvaluatedSubnets
from litepose_ofa.search.reporting.findings import Findings, build_panel
from litepose_ofa.search.reporting.importance import accuracy_model
from litepose_ofa.search.reporting.page.report_page import write_report
from litepose_ofa.search.reporting.searches import read_searches
from litepose_ofa.search.reporting.summary import collect_fronts, format_summary, summarise
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.intervals import ResampledAP

SPACE = SearchSpace.preset("litepose_released")


def test_a_tier_is_compared_with_the_one_before_it_on_the_same_images(
    predicted: tuple[Path, AccuracyPredictor], tmp_path: Path, leave_export: Callable[..., None]
) -> None:
    workspace = Path(shutil.copytree(predicted[0], tmp_path / "copy"))
    (cell,), _ = read_searches(workspace)
    below = replace(cell, tier="s")
    shutil.copytree(workspace / "search" / "jetson_nano" / "m", workspace / "search" / "jetson_nano" / "s")
    poor, good = (ResampledAP(ap, (ap - 0.02, ap, ap + 0.03), 300, "val") for ap in (0.41, 0.5))
    for tier, resampled in (("s", poor), ("m", good)):
        accuracy = {"metrics": {"AP": resampled.ap}, "resampled": asdict(resampled)}
        leave_export(workspace, "jetson_nano", tier, accuracy=accuracy)
    first, second = summarise([below, cell]).to_dict("records")
    assert pd.isna(first["ap_val_gain"]), "the first has none below it"
    assert [second[f"ap_val_gain{end}"] for end in ("", "_low", "_high")] == pytest.approx([0.09, 0.09, 0.09])
    text = format_summary(summarise([below, cell]))
    assert "image by image (95 %): jetson_nano m +9.0 (+9.0 to +9.0)." in " ".join(text.split())
    accuracy = {"metrics": {"AP": 0.5}, "resampled": asdict(replace(good, drawn="other"))}
    leave_export(workspace, "jetson_nano", "m", accuracy=accuracy)
    again = [replace(cell) for cell in (below, cell)]
    assert summarise(again)["ap_val_gain"].isna().all(), "on other images nothing is paired"


def test_a_predictors_search_tells_predicted_verified_and_held_out_apart(
    predicted: tuple[Path, AccuracyPredictor], tmp_path: Path, leave_export: Callable[..., None]
) -> None:
    workspace = Path(shutil.copytree(predicted[0], tmp_path / "copy"))
    (cell,), _ = read_searches(workspace)
    gap = cell.export_gap()
    assert gap is not None
    assert gap.reason.startswith("not exported")
    (row,) = summarise([cell]).to_dict("records")
    assert (row["ap_predicted"], row["ap_search"]) == (cell.record["ap"], cell.record["verified_ap"])
    assert pd.isna(row["ap_val"])

    leave_export(workspace, "jetson_nano", "m")
    (cell,), _ = read_searches(workspace)
    assert cell.export_gap() is None
    (row,) = summarise([cell]).to_dict("records")
    assert (row["ap_val"], row["bit_equal"], row["folder"]) == (0.41, True, str(cell.export_folder))
    text = format_summary(summarise([cell]))
    assert "AP held-out is the one to believe" in text
    assert "surrogate" not in text

    leave_export(workspace, "jetson_nano", "m", search={"budget_ms": 1})
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


def test_a_finetuned_subnet_has_its_own_numbers(
    predicted: tuple[Path, AccuracyPredictor], tmp_path: Path, leave_export: Callable[..., None]
) -> None:
    workspace = Path(shutil.copytree(predicted[0], tmp_path / "copy"))
    (cell,), _ = read_searches(workspace)
    other = cell.front[cell.front["arch_digest"] != cell.record["arch_digest"]].iloc[0]
    arch = next(arch for arch in cell.outcome.best(100) if arch.digest == other["arch_digest"])
    finetuned = {"ap_search": {"after": 0.77}}
    leave_export(workspace, "jetson_nano", "m", of=arch, finetuned=finetuned, equal_to_supernet=None)
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
    others = build_panel("nano", cells, *tables, evaluated=None, samples=samples).others
    np.testing.assert_allclose(others["latency_ms"], cost.latency_ms(predictor.genomes, "jetson_nano"))
    for other in (replace(samples, identity={"weights": "x", "split": "search"}), replace(samples, identity={"a": 1})):
        assert build_panel("nano", cells, *tables, evaluated=None, samples=other).others.empty


def test_importances_are_of_a_fit_to_all_that_was_measured(
    predicted: tuple[Path, AccuracyPredictor], workspace: Path, tmp_path: Path, collect: Callable[..., Findings]
) -> None:
    path, predictor = predicted
    (cell,), _ = read_searches(path)
    evaluated = EvaluatedSubnets.of(cell)
    model = accuracy_model(cell, [evaluated], None)
    assert np.abs(model.predict_ap(evaluated.genomes) - evaluated.ap).mean() < 0.005
    refitted = accuracy_model(cell, [evaluated], predictor)
    assert isinstance(refitted, AccuracyPredictor)
    assert len(refitted.ap) > len(evaluated.ap), "the samples count too"
    other = AccuracyPredictor(SPACE, predictor.genomes, predictor.ap, identity={"weights": "x"}, kind="ridge")
    assert accuracy_model(cell, [evaluated], other).digest == model.digest
    with pytest.raises(InputError, match="no study"):
        accuracy_model(cell, [], predictor)
    (cell.run_folder / "study.log").rename(tmp_path / "study.log")
    text = write_report(tmp_path, collect([cell]))
    (tmp_path / "study.log").rename(cell.run_folder / "study.log")
    assert "no importances for AP" in text
    assert set(pd.read_csv(tmp_path / "importance.csv")["quantity"]) == {"latency_ms/jetson_nano"}
    surrogate = read_searches(workspace)[0][0]
    assert accuracy_model(surrogate, [], predictor).source == "published-surrogate"
