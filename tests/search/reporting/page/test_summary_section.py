"""The table of chosen subnets: whose every number is, and where the files are."""

from pathlib import Path
from typing import Any

import pandas as pd

from litepose_ofa.search.reporting.page.section import Link, Listing, Table
from litepose_ofa.search.reporting.page.summary_section import missing_section, summary_section
from litepose_ofa.search.reporting.searches import Missing
from litepose_ofa.search.reporting.summary import SURROGATE

ROW: dict[str, Any] = {
    "device": "pi", "tier": "m", "budget_ms": 20.0, "latency_ms": 18.126, "latency_low_ms": 16.0,
    "latency_high_ms": 20.26, "latency_provenance": "calibrated-estimate", "decoding_provenance": None,
    "ap_source": "predictor", "ap_predicted": 0.5123, "ap_search": None, "ap_val": None, "image_size": 96,
    "macs": 12_345_678, "params": 9876, "peak_memory_bytes": 3 * 2**19, "finetuned": False, "bit_equal": None,
}  # fmt: skip


def table_of(root: Path, **changes: Any) -> pd.DataFrame:
    row = {**ROW, "folder": str(root / "export" / "pi" / "m"), **changes}
    table, notes = summary_section(pd.DataFrame([row]), root / "report").blocks
    assert isinstance(table, Table)
    assert isinstance(notes, Listing)
    return table.frame


def test_numbers_are_rounded_and_estimates_marked(tmp_path: Path) -> None:
    (row,) = table_of(tmp_path).to_dict("records")
    assert row == {
        "device": "pi",
        "tier": Link("m", "../export/pi/m/"),
        "budget, ms": "20",
        "latency, ms (80\N{NO-BREAK SPACE}% interval)": "~18.13 (16\N{EN DASH}20.26)",
        "AP pred.": "51.2",
        "input, px": "96",
        "MACs, millions": "12.3",
        "params": "9,876",
        "peak memory, MiB": "1.50",
    }


def test_measured_latencies_and_surrogates_are_told_apart(tmp_path: Path) -> None:
    (row,) = table_of(tmp_path, latency_provenance="measured", ap_source=SURROGATE).to_dict("records")
    assert row["latency, ms (80\N{NO-BREAK SPACE}% interval)"] == "18.13 (16\N{EN DASH}20.26)"
    assert row["AP pred."] == "51.2 surrogate"


def test_an_export_adds_what_was_measured_and_checked(tmp_path: Path) -> None:
    weights = tmp_path / "export" / "pi" / "m" / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(2**20))
    (row,) = table_of(tmp_path, ap_search=0.5, ap_val=0.4, bit_equal=True).to_dict("records")
    assert (row["AP search"], row["AP held-out"], row["weights, MiB"], row["equal"]) == ("50.0", "40.0", "1.00", "yes")
    (odd,) = table_of(tmp_path, folder=str(tmp_path / "export" / "pi" / "a #1?")).to_dict("records")
    assert odd["tier"].href == "../export/pi/a%20%231%3F/"
    (tuned,) = table_of(tmp_path, finetuned=True).to_dict("records")
    assert tuned["equal"] == "tuned"


def test_gaps_are_a_list_and_none_no_section() -> None:
    section = missing_section([Missing("pi", "xs", "lost"), Missing("pi", "m", "lost")])
    assert section is not None
    assert section.blocks[1] == Listing(["pi/xs, pi/m: lost"])
    assert missing_section([]) is None
