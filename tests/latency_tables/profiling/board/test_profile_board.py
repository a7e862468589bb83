"""The board's script: rounds, repetition, resuming, on a machine whose time is invented and in a process that dies."""

import ast
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables.profiling.kit import BOARD_DIR, BOARD_FILES, MANIFEST_FILE, MEASUREMENTS_FILE

Profile = Callable[..., list[dict[str, str]]]
NewMachine = Callable[..., Any]
MODELS = [f"m{i}" for i in range(45)]


def timings(lines: list[dict[str, str]], purpose: str = "round") -> Counter[tuple[str, str]]:
    return Counter((line["round"], line["model"]) for line in lines if line["purpose"] == purpose)


def test_every_model_is_timed_once_a_round_in_another_order(profile: Profile, new_machine: NewMachine) -> None:
    machine = new_machine(duration_ms=lambda model: 1.0 + int(model[1:]))
    lines = profile(machine)
    assert timings(lines) == Counter((str(number), model) for number in (1, 2, 3) for model in MODELS)
    orders = [
        [line["model"] for line in lines if line["round"] == str(n) and line["purpose"] == "round"] for n in (1, 2)
    ]
    assert orders[0] != orders[1] != sorted(MODELS)
    assert all(float(line["median_ms"]) == pytest.approx(1 + int(line["model"][1:])) for line in lines)
    assert {(line["clock_mhz"], line["temperature_c"], line["throttled"]) for line in lines} == {("1500.0", "", "0")}
    # 30 runs in all are 10 a round; 10 warm-ups in the first, 3 in the others
    assert {line["runs"] for line in lines} == {"10"}
    assert machine.runs["m7"] == 3 * 10 + 10 + 3 + 3


def test_the_probe_is_timed_at_both_ends_of_every_twenty_models(profile: Profile, new_machine: NewMachine) -> None:
    lines = profile(new_machine(), rounds=1)
    places = [place for place, line in enumerate(lines) if line["purpose"] == "probe"]
    assert places == [0, 21, 42, 48]
    assert {lines[place]["model"] for place in places} == {"m0"}


@pytest.mark.parametrize(("seconds", "expected"), [(10.0, 7), (0.0045, 5), (0.0, 3)])
def test_a_model_runs_until_its_runs_or_its_seconds(board: ModuleType, seconds: float, expected: int) -> None:
    now = iter(np.arange(1000) * 0.0005)  # a call of the clock every half millisecond, a run 0.5 ms

    def run() -> None:
        next(now)  # 1 ms from the clock before the run to the clock after it

    times = board.time_runs(run, lambda: next(now), 0, 7, seconds)
    assert len(times) == expected
    assert times == pytest.approx([1.0] * expected)


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_run_goes_on_without_losing_or_repeating(
    seed: int, profile: Profile, new_machine: NewMachine, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "measurements.csv"
    for _ in range(5):
        with pytest.raises(RuntimeError, match="killed"):
            profile(new_machine(stop_at=rng.randint(1, 30)))
        if rng.random() < 0.5:  # the last line was not written to its end
            path.write_bytes(path.read_bytes()[: -rng.randint(1, 20)])
    assert timings(profile(new_machine())) == Counter((str(n), model) for n in (1, 2, 3) for model in MODELS)
    complete = path.read_bytes()
    machine = new_machine()
    profile(machine)
    assert machine.loads == []
    assert path.read_bytes() == complete


def test_lines_beside_a_slow_probe_are_timed_once_more(profile: Profile, new_machine: NewMachine) -> None:
    """Of the forty models beside the slow second probe, a quarter of the round's 45 may be repeated."""
    machine = new_machine()
    machine.duration_ms = lambda model: 3.0 if 22 <= len(machine.loads) <= 25 else 2.0
    lines = profile(machine, rounds=1)
    first = [line["model"] for line in lines if line["purpose"] == "round"]
    again = [line for line in lines if line["purpose"] == "again"]
    assert len(again) == 11
    assert {line["model"] for line in again} <= set(first[:40])
    assert {line["median_ms"] for line in again} == {"2"}


def test_suspect_lines_are_those_next_to_a_slow_probe(board: ModuleType) -> None:
    rng = random.Random(3)
    for _ in range(50):
        lines = [board.Line(1, "p", "probe", 1.0)]
        for place in range(30):
            lines.append(board.Line(1, f"m{place}", "round", 1.0))
            if rng.random() < 0.3:
                lines.append(board.Line(1, "p", "probe", rng.choice([1.0, 1.1, 1.2, 2.0])))
        expected = {}
        for place, line in enumerate(lines):
            if line.purpose == "round":
                before = next(x for x in reversed(lines[:place]) if x.purpose == "probe")
                after = next((x for x in lines[place:] if x.purpose == "probe"), before)
                expected[line.model] = max(before.median_ms, after.median_ms)
        found = board.disturbed(lines, 1)
        assert set(found) == {model for model, ms in expected.items() if ms > 1.15}
        assert [expected[model] for model in found] == sorted((expected[model] for model in found), reverse=True)
        later = [board.Line(1, found[0] if found else "m0", "again", 1.0), board.Line(2, "p", "probe", 0.1)]
        assert board.disturbed(lines + later, 1) == found


def test_a_throttled_machine_is_given_time_to_cool_but_not_for_ever(
    board: ModuleType, profile: Profile, new_machine: NewMachine, tmp_path: Path
) -> None:
    machine = new_machine(hot=[False, True, True, True, False])
    lines = profile(machine, rounds=1)
    assert [line["throttled"] for line in lines] == ["0", "1"] + ["0"] * (len(lines) - 2)
    assert machine.slept_s == 6
    (tmp_path / "measurements.csv").unlink()
    machine = new_machine(hot=[True])
    assert {line["throttled"] for line in profile(machine, rounds=2)} == {"1"}
    assert machine.slept_s == 2 * board.COOL_DOWN_S


@pytest.mark.parametrize(
    ("name", "value"), [("kit", "ffffffffffff"), ("threads", 4), ("runtime_version", "2"), ("machine", "other")]
)
def test_measurements_of_other_circumstances_are_not_added_to(
    name: str, value: object, board: ModuleType, tmp_path: Path
) -> None:
    facts = {"kit": "0", "threads": 1, "runtime_version": "1", "machine": "board"}
    path = tmp_path / "measurements.csv"
    board.MeasurementFile(path, facts).close()
    before = path.read_bytes()
    with pytest.raises(board.RefusedError, match=f"has {name} {facts[name]!r}, this run {value!r}"):
        board.MeasurementFile(path, {**facts, name: value})
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "precious", "precious\nnotes\nof mine", "# {}\nround\nno line of ours\n"])
def test_a_file_of_something_else_is_left_as_it_is(content: str, board: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    path.write_text(content)
    with pytest.raises(board.RefusedError, match=r"\.csv: is damaged or no file of measurements; move it away first$"):
        board.MeasurementFile(path, {"kit": "0"})
    assert path.read_text() == content


def test_two_processes_do_not_write_to_one_file(board: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    file = board.MeasurementFile(path, {"kit": "0"})
    code = f"import profile_board, pathlib; profile_board.MeasurementFile(pathlib.Path({str(path)!r}), {{'kit': '0'}})"
    second = subprocess.run([sys.executable, "-c", code], cwd=BOARD_DIR, capture_output=True, text=True, check=False)
    file.close()
    assert second.stderr.endswith(f"RefusedError: {path}: another process is writing to it\n")


BACKEND = """
import itertools, os, signal, types

calls, last = itertools.count(1), int(os.environ.get("KILL_AT", 0))

def describe():
    return {"runtime": "fake", "runtime_version": "1", "precision": "float32", "provider": "none"}

def load(paths, input_shapes, threads):
    if next(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return types.SimpleNamespace(run=lambda: None)
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Start a kit of no real models, whose backend kills its process at a load if told so."""
    for name in BOARD_FILES:
        shutil.copy(BOARD_DIR / name, tmp_path)
    models = [{"id": model, "files": [], "input_shapes": []} for model in MODELS]
    manifest = {"kit": "0", "runtime": "fake", "backend": "backend_fake", "probe": "m0", "models": models}
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(manifest))

    def run(*arguments: str, kill_at: int = 0, backend: str = BACKEND) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "backend_fake.py").write_text(backend)
        command, environment = [sys.executable, "profile_board.py", *arguments], {**os.environ, "KILL_AT": str(kill_at)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_three_kills_lose_and_repeat_nothing(start: Callable[..., Any], tmp_path: Path) -> None:
    ended = [start("--rounds", "3", "--runs", "9", kill_at=kill_at).returncode for kill_at in (5, 53, 62, 0)]
    assert ended == [-signal.SIGKILL] * 3 + [0]
    lines = list(csv.DictReader((tmp_path / MEASUREMENTS_FILE).read_text().splitlines()[1:]))
    assert timings(lines) == Counter((str(number), model) for number in (1, 2, 3) for model in MODELS)


@pytest.mark.parametrize(
    ("arguments", "backend", "message"),
    [
        (["--rounds", "0"], BACKEND, "error: threads, rounds, runs and seconds must be above 0\n"),
        (["--option", "gpu=true"], BACKEND, "error: fake takes no --option\n"),
        (["--output", "nowhere/x.csv"], BACKEND, "error: [Errno 2] No such file or directory: 'nowhere/x.csv.new'\n"),
        ([], "import a_runtime", "error: No module named 'a_runtime'; install the runtime for this Python"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_status_2(
    arguments: list[str], backend: str, message: str, start: Callable[..., Any]
) -> None:
    ended = start(*arguments, backend=backend)
    assert ended.returncode == 2
    assert ended.stderr.startswith(message)
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("path", sorted(BOARD_DIR.glob("*.py")), ids=lambda path: path.name)
def test_the_board_needs_python_3_8_numpy_and_the_runtime_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    runtimes = {"onnxruntime", "ncnn", "ai_edge_litert", "tflite_runtime"} if "backend" in path.name else set()
    beside = {file.partition(".")[0] for file in BOARD_FILES}
    assert {module.partition(".")[0] for module in modules} <= {"numpy"} | sys.stdlib_module_names | beside | runtimes
    assert "__future__" in modules
