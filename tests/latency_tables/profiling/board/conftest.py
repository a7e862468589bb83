"""A kit from its exporter to the measurements read back, and executables that stand in for a board's tools."""

import dataclasses
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from litepose_ofa.latency_tables.profiling.kit import BOARD_DIR, MEASUREMENTS_FILE, write_kit
from litepose_ofa.latency_tables.profiling.measurements import Measurements, read_measurements
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan
from litepose_ofa.latency_tables.profiling.subjects import NullModel, OperatorChain, WholeNetwork

BACKENDS = ("backend_adb", "backend_trtexec")


@pytest.fixture
def small_plan(plan: ProfilingPlan) -> ProfilingPlan:
    """An operator of every kind, one of them in a chain, and two networks."""
    chains = [subject for subject in plan.subjects if isinstance(subject, OperatorChain)]
    long = next(chain for chain in chains if chain.copies > 1)
    first_of_kind = {chain.operator.kind: chain for chain in reversed(chains) if chain.copies == 1}
    operators = dict.fromkeys([*first_of_kind.values(), OperatorChain(long.operator), long, plan.probe])
    networks = [subject for subject in plan.subjects if isinstance(subject, WholeNetwork)][:2]
    return dataclasses.replace(plan, subjects=(NullModel(), *operators, *networks))


@pytest.fixture
def run_kit(small_plan: ProfilingPlan, tmp_path: Path) -> Callable[..., Measurements]:
    """Write a runtime's kit, run its script with these options, and read what it measured."""

    def run(runtime: str, *options: str, rounds: int = 2) -> Measurements:
        folder = tmp_path / "kit"
        write_kit(folder, small_plan, runtime)
        command = [sys.executable, "profile_board.py", f"--rounds={rounds}", "--runs=6", "--seconds=0.01"]
        command += [f"--option={option}" for option in options]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return read_measurements(folder, folder / MEASUREMENTS_FILE)

    return run


@pytest.fixture
def load_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a backend as the board's script does, with nothing configured yet."""
    monkeypatch.syspath_prepend(str(BOARD_DIR))
    yield importlib.import_module
    for name in (*BACKENDS, "sensors"):
        sys.modules.pop(name, None)


@pytest.fixture
def fake_tool(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write an executable of this Python; ``log(arguments)`` in it adds a line to the file <name>.log beside it."""

    def write(name: str, code: str) -> Path:
        path = tmp_path / name
        header = f"#!{sys.executable} -S\nimport os, sys, time\narguments = sys.argv[1:]\n"
        header += f"log = lambda words: open({str(path) + '.log'!r}, 'a').write(' '.join(words) + '\\n')\n"
        path.write_text(header + code)
        path.chmod(0o755)
        return path

    return write
