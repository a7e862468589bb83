"""Check the installation: of everything whether it works, and what to do if not. Runs where much is broken."""

import argparse
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

PROJECT = "litepose-ofa"
LEAST_PYTHON = (3, 11)
MARKS = {"ok": "ok", "absent": "--", "warning": "warning", "error": "ERROR"}
TIMEOUT_SECONDS = 120

TORCH = """
import torch
layer = torch.nn.Conv2d(3, 8, 3)
layer(torch.ones(1, 3, 8, 8)).sum().backward()
names = []
for index in range(torch.cuda.device_count()):
    layer.to(index)(torch.ones(1, 3, 8, 8, device=index)).sum().item()
    names.append(torch.cuda.get_device_name(index))
build = "no CUDA in this build" if torch.version.cuda is None else f"built for CUDA {torch.version.cuda}"
print(torch.__version__, build, *names, sep=", ")
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """The state that something is in, and what to do about it; ``absent`` is what not everybody needs."""

    subject: str
    status: Literal["ok", "absent", "warning", "error"]
    text: str
    advice: str = ""


Findings = Iterator[Finding]


def main() -> None:
    """Print the findings; exit with status 1 if one is an error, 2 for arguments that are not understood."""
    parser = argparse.ArgumentParser("litepose doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a list of objects: subject, status, text, advice")
    parser.add_argument("data_root", nargs="?", default="data_root=data", metavar="data_root=FOLDER")
    arguments = parser.parse_args()
    key, _, data_root = arguments.data_root.partition("=")
    if key != "data_root" or not data_root:
        parser.error(f"{key} is not an argument; it takes data_root=FOLDER")
    findings = list(examine(Path(data_root)))
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    sys.exit(any(finding.status == "error" for finding in findings))


def examine(data_root: Path) -> Findings:
    """Yield the findings of all checks; one that fails is a finding too."""
    checks: dict[str, Callable[[], Findings]] = {
        "Python": check_python,
        "packages": check_packages,
        "torch": partial(check_runtime, "torch", ["torch"], code=TORCH),
        "threads": check_threads,
        "C compiler": check_compiler,
        "ONNX Runtime": partial(check_runtime, "ONNX Runtime", ["onnxruntime"]),
        "LiteRT": partial(check_runtime, "LiteRT", ["ai-edge-litert"], extra="litert"),
        "ncnn": partial(check_runtime, "ncnn", ["ncnn", "pnnx"], extra="ncnn"),
        "Ray": partial(check_runtime, "Ray", ["ray"]),
        "latency tables": check_tables,
        "datasets": partial(check_datasets, data_root),
    }
    for subject, check in checks.items():
        try:
            yield from check()
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            yield Finding(subject, "error", text, f"install {PROJECT} again, with the packages that it needs")


def check_python() -> Findings:
    """Compare the interpreter with the one that is needed."""
    advice = "" if sys.version_info >= LEAST_PYTHON else f"Python {'.'.join(map(str, LEAST_PYTHON))} or newer is needed"
    yield Finding("Python", "error" if advice else "ok", f"{platform.python_version()}, {sys.executable}", advice)


def check_packages() -> Findings:
    """Compare installed packages with the ranges that the project declares, those of its extras where installed."""
    try:
        declared = requires(PROJECT) or []
        yield Finding(PROJECT, "ok", version(PROJECT))
    except PackageNotFoundError:
        yield Finding(PROJECT, "error", "not installed", "in its folder: pip install --editable .")
        return
    from packaging.requirements import Requirement

    wrong: dict[str, Finding] = {}
    for needed in map(Requirement, declared):
        install = f"pip install '{needed.name}{needed.specifier}'"
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                wrong[install] = Finding(needed.name, "error", f"not installed; {needed.specifier} is needed", install)
            continue
        if not needed.specifier.contains(found, prereleases=True):
            text = f"{found}; {needed.specifier} is what the tests pass with"
            wrong[install] = Finding(needed.name, "warning", text, install)
    yield from wrong.values()
    if not wrong:
        yield Finding("packages", "ok", "all are installed, in the versions that the project declares")


def check_runtime(subject: str, packages: list[str], *, code: str = "", extra: str | None = None) -> Findings:
    """Import packages, or run code, in a process of its own, which a broken library may take down."""
    names = [name.replace("-", "_") for name in packages]
    if extra is not None and not all(map(find_spec, names)):
        yield Finding(subject, "absent", f"for its exports and kits alone: pip install 'litepose-ofa[{extra}]'")
        return
    command = [sys.executable, "-P", "-c", code or f"import {', '.join(names)}; print({names[0]}.__version__)"]
    advice = f"pip install --force-reinstall {' '.join(packages)}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        yield Finding(subject, "error", f"does not end within {TIMEOUT_SECONDS} s", advice)
        return
    lines = (done.stderr if done.returncode else done.stdout).split("\n")
    said = next(filter(None, map(str.strip, reversed(lines))), f"died with status {done.returncode}")
    if done.returncode:
        yield Finding(subject, "error", said, advice)
    elif subject == "torch" and shutil.which("nvidia-smi") and said.count(",") < 2:
        advice = "install torch for your CUDA from https://pytorch.org; accelerator=cpu does without"
        yield Finding(subject, "warning", f"{said}: the GPU of this machine is not used", advice)
    else:
        yield Finding(subject, "ok", said)


def check_threads() -> Findings:
    """Say how many threads ``threads=auto`` is here."""
    from litepose_ofa.scripts.settings.threads import automatic_threads
    from litepose_ofa.supernet.errors import InputError

    try:
        count, source = automatic_threads()
        yield Finding("threads", "ok", f"{count}, by {source}; threads= takes another number")
    except InputError as error:
        yield Finding("threads", "error", str(error), "unset OMP_NUM_THREADS, or give threads= a number")


def check_compiler() -> Findings:
    """Say whether trainings on the CPU have compiled functions."""
    from litepose_ofa.supernet.network.cpu_kernels import functions

    if functions() is None:
        advice = "install gcc, or name a compiler in CC"
        yield Finding("C compiler", "absent", "trainings on the CPU take nearly twice as long", advice)
    else:
        yield Finding("C compiler", "ok", "trainings on the CPU use compiled functions")


def check_tables() -> Findings:
    """Load every shipped latency table and decoding cost, with its checksum."""
    from litepose_ofa.latency_tables import LatencyTable
    from litepose_ofa.latency_tables.decoding.cost import DecodingCost, shipped_decoding_costs
    from litepose_ofa.latency_tables.table import shipped_tables

    restore = f"install {PROJECT} again; in its source tree, git checkout latency_tables"
    loads: list[partial[Any]] = [partial(LatencyTable.load, name) for name in shipped_tables()]
    loads += [partial(DecodingCost.load, name) for name in shipped_decoding_costs()]
    broken = []
    for load in loads:
        try:
            load()
        except (ValueError, OSError) as error:
            broken.append(Finding(f"table {load.args[0]}", "error", str(error), restore))
    yield from broken or [Finding("latency tables", "ok", f"{', '.join(shipped_tables())}: complete, checksums right")]


def check_datasets(data_root: Path) -> Findings:
    """Find the images that each dataset with a config names."""
    import yaml

    import litepose_ofa

    for path in sorted((Path(litepose_ofa.__file__).parent / "conf" / "dataset").glob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        root = Path(str(config["root"]).replace("${data_root}", str(data_root)))
        subject, splits = f"dataset {path.stem}", [config[name] for name in ("train", "search", "val")]
        if not root.is_dir():
            yield Finding(subject, "absent", f"not in {root}; docs/datasets.md says where it is from")
            continue
        lacks = [lack for split in splits if "annotations" in split for lack in _lacks(root, **split)]
        advice = f"litepose check-dataset dataset={path.stem} reads every image"
        yield Finding(subject, "warning" if lacks else "ok", "; ".join([str(root), *lacks]), advice)


def _lacks(root: Path, annotations: str, images: str) -> Iterator[str]:
    """Yield what a split lacks: its annotations, or some of the images that they name."""
    path, folder = root / annotations, root / images
    try:
        names = [image["file_name"] for image in json.loads(path.read_text(encoding="utf-8"))["images"]]
    except OSError:
        yield f"no {path}"
    except (ValueError, KeyError, TypeError):
        yield f"{path} is not an annotation file"
    else:
        absent = sum(not (folder / name).is_file() for name in names)
        if absent:
            yield f"{absent:,} of {len(names):,} images are not in {folder}"


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        advice = f"\n        -> {finding.advice}" if finding.advice else ""
        print(f"{MARKS[finding.status]:8}{finding.subject}: {finding.text}{advice}")
    errors = sum(finding.status == "error" for finding in findings)
    print(f"\nerrors: {errors or 'none'}; {'begin with the first' if errors else 'litepose --help says how to go on'}")
