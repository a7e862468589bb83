"""The charts of the fronts: every point where it belongs, told in full, estimates marked."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.reporting.page.drawing import spec_of
from litepose_ofa.search.reporting.page.fronts_section import INTERVAL_NOTE, MOST_CLOUD, fronts_section
from litepose_ofa.search.reporting.page.section import Chart
from litepose_ofa.search.reporting.panels import Cloud, DevicePanel, PublishedPoint, ap_range, latency_window, staircase
from litepose_ofa.search.reporting.summary import AP_BY
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
    cloud = Cloud(np.linspace(11, 30, 5000), np.linspace(0.3, 0.5, 5000), "others")
    published = [PublishedPoint("XS", 15.0, 0.45), PublishedPoint("S", 16.0, None), PublishedPoint("L", 500.0, 0.62)]
    return DevicePanel("board", summary, front, cloud, published)


def chart_spec(panel: DevicePanel, cost: CostModel) -> tuple[Spec, str]:
    section = fronts_section([panel], space=cost.space, source="predictor", dataset="people")
    (chart,) = [block for block in section.blocks if isinstance(block, Chart)]
    return spec_of(chart), chart.caption


def points_of(spec: Spec, label: str) -> list[dict[str, Any]]:
    """The rows of a kind of points, by its label in the legend."""
    return [row for rows in spec["datasets"].values() for row in rows if row.get("kind") == label]


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
    window = latency_window(panel)
    assert not window.is_logarithmic
    assert all(window.holds(ms) for ms in [*panel.front["latency_ms"], *panel.summary["budget_ms"], 15.0])
    assert not window.holds(500)
    low, high = ap_range(panel, window)
    assert low <= 41 <= high
    assert high >= 100 * staircase(panel.front)["ap"].max()
    wide = DevicePanel("board", panel.summary.assign(budget_ms=[20.0, 3000.0]), panel.front)
    assert latency_window(wide).is_logarithmic


def test_a_choice_far_below_its_budget_is_shown(panel: DevicePanel) -> None:
    loose = DevicePanel("board", panel.summary.assign(budget_ms=[200.0, 300.0]), panel.front)
    assert loose.summary["latency_ms"].map(latency_window(loose).holds).all()


def test_a_front_of_one_subnet_at_its_budget_has_axes(panel: DevicePanel, tiny_cost: CostModel) -> None:
    summary = panel.summary.iloc[[1]]
    only = summary.assign(budget_ms=summary["latency_ms"])
    alone = DevicePanel("board", only, panel.front[panel.front["arch_digest"].isin(only["arch_digest"])])
    window = latency_window(alone)
    assert window.low_ms < only["latency_ms"].item() < window.high_ms
    assert "estimated latency, ms" in vl_convert.vegalite_to_svg({**chart_spec(alone, tiny_cost)[0], "width": 700})


def test_every_subnet_is_told_in_full_and_its_latency_marked(panel: DevicePanel, tiny_cost: CostModel) -> None:
    spec, _ = chart_spec(panel, tiny_cost)
    steps = staircase(panel.front)
    found = points_of(spec, f"front: AP by the {AP_BY['predictor']}")
    assert [point["latency_ms"] for point in found] == pytest.approx(steps["latency_ms"].tolist(), abs=1e-4)
    assert [point["ap"] for point in found] == pytest.approx((100 * steps["ap"]).tolist(), abs=1e-3)
    row, point = steps.iloc[0], found[0]
    arch = tiny_cost.codec.decode_many(np.array([[int(gene) for gene in row["genome"].split("-")]]))[0]
    assert point["depths"] == " - ".join(str(len(stage.blocks)) for stage in arch.stages)
    assert point["latency"] == f"~{row['latency_ms']:.4g} ms"
    assert point["interval"] == f"{row['latency_low_ms']:.4g} to {row['latency_high_ms']:.4g} ms"
    assert (point["tier"], point["mmacs"], point["image_size"]) == (row["tier"], "12.3", f"{arch.image_size} px")
    measured = points_of(spec, "of the front, measured on the search split")
    assert [point["ap"] for point in measured] == [35, 40, 45]


def test_each_choice_is_shown_by_the_best_ap_known_of_it(panel: DevicePanel, tiny_cost: CostModel) -> None:
    spec, caption = chart_spec(panel, tiny_cost)
    (held_out,) = points_of(spec, "chosen: AP on held-out images")
    assert (held_out["name"], held_out["ap"]) == ("XS", 41)
    (predicted,) = points_of(spec, "chosen: AP by the accuracy predictor")
    assert (predicted["name"], predicted["depths"].count("-")) == ("L", 3)
    assert points_of(spec, "chosen: AP on the search split") == []
    assert INTERVAL_NOTE in caption
    intervals = [layer for layer in spec["layer"] if layer["encoding"].get("x2")]
    assert len(intervals) == 2, "of both kinds of chosen subnets"


def test_published_subnets_stand_where_they_belong(panel: DevicePanel, tiny_cost: CostModel) -> None:
    spec, caption = chart_spec(panel, tiny_cost)
    (with_ap,) = points_of(spec, "published LitePose, AP as published")
    assert (with_ap["latency_ms"], with_ap["ap"], with_ap["latency"]) == (15, 45, "~15 ms")
    (without,) = points_of(spec, "published LitePose, no published AP on this dataset")
    bottom = spec["layer"][2]["encoding"]["y"]["scale"]["domain"][0]
    assert (without["ap"], without["ap_text"]) == (bottom, "not published")
    assert "Published LitePose outside of this picture, ms: L\N{NO-BREAK SPACE}500." in caption


def test_a_cloud_is_thinned_to_what_a_page_can_hold(panel: DevicePanel, tiny_cost: CostModel) -> None:
    spec, _ = chart_spec(panel, tiny_cost)
    others = points_of(spec, "others")
    assert MOST_CLOUD / 2 < len(others) <= MOST_CLOUD
    latencies = [point["latency_ms"] for point in others]
    assert np.diff(latencies) == pytest.approx(np.diff(latencies)[0], abs=2e-4)
    assert all(point["latency"].startswith("~") for point in others)


def test_measured_latencies_carry_no_mark(panel: DevicePanel, tiny_cost: CostModel) -> None:
    measured = [frame.assign(latency_provenance="measured") for frame in (panel.summary, panel.front)]
    spec, _ = chart_spec(DevicePanel("board", *measured, panel.cloud, panel.published), tiny_cost)
    told = [row["latency"] for rows in spec["datasets"].values() for row in rows if "latency" in row]
    assert told
    assert not any(latency.startswith("~") for latency in told)


def test_vega_draws_it(panel: DevicePanel, tiny_cost: CostModel) -> None:
    spec, _ = chart_spec(panel, tiny_cost)
    svg = vl_convert.vegalite_to_svg({**spec, "width": 700})
    assert all(f">{name}</text>" in svg for name in ("XS", "L", "LitePose-XS", "board", "estimated latency, ms"))


def test_a_device_without_others_or_published_subnets(panel: DevicePanel, tiny_cost: CostModel) -> None:
    bare = DevicePanel("board", panel.summary, panel.front.assign(verified_ap=None), note="Nothing else is known.")
    spec, caption = chart_spec(bare, tiny_cost)
    assert caption.endswith("Nothing else is known.")
    assert "width" in spec
