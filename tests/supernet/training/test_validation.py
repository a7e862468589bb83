"""Validation in the middle of a training: what is watched, measured as an evaluation would, without a trace."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.subnets import Calibration, SubnetEvaluator
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.distributed import SINGLE, Process
from litepose_ofa.supernet.training.validation import Validator, copy_of, validated_archs

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


def test_a_subnet_s_accuracy_is_that_of_the_evaluator(
    make_validator: MakeValidator, supernet: LitePoseSupernet, people: KeypointDataset
) -> None:
    archs = {"small": supernet.space.smallest(), "large": supernet.space.largest()}
    before = copy.deepcopy(supernet.state_dict())
    found = make_validator(archs)(supernet)
    assert supernet.training
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    calibration = Calibration(people, num_images=4, batch_size=2)
    evaluator = SubnetEvaluator(supernet, calibration, people, batch_size=4, settings=SETTINGS)
    assert found == {name: evaluator.evaluate(arch).metrics["AP"] for name, arch in archs.items()}


def test_one_network_is_measured_without_a_trace(make_validator: MakeValidator, supernet: LitePoseSupernet) -> None:
    network = copy_of(supernet, supernet.space.smallest()).train()
    before = copy.deepcopy(network.state_dict())
    found = make_validator({"subnet": network.arch})(network)
    assert found == make_validator({"subnet": network.arch})(supernet)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
