"""A trainer as a fresh process makes it, interruptions, and what two trainings are compared by."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.loading import TrainingImages
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.recipe import SupernetPlan, TrainingSettings
from litepose_ofa.supernet.training.trainer import Trainer, Validate

State = dict[str, Any]
MakeTrainer = Callable[..., Trainer]
MakePlan = Callable[..., SupernetPlan]


class Interruption:
    """Stops a training after a number of its own steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.fixture
def make_trainer(
    make_supernet: Callable[[], LitePoseSupernet],
    images: TrainingImages,
    make_plan: MakePlan,
    make_settings: Callable[..., TrainingSettings],
    folder: Path,
) -> MakeTrainer:
    """Make a trainer as a fresh process would, resumed if the folder has a checkpoint; keywords change the settings."""

    def make(
        folder: Path = folder,
        *,
        images: TrainingImages = images,
        plan: SupernetPlan | None = None,
        validate: Validate | None = None,
        **changes: Any,
    ) -> Trainer:
        settings = make_settings(**changes)
        trainer = Trainer(make_supernet(), images, plan or make_plan(), settings, folder=folder, validate=validate)
        trainer.resume()
        return trainer

    return make


@pytest.fixture
def smallest_images(small_space: SearchSpace) -> SearchSpace:
    """The space at its lowest resolution."""
    return dataclasses.replace(small_space, image_sizes=small_space.image_sizes[:1])


@pytest.fixture(scope="session")
def after_steps() -> type[Interruption]:
    return Interruption


@pytest.fixture(scope="session")
def read_metrics() -> Callable[[Path], list[dict[str, float]]]:
    return _read_metrics


@pytest.fixture(scope="session")
def assert_equal_states() -> Callable[[object, object], None]:
    return _assert_equal_states


@pytest.fixture(scope="session")
def is_equal() -> Callable[[State, State], bool]:
    return _is_equal


def _read_metrics(folder: Path) -> list[dict[str, float]]:
    """Lines of the log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(line.pop("images_per_second", 1) > 0 for line in lines)
    return lines


def _assert_equal_states(ours: object, theirs: object) -> None:
    if isinstance(ours, dict):
        assert isinstance(theirs, dict)
        assert list(ours) == list(theirs)
        for key in ours:
            _assert_equal_states(ours[key], theirs[key])
    elif isinstance(ours, list):
        assert isinstance(theirs, list)
        for a, b in zip(ours, theirs, strict=True):
            _assert_equal_states(a, b)
    elif isinstance(ours, Tensor):
        assert isinstance(theirs, Tensor)
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


def _is_equal(ours: State, theirs: State) -> bool:
    """Say whether two state dicts of tensors are bit-equal."""
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
