"""The charts of the fronts: every point where it belongs, told in full, estimates marked."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.reporting.findings import DevicePanel
from litepose_ofa.search.reporting.page.drawing import spec_of
from litepose_ofa.search.reporting.page.fronts_section import MOST_OTHERS, fronts_section, latency_window, staircase
from litepose_ofa.search.reporting.page.section import Chart
from litepose_ofa.search.study.trials import write_genome

Spec = Mapping[str, Any]


@pytest.fixture(scope="module")
def front(tiny_cost: CostModel) -> pd.DataFrame:
    """Thirty subnets of two tiers, three of them verified."""
    rng = np.random.default_rng(5)
    genomes = tiny_cost.codec.sample(30, rng)
    archs = tiny_cost.codec.decode_many(genomes)
    latency_ms = np.sort(rng.uniform(10, 30, 30))
    return pd.DataFrame(
        {
            "arch_digest": [arch.digest for arch in archs],
            "tier": ["xs", "l"] * 15,
            "ap": 0.3 + 0.01 * latency_ms + rng.normal(0, 0.02, 30),
            "verified_ap": [0.35, 0.4, 0.45, *[None] * 27],
            "latency_ms": latency_ms,
            "latency_low_ms": 0.9 * latency_ms,
            "latency_high_ms": 1.1 * latency_ms,
            "latency_provenance": "calibrated-estimate",
            "macs": 12_345_678,
            "image_size": [arch.image_size for arch in archs],
            "genome": [write_genome(genome) for genome in genomes],
        }
    )


@pytest.fixture
def panel(front: pd.DataFrame) -> DevicePanel:
    """One chosen subnet measured on held-out images, one only predicted; published subnets inside and outside."""
    summary = front.iloc[[10, 25]].drop(columns="verified_ap")
    summary = summary.assign(tier=["xs", "l"], budget_ms=[20.0, 31.0])
    summary = summary.assign(ap_val=[0.41, None], ap_search=[0.42, None], ap_predicted=summary["ap"])
    points = {"latency_ms": np.linspace(11, 30, 5000), "ap": np.linspace(0.3, 0.5, 5000), "kind": "others"}
    published = {"name": ["XS", "S", "L"], "latency_ms": [15.0, 16.0, 500.0], "ap": [0.45, None, 0.62]}
    return DevicePanel("board", summary, front, pd.DataFrame(points), pd.DataFrame(published))


def chart_spec(panel: DevicePanel, cost: CostModel) -> tuple[Spec, str]:
    section = fronts_section([panel], space=cost.space, source="predictor", dataset="people")
    (chart,) = [block for block in section.blocks if isinstance(block, Chart)]
    return spec_of(chart), chart.caption


def points_of(spec: Spec, label: str) -> list[dict[str, Any]]:
    """The rows of a kind of points, by its label in the legend."""
    (data,) = [rows for rows in spec["datasets"].values() if any(row.get("kind") == label for row in rows)][:1] or [[]]
    return [row for row in data if row["kind"] == label]


def test_the_front_is_what_no_other_dominates(front: pd.DataFrame) -> None:
    steps = staircase(front)
    expected = [
        row.arch_digest
        for row in front.itertuples()
        if not ((front["latency_ms"] <= row.latency_ms) & (front["ap"] > row.ap)).any()
    ]
    assert steps["arch_digest"].tolist() == expected
    assert steps["ap"].is_monotonic_increasing


def test_the_window_holds_the_front_the_choices_and_the_budgets(panel: DevicePanel) -> None:
    low, high = latency_window(panel)
    assert panel.front["latency_ms"].between(low, high).all()
    assert (low, high) == (panel.front["latency_ms"].min(), 31)
    loose = replace(panel, summary=panel.summary.assign(budget_ms=[200.0, 300.0]))
    assert loose.summary["latency_ms"].between(*latency_window(loose)).all(), "far below their budgets"


def test_a_wide_window_is_logarithmic(panel: DevicePanel, tiny_cost: CostModel) -> None:
    wide = replace(panel, summary=panel.summary.assign(budget_ms=[20.0, 3000.0]))
    scales = [chart_spec(each, tiny_cost)[0]["layer"][0]["encoding"]["x"]["scale"]["type"] for each in (panel, wide)]
    assert scales == ["linear", "log"]


def test_a_front_of_one_subnet_at_its_budget_has_axes(panel: DevicePanel, tiny_cost: CostModel) -> None:
    summary = panel.summary.iloc[[1]]
    only = summary.assign(budget_ms=summary["latency_ms"])
    alone = DevicePanel("board", only, panel.front[panel.front["arch_digest"].isin(only["arch_digest"])], note="Alone.")
    spec, caption = chart_spec(alone, tiny_cost)
    assert "estimated latency, ms" in vl_convert.vegalite_to_svg({**spec, "width": 700})
    assert caption.endswith("Alone.")


def test_every_subnet_is_told_in_full_and_its_latency_marked(panel: DevicePanel, tiny_cost: CostModel) -> None:
    spec, _ = chart_spec(panel, tiny_cost)
    steps = staircase(panel.front)
    found = points_of(spec, "front: AP by the accuracy predictor")
    assert [point["latency_ms"] for point in found] == pytest.approx(steps["latency_ms"].tolist(), abs=1e-4)
    assert [point["ap"] for point in found] == pytest.approx((100 * steps["ap"]).tolist(), abs=1e-3)
    row, point = steps.iloc[0], found[0]
    (arch,) = tiny_cost.codec.decode_many(np.array([[int(gene) for gene in row["genome"].split("-")]]))
    assert point["blocks a stage"] == " - ".join(str(len(stage.blocks)) for stage in arch.stages)
    assert point["latency"] == f"~{row['latency_ms']:.4g} ms"
    assert point["80 % interval"] == f"{row['latency_low_ms']:.4g} to {row['latency_high_ms']:.4g} ms"
    assert point["resolution"] == f"{arch.image_size} px"
    assert point["MACs, millions"] == "12.3"


def test_chosen_subnets_stand_at_the_best_ap_that_is_known(panel: DevicePanel, tiny_cost: CostModel) -> None:
    spec, caption = chart_spec(panel, tiny_cost)
    (held_out,) = points_of(spec, "chosen: AP on held-out images")
    (predicted,) = points_of(spec, "chosen: AP by the accuracy predictor")
    assert (held_out["ap"], held_out["name"], predicted["name"]) == (41, "XS", "L")
    assert points_of(spec, "chosen: AP on the search split") == []
    assert [point["ap"] for point in points_of(spec, "of the front, measured on the search split")] == [35, 40, 45]
    assert "Bars: 80 % intervals" in caption
    wide = panel.summary.assign(latency_low_ms=0.0, latency_high_ms=60.0)
    assert "30 ms, are wider than this picture" in chart_spec(replace(panel, summary=wide), tiny_cost)[1]


def test_published_subnets_stand_where_they_belong(panel: DevicePanel, tiny_cost: CostModel) -> None:
    spec, caption = chart_spec(panel, tiny_cost)
    (point,) = points_of(spec, "published LitePose, AP as published")
    assert (point["latency_ms"], point["ap"], point["latency"], point["AP"]) == (15, 45, "~15 ms", "45.0, published")
    assert caption.endswith("ms: S\N{NO-BREAK SPACE}16, L\N{NO-BREAK SPACE}500.")


def test_others_are_thinned_to_what_a_page_can_hold(panel: DevicePanel, tiny_cost: CostModel) -> None:
    others = points_of(chart_spec(panel, tiny_cost)[0], "others")
    assert MOST_OTHERS / 2 < len(others) <= MOST_OTHERS
    steps = np.diff([point["latency_ms"] for point in others])
    assert steps == pytest.approx(steps[0], abs=2e-4)


def test_measured_latencies_carry_no_mark(panel: DevicePanel, tiny_cost: CostModel) -> None:
    summary, front = (frame.assign(latency_provenance="measured") for frame in (panel.summary, panel.front))
    spec, _ = chart_spec(replace(panel, summary=summary, front=front), tiny_cost)
    told = [row["latency"] for rows in spec["datasets"].values() for row in rows if "latency" in row]
    assert told
    assert not any(latency.startswith("~") for latency in told)


def test_vega_draws_it(panel: DevicePanel, tiny_cost: CostModel) -> None:
    svg = vl_convert.vegalite_to_svg({**chart_spec(panel, tiny_cost)[0], "width": 700})
    assert all(f">{name}</text>" in svg for name in ("XS", "L", "LitePose-XS", "board", "estimated latency, ms"))
