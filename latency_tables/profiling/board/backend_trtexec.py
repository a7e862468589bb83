"""How the kit calls TensorRT on a Jetson: through trtexec, which times its own runs.

    python profile_board.py --option trtexec=/usr/src/tensorrt/bin/trtexec --option precision=float16

A run's time is the GPU's compute time. The copies between host and GPU, which trtexec reports apart, belong to the
border of the model: a lone operator would pay them for maps that stay on the GPU inside a network.

The first timing of a model builds its engine and keeps it beside the model; later rounds load it. Every call starts a
process, seconds on a Jetson, so a round gives each model at least what trtexec needs for a steady figure.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import statistics
import subprocess
from typing import Any

from measurement_file import RefusedError
from sensors import Sensors

PRECISIONS = {"float16": ["--fp16"], "float32": ["--noTF32"]}
JETSON_PATH = "/usr/src/tensorrt/bin/trtexec"
WARM_UP_MS, LEAST_SECONDS, LEAST_RUNS = 500, 2.0, 50
AGREEMENT = 0.01  # relative; between the summary's median and that of the runs

_chosen = {"precision": "float16", "trtexec": shutil.which("trtexec") or JETSON_PATH}
_sensors = Sensors()


class Model:
    """One model: its ONNX file and, after the first timing, its engine. Threads do not matter on a GPU."""

    def __init__(self, paths: list[str], input_shapes: list[list[int]], threads: int) -> None:
        self._onnx = paths[0]
        self._engine = f"{paths[0][: -len('.onnx')]}.{_chosen['precision']}.{read_version()}.engine"

    def time_runs(self, warmups: int, runs: int, seconds: float) -> list[float]:
        """Return the milliseconds of every run."""
        command = [f"--warmUp={WARM_UP_MS}", f"--duration={max(seconds, LEAST_SECONDS):g}"]
        command += [f"--iterations={max(runs, LEAST_RUNS)}", "--avgRuns=1", *PRECISIONS[_chosen["precision"]]]
        if os.path.exists(self._engine):
            return parse_report(call(*command, f"--loadEngine={self._engine}"))
        unfinished = self._engine + ".new"
        times = parse_report(call(*command, f"--onnx={self._onnx}", f"--saveEngine={unfinished}"))
        os.replace(unfinished, self._engine)  # a killed build leaves no engine behind
        return times


def parse_report(report: str) -> list[float]:
    """Return the GPU compute time of every run in milliseconds, from what trtexec prints.

    With one run an average, the trace has a line a run; the summary's median must agree with theirs.
    """
    times = [float(ms) for ms in re.findall(r"Average on 1 runs - GPU latency: ([\d.e+-]+) ms", report)]
    summary = re.search(r"GPU Compute Time: .*?median = ([\d.e+-]+) ms", report)
    if not times or summary is None:
        raise RefusedError("trtexec's report has no GPU compute times; this version prints it in another form")
    median = float(summary.group(1))
    if abs(statistics.median(times) - median) > AGREEMENT * median:
        raise RefusedError(f"trtexec's summary has the median {median:g} ms, its runs {statistics.median(times):g} ms")
    return times


def parse_version(report: str) -> str:
    """Return the version in trtexec's first line: v8205 is 8.2.5, v100300 is 10.3.0."""
    found = re.search(r"TensorRT\.trtexec \[TensorRT v(\d+)\]", report)
    if found is None:
        raise RefusedError(f"{_chosen['trtexec']}: does not say which TensorRT it is of")
    number = int(found.group(1))
    base = 100 if number >= 10000 else 10
    return f"{number // 100 // base}.{number // 100 % base}.{number % 100}"


def parse_tegrastats(line: str) -> dict[str, float]:
    """Return clock_mhz and temperature_c of the GPU, those that a line of tegrastats shows."""
    clock = re.search(r"GR3D_FREQ \d+%@\[?(\d+)", line)
    temperature = re.search(r"\bgpu@([\d.]+)C", line, re.IGNORECASE)
    found = {"clock_mhz": clock, "temperature_c": temperature}
    return {name: float(match.group(1)) for name, match in found.items() if match}


def configure(**options: str) -> None:
    """Take ``trtexec``, its path, and ``precision``: float16 or float32."""
    for name, value in options.items():
        if name not in _chosen or (name == "precision" and value not in PRECISIONS):
            raise RefusedError(
                f"option {name}={value}: the options of trtexec are trtexec=PATH, precision={'|'.join(PRECISIONS)}"
            )
    _chosen.update(options)


def describe() -> dict[str, Any]:
    """Say what computes, in which numbers, and how the clocks are set."""
    clocks = [first_lines("nvpmodel", "-q"), first_lines("jetson_clocks", "--show")]  # the second asks for root
    return {
        "runtime": "TensorRT",
        "runtime_version": read_version(),
        "precision": _chosen["precision"],
        "provider": "GPU",
        "figure": "GPU compute time of trtexec",
        **({"clocks": "; ".join(filter(None, clocks))} if any(clocks) else {}),
    }


def read_sensors() -> dict[str, Any]:
    """Return the GPU's clock and temperature, and whether the board slows itself down."""
    sensed: dict[str, Any] = _sensors.read()
    if shutil.which("tegrastats"):
        process = subprocess.Popen(["tegrastats", "--interval", "100"], stdout=subprocess.PIPE, universal_newlines=True)
        assert process.stdout is not None
        sensed.update(parse_tegrastats(process.stdout.readline()))
        process.terminate()
        process.communicate()
    return sensed


load = Model


@functools.lru_cache(maxsize=None)
def read_version() -> str:
    """Ask trtexec for the version of its TensorRT."""
    return parse_version(call("--help"))


def call(*arguments: str) -> str:
    """Run trtexec and return what it printed, or raise the first error that it named."""
    try:
        command = [_chosen["trtexec"], *arguments]
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except OSError as error:
        raise RefusedError(f"{_chosen['trtexec']}: {error.strerror}; name it by --option trtexec=PATH") from None
    if answer.returncode != 0 or "&&&& FAILED" in answer.stdout:
        found = re.search(r"\[E\] (.*)", answer.stdout)
        reason = found.group(1).strip() if found else f"exit status {answer.returncode}"
        raise RefusedError(f"trtexec {' '.join(arguments)}: {reason}")
    return answer.stdout


def first_lines(*command: str) -> str:
    """Return what a tool prints, in one line; nothing where there is no such tool or it refuses."""
    if shutil.which(command[0]) is None:
        return ""
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return ", ".join(answer.stdout.decode(errors="replace").split("\n")[:4]).strip(", ")
