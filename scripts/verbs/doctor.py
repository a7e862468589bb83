"""Look at the installation; say of everything whether it works, and what to do. Runs where much is broken."""

import argparse
import functools
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from litepose_ofa.scripts.diagnosis.data import check_datasets, check_tables, check_workspace
from litepose_ofa.scripts.diagnosis.findings import (
    MARKS,
    Check,
    Finding,
    findings_of,
)
from litepose_ofa.scripts.diagnosis.installation import (
    check_packages,
    check_python,
    check_shared_memory,
    check_threads,
)
from litepose_ofa.scripts.diagnosis.runtimes import (
    check_completion,
    check_litert,
    check_ncnn,
    check_onnxruntime,
    check_programs,
    check_ray,
    check_torch,
)

WIDTH = 120
PLACES = {"data_root": Path("data"), "workspace": Path("runs")}
"""Where the checks look, unless ``key=value`` says otherwise: the defaults of every verb."""


def main() -> None:
    """Print the findings; exit with status 1 if one is an error, 2 for arguments that are not understood."""
    arguments = _parse(sys.argv[1:])
    findings = examine(arguments.places, with_ray=arguments.ray)
    if arguments.json:
        listed = list(findings)
        print(json.dumps([asdict(finding) for finding in listed], indent=2))
        errors = sum(finding.status == "error" for finding in listed)
    else:
        errors = _print(findings)
    sys.exit(1 if errors else 0)


def examine(places: dict[str, Path], *, with_ray: bool = False) -> Iterator[Finding]:
    """Yield the findings of all checks, in the order of what needs what.

    Args:
        places: ``data_root`` and ``workspace``.
        with_ray: Whether Ray is started too, which takes some seconds.
    """
    checks: dict[str, Check] = {
        "Python": check_python,
        "packages": check_packages,
        "threads": check_threads,
        "shared memory": check_shared_memory,
        "torch": check_torch,
        "ONNX Runtime": check_onnxruntime,
        "LiteRT": check_litert,
        "ncnn": check_ncnn,
        "programs": check_programs,
        "latency tables": check_tables,
        "datasets": functools.partial(check_datasets, places["data_root"]),
        "workspace": functools.partial(check_workspace, places["workspace"]),
        "completion": check_completion,
    }
    if with_ray:
        checks["Ray"] = check_ray
    with ThreadPoolExecutor() as executor:
        yield from (finding for found in executor.map(_collect, checks, checks.values()) for finding in found)


def _collect(subject: str, check: Check) -> list[Finding]:
    return list(findings_of(subject, check))


def _print(findings: Iterable[Finding]) -> int:
    """Print a finding a paragraph, then what to begin with; return the number of errors."""
    counts = dict.fromkeys(MARKS, 0)
    for finding in findings:
        counts[finding.status] += 1
        head = f"{MARKS[finding.status]:8}{finding.subject}: "
        print(textwrap.fill(finding.text, WIDTH, initial_indent=head, subsequent_indent=" " * 10), flush=True)
        if finding.advice:
            advice = textwrap.fill(
                finding.advice,
                WIDTH,
                initial_indent=" " * 8 + "-> ",
                subsequent_indent=" " * 11,
                break_on_hyphens=False,
            )
            print(advice, flush=True)
    if counts["error"]:
        print(f"\nerrors: {counts['error']}, warnings: {counts['warning']}; begin with the first error")
    else:
        print(f"\nerrors: none, warnings: {counts['warning']}; litepose --help says how to go on")
    return counts["error"]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("litepose doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a list of objects: subject, status, text, advice")
    parser.add_argument("--ray", action="store_true", help="start Ray too, and run a task on it")
    shown = ", ".join(f"{key}={value}" for key, value in PLACES.items())
    parser.add_argument("places", nargs="*", metavar="key=value", help=f"where datasets and runs are; {shown}")
    parsed = parser.parse_args(arguments)
    given = dict(place.partition("=")[::2] for place in parsed.places)
    for key, value in given.items():
        if key not in PLACES or not value:
            parser.error(f"{key}={value}: the keys are {', '.join(PLACES)}")
    parsed.places = {**PLACES, **{key: Path(value) for key, value in given.items()}}
    return parsed
