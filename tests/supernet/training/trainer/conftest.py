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

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.loading.batches import TrainingImages
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.distributed import SINGLE, Process
from litepose_ofa.supernet.training.recipe import SupernetPlan, TrainingSettings
from litepose_ofa.supernet.training.trainer import Trainer, Validate

State = dict[str, Any]


@dataclasses.dataclass
class Trainings:
    """Makes trainers as fresh processes would, interrupts them, reads what they wrote and compares their states."""

    plan: Callable[..., SupernetPlan]
    settings: Callable[..., TrainingSettings]
    smallest_images: SearchSpace
    """The space at its lowest resolution."""
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
        process: Process = SINGLE,
        **changes: Any,
    ) -> Trainer:
        """Resumed if the folder has a checkpoint; further keywords change the settings."""
        trainer = Trainer(
            self._supernet(),
            images or self._images,
            plan or self.plan(),
            self.settings(**changes),
            folder=folder or self._folder,
            validate=validate,
            process=process,
        )
        trainer.resume()
        return trainer

    @staticmethod
    def stop_after(steps: int) -> Callable[[], bool]:
        """Stop a training after a number of its own steps."""
        left = itertools.count(steps - 1, -1)
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

    @classmethod
    def assert_equal(cls, ours: Any, theirs: Any) -> None:
        """Compare nested states bit by bit."""
        assert type(ours) is type(theirs)
        if isinstance(ours, dict):
            assert list(ours) == list(theirs)
            for key in ours:
                cls.assert_equal(ours[key], theirs[key])
        elif isinstance(ours, list):
            assert len(ours) == len(theirs)
            for a, b in zip(ours, theirs, strict=True):
                cls.assert_equal(a, b)
        else:
            assert torch.equal(ours, theirs) if isinstance(ours, Tensor) else ours == theirs


@pytest.fixture
def trainings(
    make_supernet: Callable[[], LitePoseSupernet],
    images: TrainingImages,
    make_plan: Callable[..., SupernetPlan],
    make_settings: Callable[..., TrainingSettings],
    small_space: SearchSpace,
    folder: Path,
) -> Trainings:
    smallest = dataclasses.replace(small_space, image_sizes=small_space.image_sizes[:1])
    return Trainings(make_plan, make_settings, smallest, make_supernet, images, folder)
