"""A trainer as a fresh process makes it, interruptions, and what two trainings are compared by."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from litepose_ofa.supernet.data.loading.batches import TrainingImages
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.objective import LossSettings
from litepose_ofa.supernet.training.recipe import SupernetPlan, TrainingSettings
from litepose_ofa.supernet.training.trainer import Trainer, Validate

State = dict[str, Any]


@dataclasses.dataclass
class Trainings:
    plan: Callable[..., SupernetPlan]
    _supernet: Callable[[], LitePoseSupernet]
    _images: TrainingImages
    _folder: Path

    def make(
        self,
        folder: Path | None = None,
        *,
        images: TrainingImages | None = None,
        plan: SupernetPlan | None = None,
        validate: Validate | None = None,
        **changes: Any,
    ) -> Trainer:
        """Resumed if the folder has a checkpoint; further keywords change the settings."""
        loss = LossSettings(sigmas=(1.5, 2.5), foreground_weight=5.0, tag_weight=0.002, guide_weight=0.02)
        settings: dict[str, Any] = {"batch_size": 2, "loss": loss, "log_every": 1, "checkpoint_every": 100}
        trainer = Trainer(
            self._supernet(),
            images or self._images,
            plan or self.plan(),
            TrainingSettings(**settings | changes),
            folder=folder or self._folder,
            validate=validate,
        )
        trainer.resume()
        return trainer

    @staticmethod
    def stop_after(steps: int) -> Callable[[], bool]:
        """Stop a training after a number of its own steps."""
        left = itertools.count(steps, -1)
        return lambda: next(left) <= 0

    @staticmethod
    def metrics(folder: Path) -> list[dict[str, float]]:
        """Lines of the log without what depends on the clock."""
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert all(line.pop("images_per_second", 1) > 0 for line in lines)
        return lines

    @staticmethod
    def is_equal(ours: State, theirs: State) -> bool:
        """Say whether two state dicts of tensors are bit-equal."""
        return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)

    @staticmethod
    def assert_equal(ours: Any, theirs: Any) -> None:
        """Compare nested states bit by bit."""
        (leaves, structure), (others, same) = tree_flatten(ours), tree_flatten(theirs)
        assert structure == same
        for a, b in zip(leaves, others, strict=True):
            assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


@pytest.fixture
def trainings(
    make_supernet: Callable[[], LitePoseSupernet],
    images: TrainingImages,
    make_plan: Callable[..., SupernetPlan],
    folder: Path,
) -> Trainings:
    return Trainings(make_plan, make_supernet, images, folder)
