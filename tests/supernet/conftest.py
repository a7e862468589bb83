"""Fixtures of the network tests: the published architectures, and models whose every tensor is random."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
import torch
from torch import nn

from supernet import published
from supernet.arch import Arch
from supernet.elastic_litepose import LitePoseSupernet
from supernet.space import SearchSpace

Model = TypeVar("Model", bound=nn.Module)
Randomise = Callable[[Model, int], Model]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose time to a second thread, and very much of it on a machine that is busy otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def published_archs() -> dict[str, Arch]:
    return published.published_archs()


@pytest.fixture(scope="session")
def published_dicts(published_archs: dict[str, Arch]) -> dict[str, dict[str, Any]]:
    """The published architectures in the published form, written out key by key."""
    return {
        name: {
            "img_size": arch.image_size,
            "input_channel": arch.stem_channels,
            "deconv_setting": list(arch.deconv_channels),
            "backbone_setting": [
                {
                    "num_blocks": len(stage.blocks),
                    "stride": stage.stride,
                    "channel": stage.channels,
                    "block_setting": [[block.expansion, block.kernel] for block in stage.blocks],
                }
                for stage in arch.stages
            ],
        }
        for name, arch in published_archs.items()
    }


@pytest.fixture(scope="session")
def randomise() -> Randomise[Any]:
    return _randomise


@pytest.fixture(scope="session")
def tiny() -> SearchSpace:
    return SearchSpace.preset("tiny")


@pytest.fixture(scope="session")
def _tiny_supernet(tiny: SearchSpace) -> LitePoseSupernet:
    return _randomise(LitePoseSupernet(tiny), 0).eval()


@pytest.fixture
def tiny_supernet(_tiny_supernet: LitePoseSupernet) -> LitePoseSupernet:
    """A supernet in eval mode, statistics and kernel matrices random too; a copy that the test may change."""
    return copy.deepcopy(_tiny_supernet)


def _randomise(model: Model, seed: int) -> Model:
    """Fill every weight, statistic and kernel matrix from a seed, at scales that keep the outputs finite."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if tensor.ndim == 4:
            value = noise * math.sqrt(2 / math.prod(tensor.shape[1:]))
        elif tensor.ndim == 2:
            value = torch.eye(len(tensor)) + 0.2 * noise
        elif name.endswith("running_var"):
            value = 0.5 + noise**2
        elif name.endswith("weight"):
            value = 1 + 0.1 * noise
        else:
            value = 0.1 * noise
        tensor.copy_(value)
    return model
