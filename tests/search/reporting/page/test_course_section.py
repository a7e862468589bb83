"""The course of searches and the importances, as charts."""

from typing import Any

import pandas as pd
import pytest
import vl_convert

from litepose_ofa.search.reporting.importance import ChoiceImportance
from litepose_ofa.search.reporting.page.course_section import LOWERS, RAISES, course_section, importance_section
from litepose_ofa.search.reporting.page.drawing import spec_of
from litepose_ofa.search.reporting.page.section import Chart, Grid, Section


def charts_of(section: Section | None) -> list[Chart]:
    assert section is not None
    (grid,) = [block for block in section.blocks if isinstance(block, Grid)]
    return [block for block in grid.blocks if isinstance(block, Chart)]


def rows_of(chart: Chart) -> list[dict[str, Any]]:
    spec = spec_of(chart)
    assert vl_convert.vegalite_to_svg({**spec, "width": 400}).startswith("<svg")
    return [row for rows in spec["datasets"].values() for row in rows]


def progress(device: str, tier: str, budget_ms: float | None) -> pd.DataFrame:
    numbers = {"evaluations": [40, 60], "hypervolume": [0.2, 0.25], "ap_source": "predictor"}
    return pd.DataFrame({"device": device, "tier": tier, "budget_ms": budget_ms, **numbers})


def test_hypervolume_is_a_chart_a_device_and_a_line_a_tier() -> None:
    frames = [progress("pi", "xs", 20), progress("pi", "l", 90), progress("a+b", "m", None)]
    pi, several = charts_of(course_section(pd.concat(frames, ignore_index=True)))
    found = [(row["tier"], row["evaluations"], row["hypervolume"]) for row in rows_of(pi)]
    assert found == [("xs: 20 ms", 40, 20), ("xs: 20 ms", 60, 25), ("l: 90 ms", 40, 20), ("l: 90 ms", 60, 25)]
    assert "mean of their fronts" in several.caption
    assert {row["tier"] for row in rows_of(several)} == {"m"}


def test_bars_keep_the_order_of_the_first_chart_and_say_which_way_they_go() -> None:
    ap = {"depth": ChoiceImportance(0.2, 0.01, 1.0), "width": ChoiceImportance(0.7, 0.02, -0.5)}
    latency = {"depth": ChoiceImportance(0.9, 0.05, 1.0), "width": ChoiceImportance(0.01, 0.02, 0.0)}
    charts = charts_of(importance_section({"AP": ap, "latency_ms/pi": latency}, "predictor"))
    assert [chart.caption.partition(":")[0] for chart in charts] == ["AP by the accuracy predictor", "latency on pi"]
    first, second = map(rows_of, charts)
    assert [row["choice"] for row in first] == [row["choice"] for row in second] == ["width", "depth"]
    assert [(row["share"], row["effect"]) for row in first] == [(70, LOWERS), (20, RAISES)]
    assert [row["low"] for row in second] == pytest.approx([0, 85])


def test_what_is_not_known_has_no_section() -> None:
    assert course_section(pd.DataFrame()) is None
    assert importance_section({}, "predictor") is None
