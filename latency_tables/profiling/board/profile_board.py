"""Times every model of this kit and writes measurements.csv; started again, it goes on where it stopped.

    python profile_board.py --threads 1

It needs Python 3.8 or newer, numpy and the runtime, on Linux or macOS. Fix the clocks first if you can (governor
"performance"; nvpmodel and jetson_clocks on a Jetson) and let nothing else run.

All models are timed once a round, in an order of chance, so that a slow minute of the machine meets each of them in
another round than the rest. One model, the probe, is timed again and again between them: where it runs slow, the
models beside it are timed once more at the end of the round. Every line is in the file before the next model starts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
from measurement_file import Line, MeasurementFile, RefusedError
from sensors import Sensors

FIRST_WARMUPS, LATER_WARMUPS = 10, 3
LEAST_RUNS = 3  # in a round
PROBE_EVERY = 20  # models
SLOW_PROBE = 1.15  # times the best probe
LARGEST_REPEAT = 0.25  # of a round's models
COOL_DOWN_S = 300  # longest wait in a round for a throttled machine


class Profiler:
    """Times the models of a kit, round after round, and leaves out what the file has.

    ``runs`` and ``seconds`` end a model's share of a round, whichever comes first, but not before ``LEAST_RUNS``.
    """

    def __init__(
        self, folder: Path, backend: Any, file: MeasurementFile, *, threads: int, rounds: int, runs: int, seconds: float
    ) -> None:
        kit = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
        self.models = {model["id"]: model for model in kit["models"]}
        self.clock, self.sleep = time.perf_counter, time.sleep
        self._folder, self._backend, self._file, self._threads = folder, backend, file, threads
        self._kit, self._probe, self._rounds = kit["kit"], kit["probe"], rounds
        self._runs, self._seconds = math.ceil(runs / rounds), seconds / rounds
        self._read_sensors = getattr(backend, "read_sensors", Sensors().read)
        self._throttled = False
        self._patience_s = 0.0
        done = sum(line.purpose == "round" for line in file.lines)
        self._progress = Progress(rounds * len(self.models) - done)

    def run(self) -> None:
        """Measure all rounds."""
        for number in range(1, self._rounds + 1):
            self._patience_s = COOL_DOWN_S
            order = sorted(self.models)
            random.Random(f"{self._kit}/{number}").shuffle(order)
            self._measure_all(number, "round", order)
            again = disturbed(self._file.lines, number)[: int(LARGEST_REPEAT * len(order))]
            self._measure_all(number, "again", again)
            self._progress.end_round(f"round {number} of {self._rounds}: {len(order)} models, {len(again)} once more")

    def _measure_all(self, number: int, purpose: str, order: list[str]) -> None:
        done = {line.model for line in self._file.lines if (line.round, line.purpose) == (number, purpose)}
        left = [model for model in order if model not in done]
        for place, model in enumerate(left):
            if place % PROBE_EVERY == 0:
                self._measure(number, "probe", self._probe)
            self._measure(number, purpose, model)
            if purpose == "round":
                self._progress.step(number)
        if left:
            self._measure(number, "probe", self._probe)

    def _measure(self, number: int, purpose: str, name: str) -> None:
        while self._throttled and self._patience_s > 0:
            self.sleep(2)
            self._patience_s -= 2
            self._throttled = self._read_sensors()["throttled"]
        entry = self.models[name]
        paths = [str(self._folder / file) for file in entry["files"]]
        model = self._backend.load(paths, entry["input_shapes"], self._threads)
        warmups = FIRST_WARMUPS if number == 1 else LATER_WARMUPS
        start_s = time.time()
        if hasattr(model, "time_runs"):
            times = model.time_runs(warmups, self._runs, self._seconds)
        else:
            times = time_runs(model.run, self.clock, warmups, self._runs, self._seconds)
        sensed = self._read_sensors()
        self._throttled = sensed["throttled"]
        figures = (np.median(times), np.percentile(times, 10), np.mean(times), np.std(times))
        row: list[object] = [number, name, purpose, len(times), *(f"{figure:.6g}" for figure in figures)]
        row += [f"{start_s:.3f}", sensed["clock_mhz"], sensed["temperature_c"], int(self._throttled)]
        self._file.append(row)


def time_runs(
    run: Callable[[], None], clock: Callable[[], float], warmups: int, runs: int, seconds: float
) -> list[float]:
    """Return the milliseconds of every run after the warm-up."""
    for _ in range(warmups):
        run()
    times: list[float] = []
    while len(times) < LEAST_RUNS or (len(times) < runs and sum(times) < 1e3 * seconds):
        start = clock()
        run()
        times.append(1e3 * (clock() - start))
    return times


def disturbed(lines: list[Line], number: int) -> list[str]:
    """Return the models of a round beside which the probe was slow, the worst first."""
    ends = [place for place, line in enumerate(lines) if line.round > number or line[::2] == (number, "again")]
    lines = lines[: ends[0]] if ends else lines
    probes = [(place, line.median_ms) for place, line in enumerate(lines) if line.purpose == "probe"]
    best = min((ms for _, ms in probes), default=math.inf)
    slow = {}
    for place, line in enumerate(lines):
        if line.round == number and line.purpose == "round":
            before = [ms for probe, ms in probes if probe < place][-1:]
            after = [ms for probe, ms in probes if probe > place][:1]
            slow[line.model] = max(before + after, default=best)
    return sorted((model for model in slow if slow[model] > SLOW_PROBE * best), key=lambda model: -slow[model])


class Progress:
    """A line with the time left on a terminal; elsewhere one line a round."""

    def __init__(self, timings: int) -> None:
        self._left, self._done, self._start = timings, 0, time.monotonic()

    def step(self, number: int) -> None:
        """Note a model."""
        self._left, self._done = self._left - 1, self._done + 1
        if sys.stdout.isatty():
            minutes = (time.monotonic() - self._start) / self._done * self._left / 60
            print(f"\rround {number}, {self._left} timings and {minutes:.1f} minutes left \033[K", end="", flush=True)

    def end_round(self, message: str) -> None:
        """Print what the round did."""
        print(f"\r{message} \033[K" if sys.stdout.isatty() else message, flush=True)


def measure(folder: Path, arguments: argparse.Namespace) -> None:
    """Measure, or go on measuring, as the command line says."""
    settings = {name: getattr(arguments, name) for name in ("threads", "rounds", "runs", "seconds")}
    if min(settings.values()) <= 0:
        raise RefusedError("threads, rounds, runs and seconds must be above 0")
    kit = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    options = dict(option.partition("=")[::2] for option in arguments.option)
    backend = importlib.import_module(kit["backend"])
    if options and not hasattr(backend, "configure"):
        raise RefusedError(f"{kit['runtime']} takes no --option")
    if options:
        backend.configure(**options)
    facts = {
        "kit": kit["kit"],
        "threads": arguments.threads,
        "options": options,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **Sensors().describe(),
        **backend.describe(),
    }
    file = MeasurementFile(arguments.output, facts)
    Profiler(folder, backend, file, **settings).run()


def main() -> None:
    """Read the command line, and end what the user can mend in one line."""
    folder = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all models (default 5)")
    parser.add_argument("--runs", type=int, default=200, help="enough runs of a model, in all rounds (default 200)")
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="or enough seconds of it, whichever is less (default 0.3)"
    )
    parser.add_argument("--output", type=Path, default=folder / "measurements.csv")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="for the runtime's backend")
    arguments = parser.parse_args()
    try:
        measure(folder, arguments)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except (RefusedError, OSError, ImportError) as error:
        remedy = f"; install the runtime for this Python: {sys.executable}" if isinstance(error, ImportError) else ""
        print(f"error: {error}{remedy}", file=sys.stderr)
        sys.exit(2)
    print(f"{arguments.output} is complete; hand it to litepose build-table with the folder of this kit")


if __name__ == "__main__":
    main()
