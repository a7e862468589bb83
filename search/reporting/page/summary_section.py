"""What was chosen for each device and tier, as a table and as drawings, and what a report has to do without."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from litepose_ofa.search.reporting.page.section import Block, Drawing, Link, Listing, Prose, Section, Table
from litepose_ofa.search.reporting.page.subnet_drawing import Scale, draw_comparison, draw_subnet
from litepose_ofa.search.reporting.searches import FinishedSearch, Missing
from litepose_ofa.search.reporting.summary import SURROGATE, explain_marks, format_equality, format_gaps, format_percent
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.export.bundle import WEIGHTS_FILE

NAMES = {
    "device": "device", "tier": "tier", "budget": "budget, ms",
    "latency": "latency, ms (80\N{NO-BREAK SPACE}% interval)",
    "ap_predicted": "AP pred.", "ap_search": "AP search", "ap_val": "AP held-out",
    "resolution": "input, px", "macs": "MACs, millions", "params": "params", "peak_memory": "peak memory, MiB",
    "size": "weights, MiB", "equality": "equal",
}  # fmt: skip
"""Headings of the table."""

MEBIBYTE = 2**20


def summary_section(summary: pd.DataFrame, folder: Path) -> Section:
    """Return the section of the chosen subnets."""
    rows = [_row({str(key): value for key, value in row.items()}, folder) for row in summary.to_dict("records")]
    frame = pd.DataFrame(rows, columns=list(NAMES)).rename(columns=NAMES)
    frame = frame.dropna(axis="columns", how="all")
    caption = (
        "The chosen subnets; each tier leads to its files. AP in %; peak memory is that of the activations in float32 "
        "at batch 1. The same, unrounded: summary.csv beside this page."
    )
    return Section("summary", "Summary", [Table(frame, caption), Listing(explain_marks(summary))])


def missing_section(gaps: Sequence[Missing]) -> Section | None:
    """Return the section of what a report has to do without, or None if that is nothing."""
    if not gaps:
        return None
    warning = Prose("Missing: this report has to do without the following.", is_warning=True)
    return Section("missing", "Missing", [warning, Listing(format_gaps(gaps))])


def format_latency(row: Mapping[str, Any]) -> str:
    """Return a latency in ms, with ``~`` before it where it is an estimate."""
    return f"{'' if row['latency_provenance'] == 'measured' else '~'}{row['latency_ms']:.4g}"


def _row(row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    interval = f"{row['latency_low_ms']:.4g}\N{EN DASH}{row['latency_high_ms']:.4g}"
    peak = row["peak_memory_bytes"]
    place = Path(row["folder"])
    return {
        "device": row["device"],
        "tier": Link(row["tier"], _address(place, folder)),
        "budget": f"{row['budget_ms']:.4g}",
        "latency": f"{format_latency(row)} ({interval})",
        "ap_predicted": _predicted(row),
        "ap_search": _known(row["ap_search"]),
        "ap_val": _known(row["ap_val"]),
        "resolution": str(row["image_size"]),
        "macs": f"{row['macs'] / 1e6:,.1f}",
        "params": f"{row['params']:,}",
        "peak_memory": None if pd.isna(peak) else f"{peak / MEBIBYTE:.2f}",
        "size": _size(place / WEIGHTS_FILE),
        "equality": None if not row["finetuned"] and pd.isna(row["bit_equal"]) else format_equality(row),
    }


def _predicted(row: Mapping[str, Any]) -> str | None:
    ap = _known(row["ap_predicted"])
    return f"{ap} surrogate" if ap is not None and row["ap_source"] == SURROGATE else ap


def _known(ap: float | None) -> str | None:
    return None if pd.isna(ap) else format_percent(ap)


def _size(file: Path) -> str | None:
    return f"{file.stat().st_size / MEBIBYTE:.2f}" if file.exists() else None


def _address(place: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(place, folder)).as_posix()) + "/"


def subnets_section(cells: Sequence[FinishedSearch]) -> Section:
    """Return the drawings of what searches chose, all at one scale; a subnet chosen twice is drawn by itself once.

    Raises:
        InputError: If the architecture file of an export is damaged.
    """
    chosen = [(cell, cell.arch) for cell in cells]
    num_keypoints = cells[0].num_keypoints
    scale = Scale.of((arch for _, arch in chosen), num_keypoints)
    blocks: list[Block] = [
        Prose(
            "Every block is an inverted bottleneck: its height is its width in channels, its colour the depthwise "
            "kernel, the white bar the expansion of its hidden layer. Grey are stem, fusion deconvs and heads. All "
            "drawings have one scale; point at a block for its sizes and MACs."
        )
    ]
    devices = dict.fromkeys(cell.device for cell in cells)
    for device in devices:
        named = [(cell.tier, arch) for cell, arch in chosen if cell.device == device]
        drawing = draw_comparison(named, num_keypoints, name=f"subnets for {device}", scale=scale)
        blocks.append(Drawing(drawing, f"{device}: the chosen subnets at one scale, the smallest budget first."))
    owners: dict[Arch, list[str]] = {}
    for cell, arch in chosen:
        owners.setdefault(arch, []).append(f"{cell.device}/{cell.tier}")
    for arch, names in owners.items():
        drawing = draw_subnet(arch, num_keypoints, name=f"subnet {arch.digest}", scale=scale)
        complexity = measure_complexity(arch, num_keypoints)
        cost = f"{complexity.macs / 1e6:,.4g} MMACs, {complexity.params:,} parameters"
        blocks.append(Drawing(drawing, f"{', '.join(names)}: subnet {arch.digest}, {arch.image_size} px, {cost}."))
    return Section("subnets", "Chosen subnets", blocks)
