"""Every dimension is measured, each subnet once, beside the device's latency."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.supernet.archs.space import SearchSpace

RunScript = Callable[..., Any]


@pytest.fixture
def options(trained: Path, quick_evaluation: tuple[str, ...]) -> tuple[str, ...]:
    return (f"workspace={trained}", *quick_evaluation)


def test_a_dimension_varies_alone_and_is_measured_once(
    run_script: RunScript, options: tuple[str, ...], trained: Path
) -> None:
    outcome = run_script("sensitivity", *options, "devices=[raspberry_pi_4b]")
    assert outcome.status == 0, outcome.stderr
    assert "kernel" in outcome.stdout
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
    assert run_script("sensitivity", *options, "devices=[raspberry_pi_4b]").status == 0
    assert len(AccuracyCache(trained / "accuracies" / "accuracies.jsonl")) == len(cache)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("devices=[]", "devices is []; it must be a list of at least 1 paths"),
        ("devices=[toaster]", "toaster"),
        ("base=huge", "arch is 'huge'; it must be smallest, largest or a .json or .yaml file"),
    ],
)
def test_bad_input_is_named(run_script: RunScript, options: tuple[str, ...], override: str, message: str) -> None:
    outcome = run_script("sensitivity", *options, override)
    assert outcome.status == 2
    assert message in outcome.stderr
