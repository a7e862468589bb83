"""What the latencies rest on: the tables' provenance, their errors, and whole networks that were timed against them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.reporting.evaluated import load_table
from litepose_ofa.search.reporting.page.drawing import scatter
from litepose_ofa.search.reporting.page.section import Block, Chart, Section, Table, recorded_blocks
from litepose_ofa.search.reporting.searches import FinishedSearch
from litepose_ofa.search.workspace import Workspace
from litepose_ofa.supernet.errors import InputError

COMMAND = "litepose validate-table"


def tables_section(workspace: Path, cells: Sequence[FinishedSearch]) -> Section:
    """Return what is known of the tables that searches used, and of those that were validated in the workspace."""
    tables, lost = _load_tables(cells)
    blocks: list[Block] = []
    if tables:
        caption = (
            "Measured: operators were timed on the device, and a subnet's latency is their sum after a fit on whole "
            "networks. Estimated: calibrated to published latencies of a few networks, and extrapolated beyond. "
            "MAPE: mean absolute relative error of whole networks, those that the table was fitted on and those that "
            "were left out. Inside: share of the networks in their 80 % interval."
        )
        blocks.append(Table(table_figures(tables), caption))
    records = sorted(Workspace(workspace).table_validations.glob("*.json"))
    for path in records:
        what = f"The validation of {path.stem}"
        blocks += recorded_blocks(path, lambda value: validation_blocks(value, tables), what=what, command=COMMAND)
    missing = [device for device in tables if device not in {path.stem for path in records}]
    if missing:
        blocks.append(
            f"Not compared with whole networks on the device in this workspace: {', '.join(missing)}. "
            f"`{COMMAND} table=... kit=...` does so with the timings of a profiling kit."
        )
    if lost:
        blocks.append(lost)
    return Section("tables", "Latency tables", blocks)


def _load_tables(cells: Sequence[FinishedSearch]) -> tuple[dict[str, LatencyTable], list[str]]:
    """Return the tables by the name of their device, and which of them are gone."""
    tables, lost = dict[str, LatencyTable](), list[str]()
    for digest, cell in {cell.search["table"]: cell for cell in cells}.items():
        try:
            table = load_table(cell)
        except InputError as error:
            lost.append(f"{cell.device}: {error}.")
        else:
            name = table.metadata.device
            tables[name if name not in tables else f"{name}, {digest}"] = table
    return tables, lost


def table_figures(tables: Mapping[str, LatencyTable]) -> pd.DataFrame:
    """Return one row a table: what it is, and its recorded errors."""
    return pd.DataFrame(_figures(name, table) for name, table in tables.items())


def _figures(name: str, table: LatencyTable) -> dict[str, str | None]:
    meta = table.metadata
    operators = "estimated"
    if meta.provenance == "measured":
        fitted = sum(row.samples == 0 for row in table.rows.values())
        operators = f"{len(table.rows) - fitted:,} measured" + (f", {fitted:,} fitted" if fitted else "")
    return {
        "table": name,
        "operators": operators,
        "runtime": meta.runtime,
        "precision": meta.precision,
        "MAPE in the fit": _mape(meta.fit_errors),
        "MAPE left out": _mape(meta.validation_errors),
        "inside": None if meta.interval_coverage is None else f"{100 * meta.interval_coverage:.0f} %",
        "made": meta.date,
    }


def _mape(errors: Mapping[str, float]) -> str | None:
    return f"{100 * np.mean(np.abs(list(errors.values()))):.1f} % of {len(errors)}" if errors else None


def validation_blocks(record: Mapping[str, Any], tables: Mapping[str, LatencyTable]) -> list[Block]:
    """Return the blocks of a table's validation, as ``litepose validate-table`` records it."""
    name = str(record["table"])
    runs = "; ".join(
        f"{run['run']}: {run['networks']} networks, MAPE {100 * run['mape']:.1f} %, Spearman {run['spearman']:.3f}, "
        f"{100 * run['inside_80_percent_interval']:.0f} % inside their 80 % interval"
        for run in record["runs"]
    )
    text = f"{name} against whole networks timed on the device. {runs}."
    if name in tables and tables[name].digest != record["digest"]:
        text += " This was another version of the table than the searches used."
    colour = alt.Color("run:N", sort=None)
    chart = scatter(
        validation_points(record["runs"]), "measured, ms", "by the table, ms", colour,
        interval=("80 % from, ms", "80 % to, ms"), scale=alt.Scale(type="log", nice=False, padding=12),
    )  # fmt: skip
    caption = (
        f"{name}: latency by the table, with 80 % intervals, against latency measured; the dashed line is equality."
    )
    return [text, Chart(chart, caption)]


def validation_points(runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the networks of validations, a row each."""
    return pd.DataFrame(
        {
            "run": run["run"],
            "network": check["arch"],
            "input, px": check["image_size"],
            "measured, ms": check["measured_ms"],
            "by the table, ms": check["estimate"]["ms"],
            "80 % from, ms": check["estimate"]["low_ms"],
            "80 % to, ms": check["estimate"]["high_ms"],
        }
        for run in runs
        for check in run["checks"]
    )
