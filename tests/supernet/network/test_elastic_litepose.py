"""The supernet: its strictness, that it holds no state between calls, and that nothing in it stays untrained."""

import random
import re

import pytest
import torch

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_nothing_is_remembered_between_calls(tiny_supernet: LitePoseSupernet) -> None:
    space, rng = tiny_supernet.space, random.Random(0)
    arch, other = space.sample(rng), space.sample(rng)
    before = {key: value.clone() for key, value in tiny_supernet.state_dict().items()}
    first = tiny_supernet(IMAGES, arch)
    assert not torch.equal(tiny_supernet(IMAGES, other)[0], first[0])
    again = tiny_supernet(IMAGES, arch)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert all(torch.equal(before[key], value) for key, value in tiny_supernet.state_dict().items())


def test_an_architecture_outside_the_space_is_named(
    tiny_supernet: LitePoseSupernet, published_archs: dict[str, Arch]
) -> None:
    for arch in (published_archs["search-XS"], tiny_supernet.space.smallest().with_image_size(64)):
        with pytest.raises(ValueError, match=re.escape(f"architecture {arch.digest} is not in the space 'tiny'")):
            tiny_supernet(IMAGES, arch)


@pytest.mark.parametrize("name", PRESETS)
def test_every_weight_is_trained_by_the_largest_and_the_smallest_together(name: str) -> None:
    """Defects of the public code: depths that were never sampled, kernel matrices that were never used."""
    space = SearchSpace.preset(name)
    supernet = LitePoseSupernet(space, num_keypoints=2)
    for arch in (space.largest(), space.smallest()):
        sum((head**2).sum() for head in supernet(IMAGES[:, :, :32, :32], arch)).backward()
    smallest_depths = [stage.depths[0] for stage in space.stages]
    for parameter_name, parameter in supernet.named_parameters():
        match = re.match(r"stage\.(\d)\.(\d)\..*matrix", parameter_name)
        if match and int(match[2]) >= smallest_depths[int(match[1])]:
            assert parameter.grad is None, parameter_name
        else:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.abs().max() > 0, parameter_name
