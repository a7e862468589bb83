"""What the latencies rest on: the tables' provenance, their errors, and whole networks that were timed against them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.reporting.evaluated import DeviceLatency
from litepose_ofa.search.reporting.page.section import (
    BLUE,
    GREY,
    HEIGHT,
    PALETTE,
    VERMILION,
    Block,
    Chart,
    Listing,
    Prose,
    Section,
    Table,
    equality_line,
    recorded_blocks,
    zero_line,
)
from litepose_ofa.search.reporting.searches import FinishedSearch
from litepose_ofa.search.workspace import Workspace
from litepose_ofa.supernet.errors import InputError

COMMAND = "litepose validate-table"

FITTED, LEFT_OUT = "in the fit", "left out of the fit"

ROW = 44
"""Pixels of a table in the chart of errors."""


def tables_section(workspace: Path, cells: Sequence[FinishedSearch]) -> Section:
    """Return what is known of the tables that searches used, and of those that were validated in the workspace."""
    tables, lost = _load_tables(cells)
    blocks: list[Block] = []
    if tables:
        caption = (
            "MAPE: mean absolute relative error of whole networks, those that the table was fitted on and those that "
            "were left out. Inside: share of the networks in their 80 % interval."
        )
        blocks += [*map(Prose, explain_provenance(tables)), Table(table_figures(tables), caption)]
    errors = network_errors(tables)
    if len(errors):
        blocks.append(_error_chart(errors))
    records = sorted(Workspace(workspace).table_validations.glob("*.json"))
    for path in records:
        what = f"The validation of {path.stem}"
        blocks += recorded_blocks(path, lambda value: validation_blocks(value, tables), what=what, command=COMMAND)
    missing = [device for device in tables if device not in {path.stem for path in records}]
    if missing:
        blocks.append(
            Prose(
                f"Not compared with whole networks on the device in this workspace: {', '.join(missing)}. "
                f"`{COMMAND} table=... kit=...` does so with the timings of a profiling kit."
            )
        )
    if lost:
        blocks.append(Listing(lost))
    return Section("tables", "Latency tables", blocks)


def _load_tables(cells: Sequence[FinishedSearch]) -> tuple[dict[str, LatencyTable], list[str]]:
    """Return the tables by the name of their device, and which of them are gone."""
    tables, lost = dict[str, LatencyTable](), list[str]()
    for digest, cell in {cell.search["table"]: cell for cell in cells}.items():
        try:
            table = DeviceLatency.load(cell.record["table"], digest).table
        except InputError as error:
            lost.append(f"{cell.device}: {error}.")
        else:
            name = table.metadata.device
            tables[name if name not in tables else f"{name}, {digest}"] = table
    return tables, lost


def explain_provenance(tables: Mapping[str, LatencyTable]) -> list[str]:
    """Say in a sentence a kind of table what its latencies are worth."""
    measured = [name for name, table in tables.items() if table.metadata.provenance == "measured"]
    estimated = [name for name in tables if name not in measured]
    lines = []
    if measured:
        lines.append(
            f"Measured: {', '.join(measured)}. Operators were timed on the device; a subnet's latency is their sum "
            "after a fit on whole networks, not a timing of the subnet itself."
        )
    if estimated:
        lines.append(
            f"Estimated, not measured: {', '.join(estimated)}. Calibrated to published latencies of a few networks; "
            "what is far from those in size is extrapolated."
        )
    return lines


def table_figures(tables: Mapping[str, LatencyTable]) -> pd.DataFrame:
    """Return one row a table: what it is, and its recorded errors."""
    return pd.DataFrame(_figures(name, table) for name, table in tables.items())


def _figures(name: str, table: LatencyTable) -> dict[str, str | None]:
    meta = table.metadata
    fitted = sum(row.samples == 0 for row in table.rows.values())
    rows = f"{len(table.rows) - fitted:,} measured" if meta.provenance == "measured" else "estimated"
    return {
        "table": name,
        "operators": rows + (f", {fitted:,} fitted" if fitted and meta.provenance == "measured" else ""),
        "runtime": meta.runtime,
        "precision": meta.precision,
        "MAPE in the fit": _mape(meta.fit_errors),
        "MAPE left out": _mape(meta.validation_errors),
        "inside": None if meta.interval_coverage is None else f"{100 * meta.interval_coverage:.0f} %",
        "made": meta.date,
    }


def _mape(errors: Mapping[str, float]) -> str | None:
    return f"{100 * np.mean(np.abs(list(errors.values()))):.1f} % of {len(errors)}" if errors else None


def network_errors(tables: Mapping[str, LatencyTable]) -> pd.DataFrame:
    """Return the recorded relative errors of whole networks in percent: ``table``, ``network``, ``part``, ``error``."""
    rows = [
        {"table": name, "network": network, "part": part, "error": 100 * error}
        for name, table in tables.items()
        for part, errors in ((FITTED, table.metadata.fit_errors), (LEFT_OUT, table.metadata.validation_errors))
        for network, error in errors.items()
    ]
    return pd.DataFrame(rows, columns=["table", "network", "part", "error"])


def _error_chart(errors: pd.DataFrame) -> Chart:
    along = alt.X("error:Q", title="error of the table, %")
    points = (
        alt.Chart(errors)
        .mark_point(filled=True, size=70, opacity=0.85)
        .encode(
            along,
            alt.Y("table:N", title=None, sort=None),
            color=alt.Color("part:N", scale=alt.Scale(domain=[LEFT_OUT, FITTED], range=[BLUE, GREY])),
            shape=alt.Shape("part:N", scale=alt.Scale(domain=[LEFT_OUT, FITTED], range=["circle", "diamond"])),
            tooltip=["table:N", "network:N", "part:N", alt.Tooltip("error:Q", title="error, %", format="+.1f")],
        )
    )
    height = ROW * errors["table"].nunique()
    chart = alt.layer(zero_line("error").encode(along), points).properties(width="container", height=height)
    return Chart(
        chart, "Relative error of each table for whole networks whose latency is known, as its files record it."
    )


def validation_blocks(record: Mapping[str, Any], tables: Mapping[str, LatencyTable]) -> list[Block]:
    """Return the blocks of a table's validation, as ``litepose validate-table`` records it."""
    name = str(record["table"])
    frame = validation_points(record["runs"])
    runs = "; ".join(
        f"{run['run']}: {run['networks']} networks, MAPE {100 * run['mape']:.1f} %, Spearman {run['spearman']:.3f}, "
        f"{100 * run['inside_80_percent_interval']:.0f} % inside their 80 % interval"
        for run in record["runs"]
    )
    text = f"{name} against whole networks timed on the device. {runs}."
    if name in tables and tables[name].digest != record["digest"]:
        text += " This was another version of the table than the searches used."
    return [Prose(text), _validation_chart(frame, name)]


def validation_points(runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the networks of validations: run, input size, measured ms, and the table's."""
    return pd.DataFrame(
        {
            "run": run["run"],
            "arch": check["arch"],
            "image_size": check["image_size"],
            "measured": check["measured_ms"],
            "ms": check["estimate"]["ms"],
            "low": check["estimate"]["low_ms"],
            "high": check["estimate"]["high_ms"],
        }
        for run in runs
        for check in run["checks"]
    )


def _validation_chart(frame: pd.DataFrame, name: str) -> Chart:
    scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X("measured:Q", title="measured, ms", scale=scale)
    colour = alt.Color("run:N", sort=None, scale=alt.Scale(range=[BLUE, VERMILION, *PALETTE[2:]]))
    whiskers = alt.Chart(frame).mark_rule(opacity=0.6).encode(x, alt.Y("low:Q"), y2="high:Q", color=colour)
    points = (
        alt.Chart(frame)
        .mark_circle(size=55, opacity=0.9)
        .encode(
            x,
            alt.Y("ms:Q", title="by the table, ms", scale=scale),
            color=colour,
            tooltip=[
                alt.Tooltip("arch:N", title="network"),
                alt.Tooltip("image_size:Q", title="input, px"),
                alt.Tooltip("measured:Q", title="measured, ms", format=".4g"),
                alt.Tooltip("ms:Q", title="by the table, ms", format=".4g"),
                alt.Tooltip("low:Q", title="80 % from, ms", format=".4g"),
                alt.Tooltip("high:Q", title="80 % to, ms", format=".4g"),
            ],
        )
    )
    layers = alt.layer(equality_line(frame, "measured", "ms").encode(x, alt.Y("ms:Q")), whiskers, points)
    caption = (
        f"{name}: latency by the table, with 80 % intervals, against latency measured; the dashed line is equality."
    )
    return Chart(layers.properties(width="container", height=HEIGHT), caption)
