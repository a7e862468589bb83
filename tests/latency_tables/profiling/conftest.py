"""Kits, a board whose true costs are known, and the kit's models in torch."""

import csv
import dataclasses
import importlib
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.fitting import boundary_elements
from litepose_ofa.latency_tables.profiling.kit import BOARD_DIR, MANIFEST_FILE, MEASUREMENTS_FILE, write_kit
from litepose_ofa.latency_tables.profiling.measurements import ChainTiming, Measurements, Timing, read_measurements
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan, chains_of, make_plan
from litepose_ofa.latency_tables.profiling.subjects import NullModel, OperatorChain, Subject, WholeNetwork, draw_weights
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Convolution, Operator, operators_of, places_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.onnx_graph import FoldedConvolution
from litepose_ofa.supernet.network.litepose import LitePose

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


def timing(ms: float, sigma: float, rng: np.random.Generator) -> Timing:
    """Return a timing with a relative error of sigma, which it states."""
    noisy = ms * float(1 + sigma * rng.standard_normal())
    return Timing(ms=noisy, std_ms=sigma * ms, runs=50, round_ms=(noisy,))


class SimulatedBoard:
    """What a kit would bring back from a board of known costs."""

    call_ms, ms_per_minput, ms_per_moutput, null_ms = 0.03, 0.2, 0.4, 0.01
    constant_ms, scale = 0.25, 1.1

    def sample_archs(self, space: SearchSpace, count: int, seed: int) -> list[Arch]:
        """Draw distinct random architectures."""
        rng = random.Random(seed)
        return list(dict.fromkeys(space.sample(rng) for _ in range(count)))

    def true_ms(self, operator: Operator) -> float:
        """Return what an operator takes inside a network: work with a bend, and traffic."""
        inputs, outputs = boundary_elements(operator)
        return 0.005 + 0.03 * (operator.macs / 1e6) ** 0.95 + 0.05 * (inputs + outputs) / 1e6

    def lone_ms(self, operator: Operator) -> float:
        """Return what an operator takes alone."""
        inputs, outputs = boundary_elements(operator)
        return (
            self.true_ms(operator) + self.call_ms + (self.ms_per_minput * inputs + self.ms_per_moutput * outputs) / 1e6
        )

    def network_ms(self, arch: Arch) -> float:
        """Return what a whole network takes."""
        return self.constant_ms + self.scale * sum(map(self.true_ms, operators_of(arch)))

    def measure(
        self,
        space: SearchSpace,
        archs: Sequence[Arch] = (),
        *,
        noise: float = 0.0,
        network_noise: float = 0.0,
        chosen: Callable[[Operator], bool] = lambda operator: True,
        seed: int = 7,
    ) -> Measurements:
        """Return the measurements of a kit, with relative errors (one sigma) of operators and of networks."""
        rng = np.random.default_rng(seed)
        operators = sorted(filter(chosen, space_operators(space)), key=str)
        singles = {operator: timing(self.lone_ms(operator), noise, rng) for operator in operators}
        chains = {}
        for operator in operators:
            for chain in chains_of(operator)[1:]:
                ms = self.lone_ms(operator) + (chain.copies - 1) * self.true_ms(operator)
                chains[operator] = ChainTiming(singles[operator], timing(ms, noise, rng), chain.copies)
        networks = {arch: timing(self.network_ms(arch), network_noise, rng) for arch in archs}
        return Measurements(
            network_keypoints=14,
            facts=FACTS,
            singles=singles,
            chains=chains,
            networks=networks,
            null=timing(self.null_ms, 0.0, rng),
        )


@pytest.fixture
def simulated() -> SimulatedBoard:
    return SimulatedBoard()


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
def run_kit(plan: ProfilingPlan, tmp_path: Path) -> Callable[..., Measurements]:
    """Write a runtime's kit, run its script with these options, and read what it measured.

    It has an operator of every kind, one of them in a chain, and two networks.
    """
    chains = [subject for subject in plan.subjects if isinstance(subject, OperatorChain)]
    long = next(chain for chain in chains if chain.copies > 1)
    first_of_kind = {chain.operator.kind: chain for chain in reversed(chains) if chain.copies == 1}
    operators = dict.fromkeys([*first_of_kind.values(), OperatorChain(long.operator), long, plan.probe])
    networks = [subject for subject in plan.subjects if isinstance(subject, WholeNetwork)][:2]
    small_plan = dataclasses.replace(plan, subjects=(NullModel(), *operators, *networks))

    def run(runtime: str, *options: str, rounds: int = 2) -> Measurements:
        folder = tmp_path / "kit"
        write_kit(folder, small_plan, runtime)
        command = [sys.executable, "profile_board.py", f"--rounds={rounds}", "--runs=6", "--seconds=0.01"]
        command += [f"--option={option}" for option in options]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return read_measurements(folder, folder / MEASUREMENTS_FILE)

    return run


Arrays = list[NDArray[np.float32]]


@pytest.fixture(scope="session")
def run_torch() -> Callable[[Subject, Arrays], Arrays]:
    """Run a subject in torch: operators by its functions, whole networks by LitePose, with the kit's weights."""

    @torch.inference_mode()
    def run(subject: Subject, inputs: Arrays) -> Arrays:
        values = [torch.from_numpy(value) for value in inputs]
        if isinstance(subject, WholeNetwork):
            return [head.numpy() for head in build_network(subject)(*values)]
        if isinstance(subject, NullModel):
            return [values[0].relu().numpy()]
        for operator, weights in zip(subject.operators, draw_weights(subject), strict=True):
            values = [run_operator(operator, weights, values)]
        return [values[0].numpy()]

    return run


def run_operator(operator: Operator, weights: list[FoldedConvolution], inputs: list[Tensor]) -> Tensor:
    """Return what an operator computes; in a batch norm of scale 1 the shift is a bias."""
    steps = list(zip(operator.convolutions, weights, strict=True))
    if operator.kind == "fusion_deconv":
        return functional.relu(sum(convolve(x, *step) for x, step in zip(inputs, steps, strict=True)))
    if operator.kind == "head":
        branches = zip(inputs, (steps[:2], steps[2:]), strict=True)
        return sum(convolve(functional.relu(convolve(x, *first)), *last) for x, (first, last) in branches)
    x = inputs[0]
    for convolution, drawn in steps:
        x = convolve(x, convolution, drawn)
        x = functional.relu6(x) if convolution.relu else x
    return x + inputs[0] if operator.residual else x


def convolve(x: Tensor, convolution: Convolution, weights: FoldedConvolution) -> Tensor:
    """Apply one convolution."""
    kernel = torch.from_numpy(weights.kernel)
    bias = None if weights.bias is None else torch.from_numpy(weights.bias)
    where = {"stride": convolution.stride, "padding": convolution.padding}
    if convolution.kind == "transposed":
        return functional.conv_transpose2d(x, kernel, bias, **where)
    return functional.conv2d(x, kernel, bias, **where, groups=x.shape[1] // kernel.shape[1])


def build_network(subject: WholeNetwork) -> LitePose:
    """Return the network in eval mode; the shifts are the biases of batch norms of scale 1."""
    network = LitePose(subject.arch, subject.num_keypoints)
    places = places_of(subject.arch.depths)
    for place, operator, weights in zip(places, subject.operators, draw_weights(subject), strict=True):
        for names, convolution, drawn in zip(place.layers, operator.convolutions, weights, strict=True):
            network.get_submodule(names.convolution).load_state_dict({"weight": torch.from_numpy(drawn.kernel)})
            if convolution.norm:
                norm = network.get_submodule(names.norm)
                torch.nn.init.ones_(norm.weight)
                norm.bias.data.copy_(torch.from_numpy(drawn.bias))
                norm.running_var.fill_(1 - norm.eps)
    return network.eval()


@pytest.fixture(scope="session")
def pose_network() -> Callable[[WholeNetwork], LitePose]:
    """Build the torch network of a subject."""
    return build_network


@dataclass
class Machine:
    """A backend and its clock, whose runs of models alone take time.

    At the load ``stop_at`` it fails, as if killed; ``hot`` has the sensors' next readings, of which the last one stays.
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
        hot = self.hot.pop(0) if len(self.hot) > 1 else self.hot[0]
        return {"clock_mhz": 1500.0, "temperature_c": None, "throttled": hot}

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds

    def _run(self, name: str) -> None:
        self.runs[name] += 1
        self.now_s += self.duration_ms(name) / 1e3


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script that runs on the board."""
    monkeypatch.syspath_prepend(str(BOARD_DIR))
    yield importlib.import_module("profile_board")
    for name in ("profile_board", "measurement_file", "sensors"):
        sys.modules.pop(name, None)


@pytest.fixture
def profile(board: ModuleType, tmp_path: Path) -> Callable[..., list[dict[str, str]]]:
    """Run the profiler on a kit, of the models m0 to m44 if none is given; return the lines of its file."""

    def run(
        machine: Machine, *, kit: Path | None = None, rounds: int = 3, runs: int = 30, seconds: float = 3.0
    ) -> list[dict[str, str]]:
        entries = [{"id": f"m{i}", "files": [f"m{i}.onnx"], "input_shapes": [[1]]} for i in range(45)]
        (tmp_path / MANIFEST_FILE).write_text(json.dumps({"kit": FACTS["kit"], "probe": "m0", "models": entries}))
        kit, path = kit or tmp_path, tmp_path / MEASUREMENTS_FILE
        file = board.MeasurementFile(path, {**FACTS, "kit": json.loads((kit / MANIFEST_FILE).read_text())["kit"]})
        profiler = board.Profiler(kit, machine, file, threads=1, rounds=rounds, runs=runs, seconds=seconds)
        profiler.clock, profiler.sleep = machine.clock, machine.sleep
        try:
            profiler.run()
        finally:
            file.close()
        return list(csv.DictReader(path.read_text().splitlines()[1:]))

    return run


@pytest.fixture
def new_machine() -> type[Machine]:
    """The machine whose time is invented."""
    return Machine
