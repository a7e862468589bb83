"""Finetunings, and what they leave in a workspace."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.network.checkpoints import load_subnet, read_description
from litepose_ofa.supernet.network.litepose import LitePose


@dataclass(frozen=True)
class Jobs:
    """Runs ``finetune``, and reads what a finetuning has left in a workspace."""

    run_script: Callable[..., Any]
    quick: tuple[str, ...]
    cell = Path("raspberry_pi_4b") / "m"

    def finetune(self, workspace: Path, *overrides: str) -> Any:
        """Return the outcome of one that has to succeed."""
        outcome = self.run_script("finetune", f"workspace={workspace}", *self.quick, *overrides)
        assert outcome.status == 0
        return outcome

    def refused(self, workspace: Path, *overrides: str) -> str:
        """Return the one line that a finetuning is refused with."""
        line: str = self.run_script("finetune", f"workspace={workspace}", *self.quick, *overrides).refusal
        return line

    @staticmethod
    def path(workspace: Path) -> Path:
        return workspace / "finetune" / Jobs.cell / "subnet.safetensors"

    def network(self, workspace: Path) -> LitePose:
        return load_subnet(self.path(workspace))

    def info(self, workspace: Path) -> dict[str, Any]:
        facts: dict[str, Any] = read_description(self.path(workspace))["info"]
        return facts


@pytest.fixture
def jobs(run_script: Any, quick_training: tuple[str, ...], quick_evaluation: tuple[str, ...]) -> Jobs:
    validated = ("share=1", "training.validation_images=3", "training.validate_every=2")
    return Jobs(run_script, (*quick_training, *quick_evaluation, *validated))


@pytest.fixture(scope="session")
def assert_equal() -> Callable[[torch.nn.Module, torch.nn.Module], None]:
    def check(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
        wanted = theirs.state_dict()
        assert {name for name, tensor in ours.state_dict().items() if not torch.equal(tensor, wanted[name])} == set()

    return check
