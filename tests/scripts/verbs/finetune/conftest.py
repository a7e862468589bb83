"""A searched workspace, and what finetunings leave in it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.scripts.build.builders import build_subnet_evaluator
from litepose_ofa.search.accuracy.evaluators import Accuracy
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.study.results import (
    Candidate,
    front_candidates,
    write_chosen,
    write_front,
)
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator
from litepose_ofa.supernet.network.checkpoints import load_supernet, read_description, weights_digest

RunScript = Callable[..., Any]
Compose = Callable[..., Any]

DEVICE, TIER = "raspberry_pi_4b", "m"
CELL = Path(DEVICE) / TIER


@pytest.fixture
def quick(quick_training: tuple[str, ...], quick_evaluation: tuple[str, ...]) -> tuple[str, ...]:
    return (*quick_training, *quick_evaluation, "share=1", "training.validation_images=4", "training.validate_every=2")


@pytest.fixture(scope="session")
def candidates() -> list[Candidate]:
    """A front of the tiny space, the two smallest networks of it verified."""
    cost = CostModel(SearchSpace.preset("tiny"), tables={DEVICE: LatencyTable.load(DEVICE)})
    problem = SearchProblem(cost, {DEVICE: 3.5})
    genomes = cost.codec.sample(200, np.random.default_rng(0))
    latency_ms = problem.latency_ms(genomes)
    history = problem.evaluated(genomes, 0.1 * latency_ms, np.full(200, 0.02))
    *rest, second, first = front_candidates(problem, history, "predictor")
    verified = [replace(one, verified=Accuracy(ap, "supernet")) for one, ap in ((first, 0.2), (second, 0.1))]
    return [*verified, *rest]


@pytest.fixture
def searched(trained: Path, candidates: list[Candidate]) -> Path:
    """A workspace with a trained supernet and the files of a search on it."""
    folder = trained / "search" / CELL
    write_front(folder / "front.csv", candidates)
    search = {
        "space": SearchSpace.preset("tiny").to_dict(),
        "table": LatencyTable.load(DEVICE).digest,
        "strategy": {"strategy": "random"},
        "evaluator": {
            "evaluator": "predictor",
            "weights": weights_digest(load_supernet(trained / "supernet" / "supernet.safetensors")),
        },
    }
    record = {"device": DEVICE, "table": DEVICE, "tier": TIER, "budget_ms": 3.5, "search": search}
    write_chosen(folder / "chosen.json", candidates[0], record)
    return trained


@pytest.fixture
def make_evaluator(compose_config: Compose, quick: tuple[str, ...]) -> Callable[[Path], SubnetEvaluator]:
    def make(workspace: Path) -> SubnetEvaluator:
        cfg = compose_config("finetune", f"workspace={workspace}", *quick)
        return build_subnet_evaluator(cfg, "search")

    return make


@pytest.fixture(scope="session")
def cell() -> Path:
    """Device and tier, as they name folders."""
    return CELL


@pytest.fixture(scope="session")
def subnet_path() -> Callable[[Path], Path]:
    return _subnet_path


@pytest.fixture(scope="session")
def info() -> Callable[[Path], dict[str, Any]]:
    return _info


@pytest.fixture(scope="session")
def assert_equal() -> Callable[[torch.nn.Module, torch.nn.Module], None]:
    return _assert_equal


@pytest.fixture(scope="session")
def complaint() -> Callable[[Any], str]:
    return _complaint


@pytest.fixture
def export(run_script: RunScript, quick_evaluation: tuple[str, ...]) -> Callable[..., Any]:
    def run(workspace: Path, *overrides: str) -> Any:
        return run_script("export", f"workspace={workspace}", *quick_evaluation, "checked_images=2", *overrides)

    return run


def _subnet_path(workspace: Path) -> Path:
    return workspace / "finetune" / CELL / "subnet.safetensors"


def _info(workspace: Path) -> dict[str, Any]:
    facts: dict[str, Any] = read_description(_subnet_path(workspace))["info"]
    return facts


def _assert_equal(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    wanted = theirs.state_dict()
    assert {name for name, tensor in ours.state_dict().items() if not torch.equal(tensor, wanted[name])} == set()


def _complaint(outcome: Any) -> str:
    """The one line that a script refuses bad input with."""
    (line,) = outcome.stderr.splitlines()
    assert outcome.status == 2
    assert line.startswith("error: ")
    return str(line)
