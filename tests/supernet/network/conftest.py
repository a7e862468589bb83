"""A subnet to save, and what two networks are compared by."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose


@pytest.fixture
def subnet(tiny_supernet: LitePoseSupernet) -> LitePose:
    return extract_subnet(tiny_supernet, tiny_supernet.space.smallest())


@pytest.fixture(scope="session")
def assert_equal() -> Callable[[nn.Module, nn.Module], None]:
    def compare(one: nn.Module, other: nn.Module) -> None:
        ours, theirs = one.state_dict(), other.state_dict()
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert value.dtype == theirs[name].dtype
            assert torch.equal(value, theirs[name]), name

    return compare
