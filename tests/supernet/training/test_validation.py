"""Validation in the middle of a training: what is watched, measured as an evaluation would, without a trace."""

import copy
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.subnets import Calibration, SubnetEvaluator
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training import validation
from litepose_ofa.supernet.training.distributed import SINGLE, Process
from litepose_ofa.supernet.training.validation import Validator, validated_archs

SETTINGS = InferenceSettings(flip_test=False)
PUBLISHED = ["search-XS", "search-S", "search-M", "search-L", "prune-S", "prune-M", "prune-L"]
MakeValidator = Callable[..., Validator]


@pytest.fixture
def supernet(make_supernet: Callable[[], LitePoseSupernet], randomise: Callable[..., Any]) -> LitePoseSupernet:
    return randomise(make_supernet(), 0).train()  # type: ignore[no-any-return]


@pytest.fixture
def make_validator(people: KeypointDataset) -> MakeValidator:
    def make(archs: dict[str, Arch], process: Process = SINGLE) -> Validator:
        calibration = Calibration(people, num_images=4, batch_size=2)
        return Validator(archs, calibration, people, settings=SETTINGS, batch_size=4, process=process)

    return make


@pytest.mark.parametrize(
    ("name", "published"), [("tiny", []), ("litepose", PUBLISHED), ("litepose_released", PUBLISHED)]
)
def test_extremes_and_the_published_networks_of_a_space_are_watched(
    name: str, published: list[str], published_archs: dict[str, Arch]
) -> None:
    space = SearchSpace.preset(name)
    archs = validated_archs(space)
    assert list(archs) == ["smallest", "largest", *published]
    assert archs["smallest"] == space.smallest()
    assert archs["largest"] == space.largest()
    assert all(archs[one] == published_archs[one] for one in published)


def snapshot(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(dict(model.state_dict()))


def test_a_subnet_s_accuracy_is_that_of_the_evaluator(
    make_validator: MakeValidator, supernet: LitePoseSupernet, people: KeypointDataset
) -> None:
    archs = {"small": supernet.space.smallest(), "large": supernet.space.largest()}
    before = snapshot(supernet)
    found = make_validator(archs)(supernet)
    assert supernet.training
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    calibration = Calibration(people, num_images=4, batch_size=2)
    evaluator = SubnetEvaluator(supernet, calibration, people, batch_size=4, settings=SETTINGS)
    assert found == {name: evaluator.evaluate(arch).metrics["AP"] for name, arch in archs.items()}


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_ranks_share_out_the_subnets_and_agree(
    make_validator: MakeValidator, supernet: LitePoseSupernet, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    """The ranks one after the other: all but the last gather too little, as nobody waits here."""
    rng = random.Random(0)
    archs = {f"a{number}": supernet.space.sample(rng) for number in range(4)}
    measured: list[dict[str, float]] = []
    counted: list[str] = []

    def measure(self: Validator, model: LitePoseSupernet, arch: Arch) -> float:
        counted.append(arch.digest)
        return int(arch.digest, 16) / 16**12

    def gather(value: dict[str, float], process: Process) -> list[dict[str, float]]:
        measured.append(value)
        return measured

    monkeypatch.setattr(Validator, "_measure", measure)
    monkeypatch.setattr(validation, "gather_objects", gather)
    for rank in range(world - 1):
        with suppress(KeyError):
            make_validator(archs, Process(rank, world))(supernet)
    found = make_validator(archs, Process(world - 1, world))(supernet)
    assert sorted(counted) == sorted(arch.digest for arch in archs.values())
    assert list(found) == list(archs)
    assert found == {name: int(arch.digest, 16) / 16**12 for name, arch in archs.items()}
    assert max(map(len, measured)) - min(map(len, measured)) <= 1
