"""The board's script in this process, and a machine whose time is invented."""

import csv
import importlib
import json
import runpy
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from litepose_ofa.latency_tables.profiling.kit import BOARD_DIR, write_kit
from litepose_ofa.latency_tables.profiling.manifest import MANIFEST_FILE
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan, make_plan
from litepose_ofa.latency_tables.profiling.subjects import Subject
from litepose_ofa.supernet.archs.space import SearchSpace

FACTS = {
    "kit": "0123456789ab",
    "threads": 1,
    "options": {},
    "started": "2026-01-02T03:04:05Z",
    "machine": "board",
    "processor": "core",
    "clocks": "fixed",
    "runtime": "fake",
    "runtime_version": "1",
    "precision": "float32",
}


@dataclass
class Machine:
    """A backend and its clock: a run of a model takes as long as ``duration_ms`` says, and nothing else takes time.

    Attributes:
        duration_ms: Milliseconds of a run of a model.
        stop_at: Number of the load at which the machine fails, as if killed.
        hot: Whether the next readings of the sensors show throttling; the last one stays.
    """

    duration_ms: Callable[[str], float] = lambda model: 2.0
    stop_at: int | None = None
    hot: list[bool] = field(default_factory=lambda: [False])
    now_s: float = 100.0
    slept_s: float = 0.0
    loads: list[str] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)

    def load(self, paths: list[str], input_shapes: list[list[int]], threads: int) -> Any:
        if len(self.loads) == self.stop_at:
            raise RuntimeError("killed")
        name = Path(paths[0]).stem
        self.loads.append(name)
        return SimpleNamespace(run=lambda: self._run(name))

    def read_sensors(self) -> dict[str, Any]:
        return {"clock_mhz": 1500.0, "temperature_c": None, "throttled": self._next_hot()}

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds

    def _run(self, name: str) -> None:
        self.runs[name] += 1
        self.now_s += self.duration_ms(name) / 1e3

    def _next_hot(self) -> bool:
        return self.hot.pop(0) if len(self.hot) > 1 else self.hot[0]


@pytest.fixture(scope="session")
def plan() -> ProfilingPlan:
    """A few operators and networks."""
    return make_plan([SearchSpace.preset("tiny")], sample=0.01, networks=1)


@pytest.fixture(scope="session")
def kit(plan: ProfilingPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their kit for ONNX Runtime, to be read only."""
    folder = tmp_path_factory.mktemp("kits") / "kit"
    write_kit(folder, plan, "onnxruntime")
    return folder


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script that runs on the board."""
    monkeypatch.syspath_prepend(str(BOARD_DIR))
    yield importlib.import_module("profile_board")
    for name in ("profile_board", "measurement_file", "sensors"):
        sys.modules.pop(name, None)


Lines = list[dict[str, str]]


def read_lines(path: Path) -> Lines:
    """Return the lines of a file of measurements."""
    return list(csv.DictReader(path.read_text().splitlines()[1:]))


@pytest.fixture
def profile(board: ModuleType, tmp_path: Path) -> Callable[..., Lines]:
    """Run the profiler on a folder whose kit has the models m0, m1, ...; return the lines of its file."""

    def run(machine: Machine, *, models: int = 45, rounds: int = 3, runs: int = 30, seconds: float = 3.0) -> Lines:
        entries = [{"id": f"m{i}", "files": [f"m{i}.onnx"], "input_shapes": [[1]]} for i in range(models)]
        kit = {"kit": FACTS["kit"], "probe": "m0", "models": entries}
        (tmp_path / MANIFEST_FILE).write_text(json.dumps(kit))
        file = board.MeasurementFile(tmp_path / "measurements.csv", FACTS)
        settings = {"threads": 1, "rounds": rounds, "runs": runs, "seconds": seconds}
        profiler = board.Profiler(tmp_path, machine, file, **settings)
        profiler.clock, profiler.sleep = machine.clock, machine.sleep
        try:
            profiler.run()
        finally:
            file.close()
        return read_lines(tmp_path / "measurements.csv")

    return run


@pytest.fixture
def facts() -> dict[str, Any]:
    """What the machine says of itself."""
    return FACTS


@pytest.fixture
def new_machine() -> type[Machine]:
    """The machine whose time is invented."""
    return Machine


BUILD_MODULE = runpy.run_path(str(Path(__file__).with_name("torch_models.py")))["build_module"]


@pytest.fixture(scope="session")
def build_module() -> Callable[[Subject], torch.nn.Module]:
    """Make a subject a torch module."""
    return BUILD_MODULE  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def run_module() -> Callable[..., list[Any]]:
    """Run a subject's torch module on arrays."""

    @torch.inference_mode()
    def run(subject: Subject, inputs: list[Any]) -> list[Any]:
        outputs = BUILD_MODULE(subject)(*map(torch.from_numpy, inputs))
        return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run
