"""Checks of what computes: torch, GPUs, the runtimes of exports and kits, Ray; each tried in a process of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from litepose_ofa.scripts.diagnosis.findings import Finding

SOURCE = Path(__file__).parents[3]
"""Where this project's packages are imported from."""

TIMEOUT_SECONDS = 120
CUDA_BUILD = "install torch for your CUDA from https://pytorch.org, if networks are to be trained on the GPU"


def check_torch() -> Iterator[Finding]:
    """Run torch; say what a GPU of the machine lacks to be used."""
    status, said = _probe("torch")
    if status:
        yield Finding("torch", "error", said, "pip install --force-reinstall torch, of the version in constraints.txt")
        return
    yield Finding("torch", "ok", said)
    if shutil.which("nvidia-smi") is None:
        yield Finding("GPU", "absent", "no NVIDIA driver: everything runs on the CPU")
    elif "no CUDA" in said:
        yield Finding("GPU", "warning", "torch is a CPU build, but the system has an NVIDIA driver", CUDA_BUILD)
    else:
        status, said = _probe("cuda")
        advice = "compare the CUDA version that nvidia-smi shows with torch's; accelerator=cpu does without"
        if status:
            yield Finding("GPU", "error", said, advice)
        elif not said:
            yield Finding("GPU", "warning", "torch sees none", advice)
        else:
            yield Finding("GPU", "ok", said)


def check_onnxruntime() -> Iterator[Finding]:
    """Export for ONNX Runtime and run."""
    yield from _check_runtime("ONNX Runtime", "onnxruntime", ("onnxruntime",), None)


def check_litert() -> Iterator[Finding]:
    """Export for LiteRT and run, where it is installed."""
    yield from _check_runtime("LiteRT", "litert", ("ai-edge-litert",), "litert")


def check_ncnn() -> Iterator[Finding]:
    """Export for ncnn through pnnx and run, where they are installed."""
    yield from _check_runtime("ncnn", "ncnn", ("ncnn", "pnnx"), "ncnn")


def check_programs() -> Iterator[Finding]:
    """Start the programs that profiling kits call on boards, where they are."""
    for name, arguments, purpose in (
        ("trtexec", ("--help",), "needed on a board with TensorRT, for its kit"),
        ("adb", ("version",), "needed for the kit of an Android phone"),
    ):
        path = shutil.which(name)
        if path is None:
            yield Finding(name, "absent", f"is not here; {purpose}")
        elif status_and_words((path, *arguments))[0]:
            yield Finding(name, "warning", f"{path} does not start", f"start it by hand: {path} {' '.join(arguments)}")
        else:
            yield Finding(name, "ok", path)


def check_ray() -> Iterator[Finding]:
    """Start Ray with one worker and stop it."""
    status, said = _probe("ray")
    advice = "free memory and processes (ray stop --force ends left ones), and see docs/cluster.md"
    yield Finding("Ray", "error", said, advice) if status else Finding("Ray", "ok", said)


def check_completion() -> Iterator[Finding]:
    """Ask the shells' completion a question, as a shell would."""
    question = {"COMP_LINE": "litepose search backend=s"}
    status, said = status_and_words(_python("litepose_ofa.scripts.command.main", "-sc", "query=bash"), question)
    if status or said != "backend=serial":
        advice = "pip install --force-reinstall --no-deps hydra-core"
        yield Finding("completion", "warning", said or "does not answer", advice)
    else:
        yield Finding("completion", "ok", "answers; shells use it after: litepose completion bash, or zsh, or fish")


def status_and_words(command: Sequence[str], variables: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command; return its exit status, and the last line that it printed, on standard error where it failed.

    Args:
        command: The program and its arguments.
        variables: Added to the environment.
    """
    search_path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search_path, **(variables or {})}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, f"does not end within {TIMEOUT_SECONDS} s"
    except OSError as error:
        return 1, f"does not start: {error.strerror}"
    lines = (done.stderr if done.returncode else done.stdout).split("\n")
    words = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return done.returncode, words or (f"died with status {done.returncode}" if done.returncode else "")


def _check_runtime(subject: str, probe: str, packages: Sequence[str], extra: str | None) -> Iterator[Finding]:
    missing = [name for name in packages if not _is_installed(name)]
    if missing and extra is not None:
        needed = f"needed for its exports and kits alone: pip install 'litepose-ofa[{extra}]'"
        yield Finding(subject, "absent", f"{' and '.join(missing)} not installed; {needed}")
        return
    status, said = _probe(probe)
    advice = f"pip install --force-reinstall --no-deps {' '.join(packages)}"
    yield Finding(subject, "error", said, advice) if status else Finding(subject, "ok", said)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _probe(name: str) -> tuple[int, str]:
    return status_and_words(_python("litepose_ofa.scripts.diagnosis.probes", name))


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module of this project, whatever the current folder holds."""
    return (sys.executable, "-P", "-m", module, *arguments)
