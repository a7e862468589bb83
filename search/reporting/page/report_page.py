"""The files of a report: the page with its sections, the index over several, tables, text and pictures."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from litepose_ofa.search.reporting.findings import Findings
from litepose_ofa.search.reporting.importance import importance_table
from litepose_ofa.search.reporting.page.course_section import course_section, importance_section
from litepose_ofa.search.reporting.page.document import PAGE_FILE, Page, render
from litepose_ofa.search.reporting.page.drawing import save_png
from litepose_ofa.search.reporting.page.fronts_section import fronts_section
from litepose_ofa.search.reporting.page.predictor_section import predictor_section
from litepose_ofa.search.reporting.page.section import Block, Grid, Link, Picture, Prose, Section, Table
from litepose_ofa.search.reporting.page.sensitivity_section import fidelity_section, sensitivity_section
from litepose_ofa.search.reporting.page.summary_section import missing_section, subnets_section, summary_section
from litepose_ofa.search.reporting.page.tables_section import tables_section
from litepose_ofa.search.reporting.page.training_section import training_section
from litepose_ofa.search.reporting.summary import AP_BY, SURROGATE_WARNING, format_gaps, format_summary
from litepose_ofa.supernet.files import replacing, temporary_folder, write_text

MOST_NAMED = 4
"""Devices that the heading names, at most."""

UNKNOWN = "not recorded"


def report_page(
    findings: Findings, folder: Path, *, record: Mapping[str, Any] | None = None, samples: Section | None = None
) -> Page:
    """Return the page of searches that may be compared, and of their workspace."""
    cells = findings.cells
    first, workspace = cells[0], cells[0].workspace
    sections = [
        summary_section(findings.summary, folder),
        missing_section(findings.gaps),
        fronts_section(
            findings.panels, space=first.space, source=findings.source, dataset=findings.dataset
        ),
        subnets_section(cells),
        samples,
        course_section(findings.progress),
        importance_section(findings.importances, findings.source),
        sensitivity_section(workspace),
        predictor_section(workspace),
        fidelity_section(workspace),
        tables_section(workspace, cells),
        training_section(workspace),
    ]  # fmt: skip
    devices = list(dict.fromkeys(cell.device for cell in cells))
    return Page(
        title=f"LitePose subnets for {', '.join(devices) if len(devices) <= MOST_NAMED else f'{len(devices)} devices'}",
        lead=_lead(findings, len(devices)),
        facts={**_subject(findings), **_made_by(record or {})},
        warnings=[f"{SURROGATE_WARNING}."] if findings.is_surrogate else [],
        sections=[section for section in sections if section is not None],
    )


def index_page(workspace: Path, reports: Mapping[str, Findings]) -> Page:
    """Return the page that leads to the reports of searches that may not be compared with each other."""
    frame = pd.DataFrame([_index_row(name, findings) for name, findings in reports.items()])
    caption = "One report for each group of searches whose accuracies may be compared with each other."
    return Page(
        title=f"Reports on {workspace.name}",
        lead=f"Its searches are of different spaces, supernets or predictors: {len(reports)} reports.",
        facts={"workspace": str(workspace)},
        warnings=[],
        sections=[Section("reports", "Reports", [Table(frame, caption)])],
    )


def _lead(findings: Findings, num_devices: int) -> str:
    summary = findings.summary
    subnets = summary["arch_digest"].nunique()
    count = f"{subnets} subnet{'s' * (subnets > 1)} for {num_devices} device{'s' * (num_devices > 1)}"
    lead = f"{count}." if findings.is_surrogate else f"{count}, of one supernet."
    by_search = {cell.run_folder: cell.record.get("evaluations") or 0 for cell in findings.cells}
    evaluations = sum(by_search.values())  # a search for several devices counts once
    lead += f" The searches made {evaluations:,} evaluations." if evaluations else ""
    measured = summary.dropna(subset="ap_val").sort_values("ap_val", ascending=False).to_dict("records")
    if not measured:
        return lead
    best = measured[0]
    return f"{lead} The best AP on held-out images is {100 * best['ap_val']:.1f}: {best['device']}, {best['tier']}."


def _subject(findings: Findings) -> dict[str, str]:
    first = findings.cells[0]
    size = first.space.size
    return {
        "workspace": str(first.workspace),
        "search space": f"{first.space.name}, {size if size < 1e6 else format(size, '.2g')} architectures",
        "dataset": findings.dataset or UNKNOWN,
        "AP that the searches went by": AP_BY[findings.source],
        "latencies": "; ".join(_latency_fact(findings)),
        "seed of the searches": ", ".join(sorted({str(cell.search.get("seed", UNKNOWN)) for cell in findings.cells})),
    }


def _latency_fact(findings: Findings) -> list[str]:
    by_provenance: dict[str, list[str]] = {}
    for device, provenance in zip(findings.summary["device"], findings.summary["latency_provenance"], strict=True):
        said = "sums of measured operators" if provenance == "measured" else "estimated, not measured"
        by_provenance.setdefault(said, []).append(device)
    return [f"{', '.join(dict.fromkeys(devices))}: {said}" for said, devices in by_provenance.items()]


def _made_by(record: Mapping[str, Any]) -> dict[str, str]:
    versions = {**record.get("versions", {})}
    if "python" in record:
        versions["Python"] = record["python"]
    return {
        "source commit": f"`{str(record['commit'])[:12]}`" if record.get("commit") else UNKNOWN,
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or UNKNOWN,
    }


def _index_row(name: str, findings: Findings) -> dict[str, Any]:
    cells = findings.cells
    return {
        "report": Link(name, quote(f"{name}/{PAGE_FILE}")),
        "space": cells[0].space.name,
        "dataset": findings.dataset or UNKNOWN,
        "AP by the": AP_BY[findings.source],
        "devices": ", ".join(dict.fromkeys(cell.device for cell in cells)),
        "tiers": ", ".join(dict.fromkeys(cell.tier for cell in cells)),
    }


def samples_section(pictures: Sequence[Picture], note: str = "") -> Section | None:
    """Return the pictures beside each other.

    Returns:
        None if there is nothing to show and nothing to say.
    """
    if not pictures and not note:
        return None
    blocks: list[Block] = [Prose(note)] if note else []
    return Section("samples", "Sample predictions", [*blocks, Grid(tuple(pictures))] if pictures else blocks)


SUMMARY_TEXT = "summary.txt"
TABLES = ("summary", "front", "hypervolume", "importance")
PICTURES = ("front", "hypervolume", "importance")


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
        _write_plots(new, findings)
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
    _write_csv(folder / "summary.csv", findings.summary)
    _write_csv(folder / "front.csv", findings.fronts)
    if len(findings.progress):
        _write_csv(folder / "hypervolume.csv", findings.progress)
    if findings.importances:
        _write_csv(folder / "importance.csv", importance_table(findings.importances, findings.source))


def _write_plots(folder: Path, findings: Findings) -> None:
    sections = {
        "front": fronts_section(
            findings.panels, space=findings.cells[0].space, source=findings.source, dataset=findings.dataset
        ),
        "hypervolume": course_section(findings.progress),
        "importance": importance_section(findings.importances, findings.source),
    }
    warning = SURROGATE_WARNING if findings.is_surrogate else ""
    for name, section in sections.items():
        if section is not None:
            title = f"{section.title}, AP by the {AP_BY[findings.source]}"
            save_png(folder / f"{name}.png", section.blocks, title, warning=warning)


def _text(findings: Findings) -> str:
    heading = [f"{SURROGATE_WARNING}.", ""] if findings.is_surrogate else []
    missing = ["", "Missing:", *(f"- {line}" for line in format_gaps(findings.gaps))] if findings.gaps else []
    return "\n".join([*heading, format_summary(findings.summary), *missing])


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
