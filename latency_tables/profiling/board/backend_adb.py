"""How the kit calls LiteRT on an Android phone: from a computer, through adb and the phone's benchmark_model.

    adb push benchmark_model /data/local/tmp && adb shell chmod +x /data/local/tmp/benchmark_model
    python profile_board.py --threads 4 --option cores=f0

``--option gpu=yes`` takes the GPU delegate, in half precision; ``cores`` is taskset's mask, f0 by default, the four big
cores of most phones. benchmark_model prints statistics of its runs: all runs of a line of measurements.csv have one
figure, their median where this version prints it, else their mean. As every call starts a process on the phone, every
round gives a model all of ``WARM_UPS`` and ``RUNS``. The models stay in /data/local/tmp/litepose_<kit>.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from measurement_file import RefusedError

FOLDER = Path(__file__).resolve().parent
WARM_UPS, RUNS, LONGEST_S = 10, 50, 10
LEAST_US = 0.5  # a run of 0 us, as benchmark_model counts in whole ones

_chosen = {"adb": "adb", "serial": "", "benchmark": "/data/local/tmp/benchmark_model", "cores": "f0", "gpu": "no"}


class Model:
    """One model's file on the phone."""

    def __init__(self, paths: list[str], input_shapes: list[list[int]], threads: int) -> None:
        self._path, self._threads = f"{phone_folder()}/models/{Path(paths[0]).name}", threads

    def time_runs(self, warmups: int, runs: int, seconds: float) -> list[float]:
        """Return the milliseconds of every run."""
        return parse_report(benchmark(self._path, self._threads, max(runs, RUNS)))


def benchmark(path: str, threads: int, runs: int) -> str:
    """Run a model of the phone, and return what benchmark_model printed."""
    gpu = _chosen["gpu"] == "yes"
    delegate = "--use_gpu=true" if gpu else "--use_xnnpack=true"
    command = f"taskset {_chosen['cores']} {_chosen['benchmark']} --graph={path} --num_threads={threads} {delegate}"
    command += f" --warmup_runs={WARM_UPS} --num_runs={runs} --max_secs={LONGEST_S} 2>&1"
    report = adb("shell", command)
    if gpu and not re.search("pplied GPU delegate, and the model graph will be completely", report):
        raise RefusedError(f"{path}: benchmark_model did not put the whole model on the GPU")
    return report


def parse_report(report: str) -> list[float]:
    """Return one figure for every run, in milliseconds, from what benchmark_model prints.

    It prints a line of statistics, in microseconds, for the warm-up and then one for the timed runs.
    """
    lines = re.findall(r"count=\d.*", report)
    if "Inference (avg)" not in report or not lines:
        errors = re.findall(r".*(?:ERROR|error|ailed|not found).*", report)
        raise RefusedError(
            f"benchmark_model gives no timings: {errors[0].strip() if errors else 'its report has another form'}"
        )
    statistics = dict(re.findall(r"(\w+)=([\d.e+]+)", lines[-1]))
    figure = next(name for name in ("median", "avg", "curr") if name in statistics)  # only curr where all are equal
    return [max(float(statistics[figure]), LEAST_US) / 1e3] * int(statistics["count"])


def parse_thermals(report: str) -> dict[str, Any]:
    """Return the hottest of processor and GPU and whether they are throttled, from ``dumpsys thermalservice``."""
    status = re.search(r"Thermal Status: (\d+)", report)
    current = report.partition("Current temperatures from HAL")[2]
    chips = re.findall(r"Temperature\{mValue=([\d.]+), mType=[01],", current)  # 0 is a processor, 1 a GPU
    return {
        "temperature_c": max(map(float, chips), default=None),
        "throttled": status is not None and int(status.group(1)) > 0,
    }


def configure(**options: str) -> None:
    """Take ``adb`` (path), ``serial``, ``benchmark`` (path on the phone), ``cores`` (mask), ``gpu`` (yes or no)."""
    for name, value in options.items():
        if name not in _chosen or (name == "gpu" and value not in ("yes", "no")):
            raise RefusedError(f"option {name}={value}: the options of adb are {', '.join(_chosen)}; gpu is yes or no")
    _chosen.update(options)


def describe() -> dict[str, Any]:
    """Bring the models to the phone, try the smallest, and say what computes, in which numbers."""
    require_phone()
    adb("shell", f"mkdir -p {phone_folder()}")
    adb("push", "--sync", str(FOLDER / "models"), phone_folder())
    found = re.match(r"[0-9a-f]{12}", adb("shell", f"sha256sum {_chosen['benchmark']} || true"))
    if found is None:
        raise RefusedError(
            f"{_chosen['benchmark']} is not on the phone; push benchmark_model, or name it by --option benchmark="
        )
    trial = benchmark(f"{phone_folder()}/models/null.tflite", 1, RUNS)
    parse_report(trial)
    properties = dict(re.findall(r"\[([\w.]+)\]: \[(.*)\]", adb("shell", "getprop")))
    names = [properties.get(f"ro.product.{name}", "") for name in ("manufacturer", "model")]
    governors = sorted(set(adb("shell", "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor || true").split()))
    gpu = _chosen["gpu"] == "yes"
    return {
        "machine": " ".join(filter(None, names)) or "Android phone",
        "processor": properties.get("ro.soc.model") or properties.get("ro.board.platform") or "not shown",
        "system": f"Android {properties.get('ro.build.version.release', 'of a version not shown')}",
        "cores": int(adb("shell", "nproc")),
        "clocks": f"governor {', '.join(governors)}" if governors else "not shown",
        "runtime": "LiteRT benchmark_model",
        "runtime_version": f"SHA-256 {found.group()}",
        "precision": "float16" if gpu else "float32",
        "provider": "GPU delegate" if gpu else "XNNPACK",
        "figure": f"{'median' if 'median=' in trial else 'mean'} of a round's runs",
    }


def read_sensors() -> dict[str, Any]:
    """Return the phone's clock, temperature, and whether it slows itself down."""
    clocks = adb("shell", "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq 2>/dev/null || true").split()
    thermals = parse_thermals(adb("shell", "dumpsys thermalservice || true"))
    return {"clock_mhz": max((int(clock) / 1e3 for clock in clocks), default=None), **thermals}


load = Model


def require_phone() -> None:
    """Refuse to go on unless adb has one phone that lets it in."""
    states = dict(re.findall(r"^(\S+)\t(.+)$", adb("devices"), re.MULTILINE))
    serial = _chosen["serial"] or next(iter(states), "")
    if not states:
        raise RefusedError("adb sees no phone; connect one and switch on its USB debugging")
    if len(states) > 1 and not _chosen["serial"]:
        raise RefusedError(f"adb sees {', '.join(states)}; name one by --option serial=")
    if serial not in states:
        raise RefusedError(f"adb sees no phone {serial}; there is {', '.join(states)}")
    state = states[serial].strip()
    if state != "device":
        reason = "; unlock it and allow this computer to debug it" if state == "unauthorized" else ""
        raise RefusedError(f"the phone {serial} is {state}{reason}")


def phone_folder() -> str:
    """Return the folder on the phone, one a kit."""
    kit = json.loads((FOLDER / "kit.json").read_text(encoding="utf-8"))["kit"]
    return f"/data/local/tmp/litepose_{kit}"


def adb(action: str, *arguments: str) -> str:
    """Run adb and return what it printed, or raise the first line that it printed in error."""
    phone = ["-s", _chosen["serial"]] if _chosen["serial"] and action != "devices" else []
    command = [_chosen["adb"], *phone, action, *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        remedy = "install Android's platform-tools, or name it by --option adb=PATH"
        raise RefusedError(f"{_chosen['adb']}: {error.strerror}; {remedy}") from None
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).strip().splitlines() or [f"exit status {answer.returncode}"]
        raise RefusedError(f"adb {action} {' '.join(arguments)}: {said[0]}")
    return answer.stdout
