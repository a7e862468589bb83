"""A searched workspace to export from, and what the script leaves in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.study.results import choose, front_candidates, write_chosen, write_front
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.checkpoints import load_supernet, weights_digest

DEVICE, TIER = "raspberry_pi_4b", "m"

RunScript = Callable[..., Any]


def write_search(workspace: Path, decoding: DecodingCost | None = None) -> None:
    """Leave what a search on the workspace's supernet leaves, of the network's latency or of a frame's."""
    space = SearchSpace.preset("tiny")
    costs = {} if decoding is None else {DEVICE: decoding}
    cost = CostModel(space, tables={DEVICE: LatencyTable.load(DEVICE)}, decoding=costs, people=3)
    problem = SearchProblem(cost, {DEVICE: 3.5 if decoding is None else 60})
    genomes = cost.codec.sample(50, np.random.default_rng(0))
    history = problem.evaluated(genomes, 0.01 * problem.latency_ms(genomes), np.full(50, 0.02))
    front = front_candidates(problem, history, "predictor")
    folder = workspace / "search" / DEVICE / TIER
    write_front(folder / "front.csv", front)
    search = {
        "space": space.to_dict(),
        "table": LatencyTable.load(DEVICE).digest,
        "devices": {DEVICE: problem.latency_sources()},
        "strategy": {"strategy": "random"},
        "evaluator": {
            "evaluator": "predictor",
            "weights": weights_digest(load_supernet(workspace / "supernet" / "supernet.safetensors")),
        },
    }
    record = {"device": DEVICE, "table": DEVICE, "tier": TIER, "budget_ms": 3.5, "search": search}
    write_chosen(folder / "chosen.json", choose(front), record)


@pytest.fixture
def searched(trained: Path) -> Path:
    """A workspace with a trained supernet and a search on it."""
    write_search(trained)
    return trained


@pytest.fixture(scope="session")
def search_frames() -> Callable[[Path, DecodingCost], None]:
    """Leave a search of frames' latencies instead."""
    return write_search


@pytest.fixture
def bundle(searched: Path) -> Path:
    """Where the searched cell's export goes."""
    return searched / "export" / DEVICE / TIER


@pytest.fixture
def quick_export(quick_evaluation: tuple[str, ...]) -> tuple[str, ...]:
    return (*quick_evaluation, "checked_images=2", "calibration_images=3", "resamples=20")


@pytest.fixture
def export(run_script: RunScript, searched: Path, quick_export: tuple[str, ...]) -> Callable[..., Any]:
    """Export from the searched workspace; later overrides win."""

    def run(*overrides: str) -> Any:
        return run_script("export", f"workspace={searched}", *quick_export, *overrides)

    return run
