"""Every dimension is measured, each subnet once, beside the device's latency."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.supernet.archs.space import SearchSpace


def test_a_dimension_varies_alone_and_is_measured_once(
    run_script: Any, quick_evaluation: tuple[str, ...], trained: Path
) -> None:
    command = ("sensitivity", f"workspace={trained}", *quick_evaluation, "devices=[raspberry_pi_4b]")
    assert "kernel" in run_script(*command).printed
    folder = trained / "sensitivity"
    assert (folder / "sensitivity.png").stat().st_size > 10_000
    frame = pd.read_csv(folder / "sensitivity.csv")
    assert set(frame["dimension"]) >= {"resolution", "kernel", "expansion", "depth of stage 1", "width of stage 4"}
    largest = SearchSpace.preset("tiny").largest()
    base = frame[frame["is_base"]]
    assert set(base["arch_digest"]) == {largest.digest}
    expected = LatencyTable.load("raspberry_pi_4b").estimate(largest).ms
    assert base["latency_ms/raspberry_pi_4b"].to_numpy() == pytest.approx(expected)
    cache = AccuracyCache(trained / "accuracies" / "accuracies.jsonl")
    assert len(cache) == frame["arch_digest"].nunique()
    assert run_script(*command).status == 0
    assert len(AccuracyCache(trained / "accuracies" / "accuracies.jsonl")) == len(cache)
