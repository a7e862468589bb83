"""A workspace that was searched, as ``export`` and ``finetune`` find it, and exports from it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.accuracy.evaluators import Accuracy
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.study.results import Candidate, front_candidates, write_chosen, write_front
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.checkpoints import load_supernet, weights_digest

DEVICE, TIER = "raspberry_pi_4b", "m"


def leave_search(workspace: Path, decoding: DecodingCost | None = None) -> list[Candidate]:
    """Write what a search on the workspace's supernet would, of the network's latency or of a frame's.

    Returns:
        The front, the two smallest networks first, as the best that were measured; the first is chosen.
    """
    space, table = SearchSpace.preset("tiny"), LatencyTable.load(DEVICE)
    costs = {} if decoding is None else {DEVICE: decoding}
    cost = CostModel(space, tables={DEVICE: table}, decoding=costs, people=3)
    problem = SearchProblem(cost, {DEVICE: 3.5 if decoding is None else 60})
    genomes = cost.codec.sample(200, np.random.default_rng(0))
    history = problem.evaluated(genomes, 0.01 * problem.latency_ms(genomes), np.full(200, 0.02))
    front = history.rows(problem.front(history))
    *rest, second, first = front_candidates(problem, front, "predictor", None, device=DEVICE)
    verified = [
        replace(one, accuracy=Accuracy(ap, "predictor"), verified_ap=ap) for one, ap in ((first, 0.95), (second, 0.9))
    ]
    weights = weights_digest(load_supernet(workspace / "supernet" / "supernet.safetensors"))
    search = {
        "space": space.to_dict(),
        "table": table.digest,
        "devices": {DEVICE: problem.latency_sources()},
        "strategy": {"strategy": "random"},
        "evaluator": {"evaluator": "predictor", "weights": weights},
    }
    record = {"device": DEVICE, "table": DEVICE, "tier": TIER, "budget_ms": 3.5, "search": search}
    folder, found = workspace / "search" / DEVICE / TIER, [*verified, *rest]
    write_front(folder / "front.csv", found)
    write_chosen(folder / "chosen.json", found[0], record)
    return found


@pytest.fixture(scope="session")
def search_frames() -> Callable[[Path, DecodingCost], object]:
    """Leave a search of frames' latencies in a workspace instead."""
    return leave_search


@pytest.fixture(scope="session")
def _searched(_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Candidate]]:
    workspace = Path(shutil.copytree(_trained, tmp_path_factory.mktemp("searched") / "workspace"))
    return workspace, leave_search(workspace)


@pytest.fixture
def searched(_searched: tuple[Path, list[Candidate]], tmp_path: Path) -> Path:
    """A workspace with a trained supernet and a search on it; a copy that the test may change."""
    return Path(shutil.copytree(_searched[0], tmp_path / "searched"))


@pytest.fixture
def candidates(_searched: tuple[Path, list[Candidate]]) -> list[Candidate]:
    """The front of ``searched``, the choice first."""
    return _searched[1]


@pytest.fixture
def export(run_script: Any, searched: Path, quick_evaluation: tuple[str, ...]) -> Callable[..., Any]:
    """Export from the searched workspace; later overrides win."""
    quick = (*quick_evaluation, "checked_images=2", "calibration_images=3", "resamples=20")
    return lambda *overrides: run_script("export", f"workspace={searched}", *quick, *overrides)


@pytest.fixture
def bundle(searched: Path) -> Path:
    """Where the searched cell's export goes."""
    return searched / "export" / DEVICE / TIER
