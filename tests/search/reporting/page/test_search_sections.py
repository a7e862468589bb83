"""What searches chose and how they went: the table, the operators, the course, the importances."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import vl_convert

from litepose_ofa.search.reporting.page.drawing import spec_of
from litepose_ofa.search.reporting.page.search_sections import (
    LOWERS,
    RAISES,
    course_section,
    importance_section,
    missing_section,
    subnets_section,
    summary_section,
)
from litepose_ofa.search.reporting.page.section import Chart, Link, Section, Table, charts_of
from litepose_ofa.search.reporting.searches import FinishedSearch, Missing
from litepose_ofa.search.reporting.summary import SURROGATE, explain_marks
from litepose_ofa.search.study.results import SearchOutcome
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace

SPACE = SearchSpace.preset("tiny")
LATENCY = "latency ms (80 %)"
ROW: dict[str, Any] = {
    "device": "pi", "tier": "m", "budget_ms": 20.0, "latency_ms": 18.126, "latency_low_ms": 16.0,
    "latency_high_ms": 20.26, "latency_provenance": "calibrated-estimate", "decoding_provenance": None,
    "ap_source": "predictor", "ap_predicted": 0.5123, "ap_search": None, "ap_val": None, "ap_val_gain": None,
    "image_size": 96, "macs": 12_345_678, "params": 9876, "peak_memory_bytes": 3 * 2**19, "finetuned": False,
    "bit_equal": None,
}  # fmt: skip


def shown(root: Path, **changes: Any) -> dict[str, Any]:
    """The one row of the summary's table."""
    row = {**ROW, "folder": str(root / "export" / "pi" / "m"), **changes}
    table, _ = summary_section(pd.DataFrame([row]), root / "report").blocks
    assert isinstance(table, Table)
    return {str(key): value for key, value in table.frame.iloc[0].items()}


def charts(section: Section | None) -> list[Chart]:
    assert section is not None
    return charts_of(section.blocks)


def rows_of(chart: Chart) -> list[dict[str, Any]]:
    spec = spec_of(chart)
    assert vl_convert.vegalite_to_svg({**spec, "width": 400}).startswith("<svg")
    return max(spec["datasets"].values(), key=len)


def test_numbers_are_rounded_and_estimates_marked(tmp_path: Path) -> None:
    assert shown(tmp_path) == {
        "device": "pi", "tier": Link("m", "../export/pi/m/"), "budget": "20", LATENCY: "~18.13 (16-20.3)",
        "AP pred.": "51.2", "px": "96", "MMACs": "12.3", "params": "9,876", "peak MiB": "1.50",
    }  # fmt: skip


def test_measured_latencies_and_surrogates_are_told_apart(tmp_path: Path) -> None:
    row = shown(tmp_path, latency_provenance="measured", ap_source=SURROGATE)
    assert (row[LATENCY], row["AP pred."]) == ("18.13 (16-20.3)", "51.2 surrogate")


@pytest.mark.parametrize(
    ("provenance", "said"),
    [
        ("measured", "Latencies without ~ are sums of measured operators"),
        ("fitted", "~ of a measured table: operators that were not timed"),
        ("calibrated-estimate", "~ estimated, not measured: the table is calibrated"),
    ],
)
def test_a_mark_is_explained_where_it_stands(provenance: str, said: str) -> None:
    rows = {"device": ["pi"], "latency_provenance": provenance, "decoding_provenance": None, "ap_source": "x"}
    rest = dict.fromkeys(("ap_search", "ap_val"), None) | {"finetuned": False}
    latency = {"latency_ms": 8.1, "latency_low_ms": 8.0, "latency_high_ms": 8.2}
    (mark,) = (line for line in explain_marks(pd.DataFrame({**rows, **rest, **latency})) if "~" in line)
    assert mark.startswith(said)


def test_a_table_that_cannot_tell_the_tiers_apart_is_named() -> None:
    rows = {"device": ["pi", "pi"], "latency_provenance": "estimated", "decoding_provenance": None, "ap_source": "x"}
    rest = dict.fromkeys(("ap_search", "ap_val"), None) | {"finetuned": False, "latency_low_ms": [8.0, 8.5]}
    for high, named in ((10.0, True), (8.3, False)):
        summary = pd.DataFrame({**rows, **rest, "latency_ms": [8.1, 9.0], "latency_high_ms": [high, 8.6]})
        assert any(line.startswith("pi: an interval is wider") for line in explain_marks(summary)) == named


def test_an_export_adds_what_was_measured_and_checked(tmp_path: Path) -> None:
    weights = tmp_path / "export" / "pi" / "m" / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(2**20))
    row = shown(tmp_path, ap_search=0.5, ap_val=0.4, bit_equal=True)
    assert (row["AP search"], row["AP held-out"], row["weights MiB"], row["equal"]) == ("50.0", "40.0", "1.00", "yes")
    assert shown(tmp_path, folder=str(tmp_path / "export" / "a #1?"))["tier"].href == "../export/a%20%231%3F/"
    assert shown(tmp_path, finetuned=True)["equal"] == "tuned"


def test_gaps_are_a_list_and_none_no_section() -> None:
    section = missing_section([Missing("pi", "xs", "lost"), Missing("pi", "m", "lost")])
    assert section is not None
    assert section.blocks[1] == ["pi/xs, pi/m: lost"]
    assert missing_section([]) is None


def cell(workspace: Path, device: str, tier: str, arch: Arch) -> FinishedSearch:
    """A finished search that chose an architecture."""
    record = {"arch_digest": arch.digest, "search": {"space": SPACE.to_dict(), "num_keypoints": 14}}
    outcome = SearchOutcome(workspace / "search" / device / tier, arch, record)
    return FinishedSearch(workspace, device, tier, outcome, pd.DataFrame({"arch_digest": [arch.digest]}))


def test_every_operator_of_the_chosen_subnets_is_shown(tmp_path: Path) -> None:
    small, large = SPACE.smallest(), SPACE.largest()
    cells = [cell(tmp_path, "one", "s", small), cell(tmp_path, "one", "l", large), cell(tmp_path, "two", "l", large)]
    one, two = charts(subnets_section(cells))
    assert large.digest in two.caption
    rows = rows_of(one)
    for name, arch in (("s", small), ("l", large)):
        shown = [row for row in rows if row["tier"] == f"{name}, {arch.image_size} px"]
        assert sum(row["MMACs"] for row in shown) == pytest.approx(measure_complexity(arch).macs / 1e6)
        blocks = [row for row in shown if row["operator"].startswith("stage")]
        expected = [
            (f"stage {s}.{b}", stage.channels, f"{block.kernel}x{block.kernel}", block.expansion)
            for s, stage in enumerate(arch.stages, 1)
            for b, block in enumerate(stage.blocks, 1)
        ]
        assert [(r["operator"], r["channels out"], r["kind"], r["expansion"]) for r in blocks] == expected
        others = [row["operator"] for row in shown if row not in blocks]
        assert others == ["stem", "deconv 1", "deconv 2", "head 1", "deconv 3", "head 2"]
    assert len(rows_of(two)) < len(rows)


def test_an_export_that_finetuning_preferred_is_the_one_shown(tmp_path: Path) -> None:
    searched, preferred = cell(tmp_path, "one", "s", SPACE.smallest()), SPACE.largest()
    preferred.save(searched.export_folder / "arch.json")
    exported = dataclasses.replace(searched)
    exported.__dict__["manifest"] = {"arch_digest": preferred.digest}
    assert (searched.arch, exported.arch) == (SPACE.smallest(), preferred)


def progress(device: str, tier: str, budget_ms: float | None) -> pd.DataFrame:
    numbers = {"evaluations": [40, 60], "hypervolume": [0.2, 0.25], "ap_source": "predictor"}
    return pd.DataFrame({"device": device, "tier": tier, "budget_ms": budget_ms, **numbers})


def test_hypervolume_is_a_chart_a_device_and_a_line_a_tier() -> None:
    frames = [progress("pi", "xs", 20), progress("pi", "l", 90), progress("a+b", "m", None)]
    pi, several = charts(course_section(pd.concat(frames, ignore_index=True)))
    found = [(row["tier"], row["evaluations"], row["hypervolume, %"]) for row in rows_of(pi)]
    assert found == [("xs: 20 ms", 40, 20), ("xs: 20 ms", 60, 25), ("l: 90 ms", 40, 20), ("l: 90 ms", 60, 25)]
    assert "mean of their fronts" in several.caption
    assert {row["tier"] for row in rows_of(several)} == {"m"}
    assert course_section(pd.DataFrame()) is None


def test_bars_keep_the_order_of_the_first_chart_and_say_which_way_they_go() -> None:
    columns = ["quantity", "choice", "variance_share", "standard_error", "direction"]
    ap = [("AP", "width", 0.7, 0.02, -0.5), ("AP", "depth", 0.2, 0.01, 1.0)]
    latency = [("latency_ms/pi", "depth", 0.9, 0.05, 1.0), ("latency_ms/pi", "width", 0.01, 0.02, 0.0)]
    both = charts(importance_section(pd.DataFrame([*ap, *latency], columns=columns), "predictor"))
    assert [chart.caption.partition(":")[0] for chart in both] == ["AP by the accuracy predictor", "latency on pi"]
    assert [spec_of(chart)["layer"][0]["encoding"]["y"]["sort"] for chart in both] == [["width", "depth"]] * 2
    first, second = map(rows_of, both)
    assert [(row["share of variance, %"], row["effect"]) for row in first] == [(70, LOWERS), (20, RAISES)]
    assert [row["from, %"] for row in second] == pytest.approx([85, 0])
    assert importance_section(pd.DataFrame(), "predictor") is None
