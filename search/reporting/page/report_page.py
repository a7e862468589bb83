"""The files of a report: the page with its sections, the index over several, tables, text and pictures."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from litepose_ofa.search.reporting.findings import Findings
from litepose_ofa.search.reporting.page.document import PAGE_FILE, Page, render
from litepose_ofa.search.reporting.page.drawing import save_png
from litepose_ofa.search.reporting.page.fronts_section import fronts_section
from litepose_ofa.search.reporting.page.predictor_section import predictor_blocks
from litepose_ofa.search.reporting.page.search_sections import (
    course_section,
    importance_section,
    missing_section,
    subnets_section,
    summary_section,
)
from litepose_ofa.search.reporting.page.section import Block, Grid, Link, Picture, Section, Table, recorded_blocks
from litepose_ofa.search.reporting.page.sensitivity_section import fidelity_blocks, read_sensitivity, sensitivity_blocks
from litepose_ofa.search.reporting.page.tables_section import tables_section
from litepose_ofa.search.reporting.page.training_section import finetuning_blocks, read_metrics, training_blocks
from litepose_ofa.search.reporting.summary import AP_BY, SURROGATE_WARNING, format_gaps, format_summary
from litepose_ofa.search.workspace import Workspace
from litepose_ofa.supernet.files import replacing, temporary_folder, write_text

MOST_NAMED = 4
"""Devices that the heading names, at most."""

UNKNOWN = "not recorded"

SUMMARY_TEXT = "summary.txt"
TABLES = ("summary", "front", "hypervolume", "importance")
PICTURES = ("front", "hypervolume", "importance")


def report_page(
    findings: Findings, folder: Path, *, record: Mapping[str, Any] | None = None, samples: Section | None = None
) -> Page:
    """Return the page of searches that may be compared, and of their workspace."""
    cells = findings.cells
    workspace = cells[0].workspace
    sections = [
        summary_section(findings.summary, folder),
        missing_section(findings.gaps),
        _fronts(findings),
        subnets_section(cells),
        samples,
        course_section(findings.progress),
        importance_section(findings.importances, findings.source),
        sensitivity_section(workspace),
        predictor_section(workspace),
        fidelity_section(workspace),
        tables_section(workspace, cells),
        training_section(workspace),
    ]
    devices = list(dict.fromkeys(cell.device for cell in cells))
    return Page(
        title=f"LitePose subnets for {', '.join(devices) if len(devices) <= MOST_NAMED else f'{len(devices)} devices'}",
        lead=_lead(findings, len(devices)),
        facts=_facts(findings, record or {}),
        warnings=[f"{SURROGATE_WARNING}."] if findings.is_surrogate else [],
        sections=[section for section in sections if section is not None],
    )


def index_page(workspace: Path, reports: Mapping[str, Findings]) -> Page:
    """Return the page that leads to the reports of searches that may not be compared with each other."""
    rows = [
        {
            "report": Link(name, quote(f"{name}/{PAGE_FILE}")),
            "space": findings.cells[0].space.name,
            "dataset": findings.dataset or UNKNOWN,
            "AP by the": AP_BY[findings.source],
            "devices": ", ".join(dict.fromkeys(cell.device for cell in findings.cells)),
            "tiers": ", ".join(dict.fromkeys(cell.tier for cell in findings.cells)),
        }
        for name, findings in reports.items()
    ]
    caption = "One report for each group of searches whose accuracies may be compared with each other."
    return Page(
        title=f"Reports on {workspace.name}",
        lead=f"Its searches are of different spaces, supernets or predictors: {len(reports)} reports.",
        facts={"workspace": str(workspace)},
        warnings=[],
        sections=[Section("reports", "Reports", [Table(pd.DataFrame(rows), caption)])],
    )


def _lead(findings: Findings, num_devices: int) -> str:
    summary = findings.summary
    subnets = summary["arch_digest"].nunique()
    count = f"{subnets} subnet{'s' * (subnets > 1)} for {num_devices} device{'s' * (num_devices > 1)}"
    lead = f"{count}." if findings.is_surrogate else f"{count}, of one supernet."
    by_search = {cell.run_folder: cell.record.get("evaluations") or 0 for cell in findings.cells}
    evaluations = sum(by_search.values())  # a search for several devices counts once
    lead += f" The searches made {evaluations:,} evaluations." if evaluations else ""
    measured = summary.dropna(subset="ap_val")
    if measured.empty:
        return lead
    best = measured.iloc[int(measured["ap_val"].astype(float).argmax())]
    return f"{lead} The best AP on held-out images is {100 * best['ap_val']:.1f}: {best['device']}, {best['tier']}."


def _facts(findings: Findings, record: Mapping[str, Any]) -> dict[str, str]:
    """Return what the report rests on: its subject, and of the run's record the commit and versions."""
    first = findings.cells[0]
    size = first.space.size
    versions = {**record.get("versions", {}), **({"Python": record["python"]} if "python" in record else {})}
    return {
        "workspace": str(first.workspace),
        "search space": f"{first.space.name}, {size if size < 1e6 else format(size, '.2g')} architectures",
        "dataset": findings.dataset or UNKNOWN,
        "AP that the searches went by": AP_BY[findings.source],
        "latencies": _provenances(findings.summary),
        "seed of the searches": ", ".join(sorted({str(cell.search.get("seed", UNKNOWN)) for cell in findings.cells})),
        "source commit": f"`{str(record['commit'])[:12]}`" if record.get("commit") else UNKNOWN,
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or UNKNOWN,
    }


def _provenances(summary: pd.DataFrame) -> str:
    is_measured = summary["latency_provenance"] == "measured"
    said = is_measured.map({True: "sums of measured operators", False: "estimated, not measured"})
    devices = summary["device"].groupby(said, sort=False).unique()
    return "; ".join(f"{', '.join(names)}: {kind}" for kind, names in devices.items())


def samples_section(pictures: Sequence[Picture], note: str = "") -> Section | None:
    """Return the pictures beside each other, None if there is nothing to show and nothing to say."""
    blocks: list[Block] = [*([note] if note else []), *([Grid(tuple(pictures))] if pictures else [])]
    return Section("samples", "Sample predictions", blocks) if blocks else None


def sensitivity_section(workspace: Path) -> Section:
    """Return what ``litepose sensitivity`` measured."""
    path, what = Workspace(workspace).sensitivity, "What each dimension is worth"
    blocks = recorded_blocks(path, sensitivity_blocks, what=what, command="litepose sensitivity", read=read_sensitivity)
    return Section("sensitivity", "Sensitivity", blocks)


def predictor_section(workspace: Path) -> Section:
    """Return what ``litepose fit`` recorded of the predictor's quality."""
    path, what = Workspace(workspace).predictor_quality, "The quality of the accuracy predictor"
    blocks = recorded_blocks(path, predictor_blocks, what=what, command="litepose fit")
    return Section("predictor", "Accuracy predictor", blocks)


def fidelity_section(workspace: Path) -> Section:
    """Return what ``litepose rank-fidelity`` recorded."""
    path, what = Workspace(workspace).rank_fidelity, "Whether the supernet ranks subnets as training each alone would"
    blocks = recorded_blocks(path, fidelity_blocks, what=what, command="litepose rank-fidelity")
    return Section("rank-fidelity", "Rank fidelity", blocks)


def training_section(workspace: Path) -> Section:
    """Return the curves of the workspace's supernet, and of the subnets that were finetuned."""
    path = Workspace(workspace).training_metrics
    blocks = recorded_blocks(
        path, training_blocks, what="The training of the supernet", command="litepose train", read=read_metrics
    )
    if tuned := Workspace(workspace).finetunings():
        blocks += recorded_blocks(
            workspace / "finetune", finetuning_blocks, what="Finetuning", command="litepose finetune",
            read=lambda _: {"/".join(path.parts[-3:-1]): read_metrics(path) for path in tuned},
        )  # fmt: skip
    return Section("training", "Training", blocks)


def remove_report(folder: Path, *, keep: Collection[str] = ()) -> None:
    """Remove the files of an earlier report, but those to keep."""
    tables, pictures = (f"{table}.csv" for table in TABLES), (f"{picture}.png" for picture in PICTURES)
    for name in {PAGE_FILE, SUMMARY_TEXT, *tables, *pictures}.difference(keep):
        (folder / name).unlink(missing_ok=True)


def write_report(
    folder: Path, findings: Findings, *, record: Mapping[str, Any] | None = None, samples: Section | None = None
) -> str:
    """Write the page, the tables, the pictures and the text of a report; an earlier one is there until all are written.

    Returns:
        The text: the summary, and what is missing.
    """
    text = _text(findings)
    with temporary_folder(folder, becomes=folder) as new:
        _write_tables(new, findings)
        _write_pictures(new, findings)
        write_text(new / SUMMARY_TEXT, text + "\n")
        write_text(new / PAGE_FILE, render(report_page(findings, folder, record=record, samples=samples)))
        written = {path.name for path in new.iterdir()}
        remove_report(folder, keep=written)
        for name in written:
            os.replace(new / name, folder / name)
    return text


def write_index(folder: Path, workspace: Path, reports: Mapping[str, Findings]) -> None:
    """Write the page that leads to several reports, each in a folder of its own below this one."""
    write_text(folder / PAGE_FILE, render(index_page(workspace, reports)))


def _write_tables(folder: Path, findings: Findings) -> None:
    tables = zip(TABLES, (findings.summary, findings.fronts, findings.progress, findings.importances), strict=True)
    for name, table in tables:
        if len(table):
            with replacing(folder / f"{name}.csv") as temporary:
                table.to_csv(temporary, index=False)


def _write_pictures(folder: Path, findings: Findings) -> None:
    sections = (
        _fronts(findings),
        course_section(findings.progress),
        importance_section(findings.importances, findings.source),
    )
    warning = SURROGATE_WARNING if findings.is_surrogate else ""
    for name, section in zip(PICTURES, sections, strict=True):
        if section is not None:
            title = f"{section.title}, AP by the {AP_BY[findings.source]}"
            save_png(folder / f"{name}.png", section.blocks, title, warning=warning)


def _fronts(findings: Findings) -> Section:
    space, dataset = findings.cells[0].space, findings.dataset
    return fronts_section(findings.panels, space=space, source=findings.source, dataset=dataset)


def _text(findings: Findings) -> str:
    heading = [f"{SURROGATE_WARNING}.", ""] if findings.is_surrogate else []
    missing = ["", "Missing:", *(f"- {line}" for line in format_gaps(findings.gaps))] if findings.gaps else []
    return "\n".join([*heading, format_summary(findings.summary), *missing])
