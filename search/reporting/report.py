"""All files of a report about searches that may be compared: the page, tables, text and pictures."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from litepose_ofa.search.reporting.findings import Findings
from litepose_ofa.search.reporting.importance import importance_table
from litepose_ofa.search.reporting.page.course_section import course_section, importance_section
from litepose_ofa.search.reporting.page.document import PAGE_FILE, render
from litepose_ofa.search.reporting.page.drawing import save_png
from litepose_ofa.search.reporting.page.fronts_section import fronts_section
from litepose_ofa.search.reporting.page.report_page import index_page, report_page
from litepose_ofa.search.reporting.page.section import Section
from litepose_ofa.search.reporting.summary import AP_BY, SURROGATE_WARNING, format_gaps, format_summary
from litepose_ofa.supernet.files import replacing, temporary_folder, write_text

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

    Args:
        folder: Where to.
        findings: What the searches found.
        record: What writes it: ``versions``, ``python`` and ``commit``.
        samples: Held-out images with the people that the chosen subnets find in them.

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
    """Write the page that leads to several reports, each in a folder of its own below this one.

    Args:
        folder: Where to.
        workspace: The workspace.
        reports: What each found, by the name of its folder.
    """
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
