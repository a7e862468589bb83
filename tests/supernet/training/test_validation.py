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
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.training.distributed import SINGLE
from litepose_ofa.supernet.training.validation import Validator, validated_archs

PUBLISHED = ["search-XS", "search-S", "search-M", "search-L", "prune-S", "prune-M", "prune-L"]


@pytest.mark.parametrize(("name", "published"), [("tiny", []), ("litepose", PUBLISHED)])
def test_extremes_and_the_published_networks_of_a_space_are_watched(
    name: str, published: list[str], published_archs: dict[str, Arch]
) -> None:
    space = SearchSpace.preset(name)
    expected = {"smallest": space.smallest(), "largest": space.largest()}
    assert validated_archs(space) == expected | {one: published_archs[one] for one in published}


def test_an_accuracy_is_that_of_the_evaluator(
    make_supernet: Callable[[], LitePoseSupernet], randomise: Callable[..., Any], people: KeypointDataset
) -> None:
    supernet = randomise(make_supernet(), 0).train()
    archs = {"small": supernet.space.smallest(), "large": supernet.space.largest()}
    calibration = Calibration(people, num_images=4, batch_size=2)
    settings = InferenceSettings(flip_test=False)
    evaluator = SubnetEvaluator(supernet, calibration, people, batch_size=4, settings=settings)
    network = extract_subnet(supernet, archs["small"])
    before = [copy.deepcopy(model.state_dict()) for model in (supernet, network)]
    found = Validator(archs, calibration, evaluator, SINGLE)(supernet)
    assert found == {name: evaluator.measure(arch) for name, arch in archs.items()}
    assert Validator({"small": network.arch}, calibration, evaluator, SINGLE)(network) == {"small": found["small"]}
    for model, state in zip((supernet, network), before, strict=True):
        assert model.training
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
