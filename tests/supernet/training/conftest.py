"""A few rendered people, a space at very small resolutions, and a training that takes a second."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import Augmentation, Batch, SampleRequest, TrainingImages, collate
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split, split_paths
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.recipe import Phase, SupernetPlan, WarmupCosine

BatchOf = Callable[[int, int], Batch]


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> KeypointDataset:
    """Eight images of 96 x 96."""
    folder = tmp_path_factory.mktemp("people")
    generate_split(folder, "train", 8, 0, PeopleSettings(image_size=(96, 96)), CROWDPOSE)
    return KeypointDataset.load(*split_paths(folder, "train"), CROWDPOSE)


@pytest.fixture(scope="session")
def images(people: KeypointDataset) -> TrainingImages:
    return TrainingImages(people, augmentation=Augmentation(rotation_degrees=20.0))


@pytest.fixture(scope="session")
def batch_of(people: KeypointDataset) -> BatchOf:
    """The first images as a batch of one size, not augmented."""

    def make(count: int, size: int) -> Batch:
        images = TrainingImages(people, augmentation=None)
        return collate([images[SampleRequest(index, size, 0)] for index in range(count)])

    return make


@pytest.fixture(scope="session")
def small_space(tiny: SearchSpace) -> SearchSpace:
    """The choices of ``tiny``, seen at 32 and 64 pixels."""
    return dataclasses.replace(tiny, name="small", image_sizes=(32, 64))


@pytest.fixture
def make_supernet(small_space: SearchSpace) -> Callable[[], LitePoseSupernet]:
    def make() -> LitePoseSupernet:
        torch.manual_seed(0)
        return LitePoseSupernet(small_space, 14)

    return make


@pytest.fixture
def make_plan(small_space: SearchSpace) -> Callable[..., SupernetPlan]:
    """Plans over ``small_space``; keywords change plan or phase; ``progressive``: progressive phases, each so long."""

    def make(*, progressive: int | None = None, **changes: Any) -> SupernetPlan:
        if progressive is not None:
            changes["phases"] = _progressive(progressive)
        of_plan = {name: changes.pop(name) for name in ("space", "phases", "seed") if name in changes}
        of_phase = {"name": "sandwich", "steps": 6, "learning_rate": WarmupCosine(peak=0.004)} | changes
        return SupernetPlan(**{"space": small_space, "phases": (Phase(**of_phase),), "seed": 0} | of_plan)

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


def _progressive(steps: int) -> tuple[Phase, ...]:
    """The full network, then a dimension more a phase, ``steps`` each; with both kinds of channel sorting."""
    rate, dimensions = WarmupCosine(peak=0.004), ("resolution", "kernel", "depth", "expansion", "width")
    kinds = {"expansion": "hidden", "width": "width"}
    return (
        Phase("full", steps, rate, elastic=("resolution",), rule="largest", num_random=0, teacher="none"),
        *(
            Phase(name, steps, rate, dimensions[:count], teacher="frozen", sort_channels=kinds.get(name, "none"))
            for count, name in enumerate(dimensions[1:], start=2)
        ),
    )
