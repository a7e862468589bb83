"""The searches of a workspace in one table each of choices, fronts and progress, and as text.

Whose an accuracy is stands beside it: in a column ``ap_source``, in a line, in a title.
"""

import contextlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from litepose_ofa.search.reporting.searches import FinishedSearch, Missing
from litepose_ofa.search.workspace import joined
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.intervals import ResampledAP
from litepose_ofa.supernet.export.bundle import WEIGHTS_FILE

SURROGATE = "published-surrogate"
SHIPPED = "shipped-predictor"
MARKS = {SURROGATE: " surrogate", SHIPPED: " shipped"}
"""What stands behind an AP that nobody measured or predicted from what was measured in the workspace."""

AP_BY = {
    "predictor": "accuracy predictor",
    "supernet": "supernet, search split",
    SURROGATE: "published surrogate",
    SHIPPED: "shipped predictor",
}
"""Where an AP comes from, for titles and legends."""

SURROGATE_WARNING = "AP by a SURROGATE drawn through published figures: nothing was trained or measured"

NOTE_WIDTH = 100
"""Characters a line of explanations on a terminal."""

LEFT = ("device", "tier")
"""Columns of a terminal's table that begin at the left."""

ON_PAGE_ONLY = ["params", "peak MiB", "weights MiB", "folder"]
"""Columns for which a terminal of 100 characters has no room."""

EQUAL = "equal: before recalibration its outputs are bit for bit those of the supernet."
ALL_EQUAL = "Before recalibration, the outputs of all are bit for bit those of the supernet."

MEBIBYTE = 2**20

REFERENCE = "AP 0 and the latency budget"
"""The corner up to which a search's hypervolume counts, as a share of the area from AP 0 to 1."""


def summarise(cells: Sequence[FinishedSearch]) -> pd.DataFrame:
    """Return one row a device and tier: what was asked, what was chosen, what was measured and checked.

    ``ap_predicted`` is by ``ap_source``, the predictor as fitted to all that was measured or the published surrogate;
    it is empty where finetuning preferred another subnet. ``ap_search`` was measured on the search split, of a
    finetuned subnet after finetuning, and ``ap_val`` on held-out images, of the exported subnet. All AP are in
    [0, 1]; what is not known is empty. ``ap_val_gain`` is ``ap_val`` minus that of the row before, where it is of the
    same device and of other subnets on the same images, with the ends of its paired 95 % interval.
    ``latency_provenance`` and ``decoding_provenance`` say whether the latency was measured. Of a finetuned subnet
    ``bit_equal`` is empty.
    """
    return pd.DataFrame(
        [_summary_row(cell) | _gain(cell, before) for before, cell in zip((None, *cells), cells, strict=False)]
    )


def _gain(cell: FinishedSearch, before: FinishedSearch | None) -> dict[str, float | None]:
    """Return how much better a cell's exported subnet is than the one before, a smaller budget's."""
    gain: tuple[float | None, ...] = (None, None, None)
    known = [each.manifest.get("accuracy", {}).get("resampled") for each in (cell, before) if each and each.manifest]
    if before is not None and before.device == cell.device and len(known) == 2 and all(known):
        ours, theirs = (ResampledAP(**resampled) for resampled in known)
        with contextlib.suppress(InputError):  # measured on other images
            difference, interval = ours.minus(theirs)
            gain = difference, interval.low, interval.high
    return dict(zip(("ap_val_gain", "ap_val_gain_low", "ap_val_gain_high"), gain, strict=True))


def _summary_row(cell: FinishedSearch) -> dict[str, Any]:
    record, manifest = cell.record, cell.manifest or {}
    exported = cell.arch
    numbers = _numbers_of(cell, exported.digest)
    finetuned = manifest.get("finetuned")
    ap_search = finetuned["ap_search"]["after"] if finetuned else numbers["verified_ap"]
    is_predicted = exported.digest == record["arch_digest"]
    onnx = manifest.get("formats", {}).get("onnx")
    return {
        "device": cell.device,
        "tier": cell.tier,
        "goal": record.get("goal"),
        "budget_ms": record["budget_ms"],
        "latency_ms": numbers["latency_ms"],
        "latency_low_ms": numbers["latency_low_ms"],
        "latency_high_ms": numbers["latency_high_ms"],
        "latency_provenance": numbers["latency_provenance"],
        "decoding_provenance": numbers.get("decoding_provenance") or None,
        "latency_table": cell.search["table"],
        "ap_source": cell.source,
        "ap_predicted": numbers["ap"] if is_predicted else None,
        "ap_search": ap_search,
        "ap_val": manifest.get("accuracy", {}).get("metrics", {}).get("AP"),
        "image_size": numbers["image_size"],
        "macs": numbers["macs"],
        "macs_as_published": measure_complexity(exported, cell.num_keypoints).macs_as_published,
        "params": numbers["params"],
        "peak_memory_bytes": numbers.get("peak_memory_bytes"),
        "finetuned": finetuned is not None,
        "bit_equal": (manifest.get("equal_to_supernet") or {}).get("bit_equal"),
        "onnx_max_abs_difference": None if onnx is None else float(onnx["parity"]["max_abs_difference"]),
        "evaluations": record.get("evaluations"),
        "stopped_by": record.get("stopped_by"),
        "arch_digest": exported.digest,
        "folder": str(cell.export_folder if manifest else cell.outcome.folder),
    }


def collect_fronts(cells: Sequence[FinishedSearch]) -> pd.DataFrame:
    """Return the fronts of all searches below each other, each line with its device, tier and budget."""
    fronts = [
        _labelled(cell.front, device=cell.device, tier=cell.tier, budget_ms=cell.record["budget_ms"]) for cell in cells
    ]
    return pd.concat(fronts, ignore_index=True)


def collect_progress(cells: Sequence[FinishedSearch]) -> tuple[pd.DataFrame, list[Missing]]:
    """Return the hypervolume after each generation of all searches, and which of them have none.

    Of a search for several, ``device`` and ``tier`` name all of them, and the hypervolume is the mean over its fronts.
    """
    rows, gaps, runs = list[pd.DataFrame](), list[Missing](), dict[Path, FinishedSearch]()
    for cell in cells:
        runs.setdefault(cell.run_folder, cell)
    for cell in runs.values():
        budget = cell.record["budget_ms"] if cell.is_alone else None
        names = {"device": joined(cell.devices), "tier": joined(cell.tiers)}
        labels = {**names, "budget_ms": budget, "reference": REFERENCE}
        try:
            rows.append(_labelled(cell.progress, **labels))
        except InputError as error:
            gaps.append(Missing(cell.device, cell.tier, f"no hypervolume: {error}"))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(), gaps


def _labelled(frame: pd.DataFrame, **labels: Any) -> pd.DataFrame:
    return frame.assign(**labels)[[*labels, *frame.columns]]


def shown_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """Return a summary as people read it: texts, rounded, ``~`` before estimates; what is not known is empty."""
    return pd.DataFrame([_shown({str(key): value for key, value in row.items()}) for row in summary.to_dict("records")])


def _shown(row: Mapping[str, Any]) -> dict[str, str | None]:
    predicted, peak = _percent(row["ap_predicted"]), row["peak_memory_bytes"]
    weights = Path(row["folder"], WEIGHTS_FILE)
    equality = None if pd.isna(row["bit_equal"]) else "yes" if row["bit_equal"] else "NO"
    return {
        "device": row["device"],
        "tier": row["tier"],
        "budget": f"{row['budget_ms']:.4g}",
        "latency ms (80 %)": f"{format_latency(row)} ({row['latency_low_ms']:.3g}-{row['latency_high_ms']:.3g})",
        "AP pred.": predicted and predicted + MARKS.get(row["ap_source"], ""),
        "AP search": _percent(row["ap_search"]),
        "AP held-out": _percent(row["ap_val"]),
        "px": str(row["image_size"]),
        "MMACs": f"{row['macs'] / 1e6:,.1f}",
        "params": f"{row['params']:,}",
        "peak MiB": None if pd.isna(peak) else f"{peak / MEBIBYTE:.2f}",
        "weights MiB": f"{weights.stat().st_size / MEBIBYTE:.2f}" if weights.exists() else None,
        "equal": "tuned" if row["finetuned"] else equality,
        "folder": row["folder"],
    }


def format_latency(row: Mapping[str, Any]) -> str:
    """Return a latency in ms, with ``~`` before it where it is an estimate."""
    return f"{'' if row['latency_provenance'] == 'measured' else '~'}{row['latency_ms']:.4g}"


def format_summary(summary: pd.DataFrame) -> str:
    """Return the table for a terminal, with a legend of what is estimated, predicted and measured."""
    shown = shown_summary(summary).drop(columns=ON_PAGE_ONLY).dropna(axis="columns", how="all").fillna("-")
    marks = explain_marks(summary)
    if "equal" in shown and (shown["equal"] == "yes").all():
        shown, marks = shown.drop(columns="equal"), [ALL_EQUAL if mark == EQUAL else mark for mark in marks]
    columns = []
    for name in shown.columns:
        width = max(len(name), shown[name].str.len().max())
        justify = str.ljust if name in LEFT else str.rjust
        columns.append([justify(text, width) for text in (name, *shown[name])])
    lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
    notes = [line for mark in marks for line in textwrap.wrap(mark, NOTE_WIDTH)]
    return "\n".join([*lines, *notes])


def explain_marks(summary: pd.DataFrame) -> list[str]:
    """Return what the marks and columns of a summary mean: what is estimated, predicted and measured."""
    lines = []
    if not summary["latency_provenance"].isin(["measured", "fitted"]).all():
        lines.append(
            "~ estimated, not measured: the table is calibrated to published latencies, and extrapolates far from "
            "those networks, as for the tiny space (docs/latency_tables.md)."
        )
    if (summary["latency_provenance"] == "fitted").any():
        lines.append("~ of a measured table: operators that were not timed are estimated by a fit to those that were.")
    if (summary["latency_provenance"] == "measured").any():
        lines.append("Latencies without ~ are sums of measured operators, not of the subnet's own runs.")
    for device, rows in summary.groupby("device"):
        latencies, intervals = rows["latency_ms"], rows["latency_high_ms"] - rows["latency_low_ms"]
        if len(rows) > 1 and intervals.max() > latencies.max() - latencies.min():
            lines.append(f"{device}: an interval is wider than all its tiers are apart: its table cannot rank them.")
    if (summary["decoding_provenance"] == "assumed").any():
        lines.append("Latencies include decoding that was measured on another machine: an assumption.")
    if (summary["ap_source"] == SURROGATE).any():
        lines.append(f"surrogate: {SURROGATE_WARNING}.")
    if (summary["ap_source"] == SHIPPED).any():
        lines.append(
            "shipped: AP by the predictor that ships with a supernet, for the photographs that it was measured on; "
            "nothing was measured here."
        )
    if (summary["ap_source"] == "predictor").any():
        lines.append("AP pred. is what all measurements on the search split let expect: the search chose by it.")
    if summary["ap_search"].notna().any():
        lines.append("AP search is measured: the subnet inside the supernet, on the split that the search chose on.")
    if summary["ap_val"].notna().any():
        lines += [
            "AP held-out is the one to believe: measured on the val split, whose images no choice has seen.",
            *gains_between_tiers(summary),
            EQUAL,
        ]
    if summary["finetuned"].any():
        lines.append("tuned: trained on alone after it was cut out, so equal no more.")
    return lines


def gains_between_tiers(summary: pd.DataFrame) -> list[str]:
    """Return a line on how much better each tier is than the one below it, measured on the same images."""
    known = summary[summary["ap_val_gain"].notna()]
    if known.empty:
        return []
    shown = [
        f"{row['device']} {row['tier']} {100 * row['ap_val_gain']:+.1f} "
        f"({100 * row['ap_val_gain_low']:+.1f} to {100 * row['ap_val_gain_high']:+.1f})"
        for row in known.to_dict("records")
    ]
    return [f"AP held-out above the tier before it, image by image (95 %): {'; '.join(shown)}."]


def format_gaps(gaps: Iterable[Missing]) -> list[str]:
    """Return a line a reason, with all that it is the reason for."""
    by_reason: dict[str, list[str]] = {}
    for gap in gaps:
        by_reason.setdefault(gap.reason, []).append(f"{gap.device}/{gap.tier}")
    return [f"{', '.join(cells)}: {reason}" for reason, cells in by_reason.items()]


def _percent(ap: float | None) -> str | None:
    return None if pd.isna(ap) else f"{100 * float(ap):.1f}"


def _numbers_of(cell: FinishedSearch, digest: str) -> dict[str, Any]:
    """Return the numbers of the chosen subnet, or of the other one of the front that finetuning preferred."""
    if digest == cell.record["arch_digest"]:
        return dict(cell.record)
    rows = cell.front[cell.front["arch_digest"] == digest].to_dict("records")
    return {str(key): None if pd.isna(value) else value for key, value in rows[0].items()}
