"""Checks of Python, the packages that the project declares, and settings of threads that cost time."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from litepose_ofa.scripts.diagnosis.findings import Finding

PROJECT = "litepose-ofa"
LEAST_PYTHON = (3, 11)
LEAST_SHARED_MEMORY_BYTES = 256 * 2**20
SHARED_MEMORY = Path("/dev/shm")


def check_python() -> Iterator[Finding]:
    """Compare the interpreter with what the project needs."""
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        yield Finding("Python", "error", found, f"make a virtual environment with Python {least} or newer")
    else:
        yield Finding("Python", "ok", found)


def check_packages() -> Iterator[Finding]:
    """Compare installed packages with the ranges that the project declares, those of its extras where installed."""
    try:
        declared = requires(PROJECT) or []
        yield Finding(PROJECT, "ok", version(PROJECT))
    except PackageNotFoundError:
        yield Finding(PROJECT, "error", "is not installed", "in its folder: pip install --editable .")
        return
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Finding("packaging", "error", "is not installed: no versions can be compared", "pip install packaging")
        return
    wrong, packages = 0, dict[tuple[str, str], bool]()  # whether it is of extras alone
    for requirement in map(Requirement, declared):
        optional = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        key = requirement.name, str(requirement.specifier)
        packages[key] = packages.get(key, True) and optional
    for (name, versions), optional in packages.items():
        for finding in _compare(name, versions, optional):
            wrong += 1
            yield finding
    if not wrong:
        yield Finding("packages", "ok", "all are installed, in the versions that the project declares")


def _compare(name: str, versions: str, optional: bool) -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    install = f"pip install '{name}{versions}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        if not optional:
            yield Finding(name, "error", f"is not installed; {versions} is needed", install)
        return
    if not SpecifierSet(versions).contains(found, prereleases=True):
        yield Finding(name, "warning", f"is {found}; {versions} is what the tests pass with", install)


def check_threads(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Report the processor's cores, and OpenMP settings that slow training and search down.

    Args:
        environment: Variables of the process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("processor", "ok", f"{platform.machine()}, {cores} cores for this process")
    for name, advice, harm in _harmful_settings(environment, cores):
        yield Finding(name, "warning", f"is {environment[name]}: {harm}", advice)


def _harmful_settings(environment: Mapping[str, str], cores: int) -> Iterator[tuple[str, str, str]]:
    """Yield variable, advice, and what it does, of each that does harm."""
    spinning = "idle threads keep their core from loading processes and Ray workers"
    lower = {name: value.strip().lower() for name, value in environment.items()}
    if lower.get("OMP_WAIT_POLICY") == "active":
        yield "OMP_WAIT_POLICY", "unset OMP_WAIT_POLICY", spinning
    if lower.get("KMP_BLOCKTIME") in ("infinite", "-1"):
        yield "KMP_BLOCKTIME", "unset KMP_BLOCKTIME", spinning
    if lower.get("GOMP_SPINCOUNT") in ("infinite", "infinity"):
        yield "GOMP_SPINCOUNT", "unset GOMP_SPINCOUNT", spinning
    for name in ("OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"):
        if lower.get(name, "false") not in ("false", "disabled", "none"):
            yield name, f"unset {name}", "all processes of a run are bound to the same cores"
    threads = lower.get("OMP_NUM_THREADS", "1").split(",")[0]
    if threads.isdecimal() and int(threads) > cores:
        yield "OMP_NUM_THREADS", f"export OMP_NUM_THREADS={cores}", f"more threads than the {cores} cores"


def check_shared_memory(folder: Path = SHARED_MEMORY) -> Iterator[Finding]:
    """Report shared memory too small for loading processes and Ray, as containers have it by default."""
    if not folder.is_dir():
        return
    status = os.statvfs(folder)
    size = status.f_blocks * status.f_frsize
    found = f"{size / 2**20:,.0f} MiB of shared memory in {folder}"
    if size < LEAST_SHARED_MEMORY_BYTES:
        advice = "start the container with --shm-size=2g, or train with training.workers=0"
        yield Finding("shared memory", "warning", f"{found}: loading processes may be killed", advice)
    else:
        yield Finding("shared memory", "ok", found)
