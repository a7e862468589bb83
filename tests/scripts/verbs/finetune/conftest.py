"""A searched workspace, and what finetunings leave in it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.evaluators import Accuracy
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.study.results import Candidate, front_candidates, write_chosen, write_front
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.checkpoints import load_subnet, load_supernet, read_description, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose

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
    history = problem.evaluated(genomes, 0.1 * problem.latency_ms(genomes), np.full(200, 0.02))
    *rest, second, first = front_candidates(problem, history, "predictor")
    verified = [replace(one, verified=Accuracy(ap, "supernet")) for one, ap in ((first, 0.2), (second, 0.1))]
    return [*verified, *rest]


@pytest.fixture
def searched(trained: Path, candidates: list[Candidate]) -> Path:
    """A workspace with a trained supernet and the files of a search on it."""
    weights = weights_digest(load_supernet(trained / "supernet" / "supernet.safetensors"))
    search = {
        "space": SearchSpace.preset("tiny").to_dict(),
        "table": LatencyTable.load(DEVICE).digest,
        "strategy": {"strategy": "random"},
        "evaluator": {"evaluator": "predictor", "weights": weights},
    }
    record = {"device": DEVICE, "table": DEVICE, "tier": TIER, "budget_ms": 3.5, "search": search}
    folder = trained / "search" / CELL
    write_front(folder / "front.csv", candidates)
    write_chosen(folder / "chosen.json", candidates[0], record)
    return trained


@dataclass(frozen=True)
class Jobs:
    """Runs ``finetune`` and ``export``, and reads what a finetuning has left in a workspace."""

    run_script: Callable[..., Any]
    quick: tuple[str, ...]
    quick_evaluation: tuple[str, ...]
    cell = CELL

    def finetune(self, workspace: Path, *overrides: str) -> Any:
        """Return the outcome of one that has to succeed."""
        return self.good(self.run_script("finetune", f"workspace={workspace}", *self.quick, *overrides))

    def export(self, workspace: Path, *overrides: str) -> Any:
        return self.good(self._export(workspace, *overrides))

    def refused(self, workspace: Path, *overrides: str) -> str:
        """Return the one line that a finetuning is refused with."""
        return self.complaint(self.run_script("finetune", f"workspace={workspace}", *self.quick, *overrides))

    def refused_export(self, workspace: Path, *overrides: str) -> str:
        return self.complaint(self._export(workspace, *overrides))

    def _export(self, workspace: Path, *overrides: str) -> Any:
        return self.run_script(
            "export", f"workspace={workspace}", *self.quick_evaluation, "checked_images=2", *overrides
        )

    @staticmethod
    def good(outcome: Any) -> Any:
        assert outcome.status == 0, outcome.stderr
        return outcome

    @staticmethod
    def complaint(outcome: Any) -> str:
        (line,) = outcome.stderr.splitlines()
        assert outcome.status == 2
        assert line.startswith("error: ")
        return str(line)

    @staticmethod
    def path(workspace: Path) -> Path:
        return workspace / "finetune" / CELL / "subnet.safetensors"

    def network(self, workspace: Path) -> LitePose:
        return load_subnet(self.path(workspace))

    def info(self, workspace: Path) -> dict[str, Any]:
        facts: dict[str, Any] = read_description(self.path(workspace))["info"]
        return facts


@pytest.fixture
def jobs(run_script: Callable[..., Any], quick: tuple[str, ...], quick_evaluation: tuple[str, ...]) -> Jobs:
    return Jobs(run_script, quick, quick_evaluation)


@pytest.fixture(scope="session")
def assert_equal() -> Callable[[torch.nn.Module, torch.nn.Module], None]:
    def check(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
        wanted = theirs.state_dict()
        assert {name for name, tensor in ours.state_dict().items() if not torch.equal(tensor, wanted[name])} == set()

    return check
