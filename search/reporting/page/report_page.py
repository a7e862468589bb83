"""The page of a report: which sections it has, what it says of itself, and the index over several of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from litepose_ofa.search.reporting.findings import Findings
from litepose_ofa.search.reporting.page.course_section import course_section, importance_section
from litepose_ofa.search.reporting.page.document import PAGE_FILE, Page
from litepose_ofa.search.reporting.page.fidelity_section import fidelity_section
from litepose_ofa.search.reporting.page.fronts_section import fronts_section
from litepose_ofa.search.reporting.page.predictor_section import predictor_section
from litepose_ofa.search.reporting.page.section import Link, Section, Table
from litepose_ofa.search.reporting.page.sensitivity_section import sensitivity_section
from litepose_ofa.search.reporting.page.subnets_section import subnets_section
from litepose_ofa.search.reporting.page.summary_section import missing_section, summary_section
from litepose_ofa.search.reporting.page.tables_section import tables_section
from litepose_ofa.search.reporting.page.training_section import training_section
from litepose_ofa.search.reporting.summary import AP_BY, SURROGATE_WARNING

MOST_NAMED = 4
"""Devices that the heading names, at most."""

UNKNOWN = "not recorded"


def report_page(
    findings: Findings, folder: Path, *, record: Mapping[str, Any] | None = None, samples: Section | None = None
) -> Page:
    """Return the page of searches that may be compared, and of their workspace.

    Args:
        findings: What they found.
        folder: Of the page: links start there.
        record: What wrote the report: ``versions``, ``python`` and ``commit``.
        samples: Held-out images with the people that the chosen subnets find in them.
    """
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
    """Return the page that leads to the reports of searches that may not be compared with each other.

    Args:
        workspace: The workspace.
        reports: What each found, by its folder, which is beside the index.
    """
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
