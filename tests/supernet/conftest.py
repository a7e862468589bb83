"""Fixtures of the network tests: the published architectures, and models whose every tensor is random."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
import torch
from torch import nn

from supernet.arch import Arch
from supernet.elastic_litepose import LitePoseSupernet
from supernet.space import SearchSpace

Model = TypeVar("Model", bound=nn.Module)
Randomise = Callable[[Model, int], Model]

PUBLISHED = {
    "search-XS": (256, 16, (16, 32, 48, 80), (16, 24, 24)),
    "search-S": (448, 16, (16, 32, 48, 120), (32, 24, 32)),
    "search-M": (448, 16, (24, 48, 72, 120), (64, 40, 32)),
    "search-L": (512, 24, (24, 64, 96, 160), (64, 40, 32)),
    "prune-S": (512, 16, (16, 32, 48, 80), (32, 24, 16)),
    "prune-M": (512, 24, (24, 48, 72, 120), (48, 40, 24)),
    "prune-L": (512, 24, (32, 64, 96, 160), (64, 48, 32)),
}
"""Input size, C0, C1..C4 and D0..D2 of the seven files that mit-han-lab/litepose publishes."""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose time to a second thread, and very much of it on a machine that is busy otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def published_dicts() -> dict[str, dict[str, Any]]:
    """The seven published architecture files; all have 6, 8, 10, 10 blocks, expansion 6 and kernel 7."""
    return {
        name: {
            "img_size": size,
            "input_channel": stem,
            "deconv_setting": list(deconvs),
            "backbone_setting": [
                {
                    "num_blocks": depth,
                    "stride": stride,
                    "channel": width,
                    "block_setting": [[6, 7] for _ in range(depth)],
                }
                for width, depth, stride in zip(widths, (6, 8, 10, 10), (2, 2, 2, 1), strict=True)
            ],
        }
        for name, (size, stem, widths, deconvs) in PUBLISHED.items()
    }


@pytest.fixture(scope="session")
def published_archs(published_dicts: dict[str, dict[str, Any]]) -> dict[str, Arch]:
    return {name: Arch.from_dict(published) for name, published in published_dicts.items()}


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
