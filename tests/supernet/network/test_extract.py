"""Subnets cut out of the supernet: bit-equal outputs, equal gradients, and a check that can fail."""

import copy
import math
import random
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.network import litepose
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.elastic_layers import ElasticDepthwiseConv2d
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import copy_of, extract_subnet, is_equal_to_supernet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import Process, synchronise_batch_norms

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
ARCHITECTURES = 200


def sample(space: SearchSpace, count: int) -> list[Arch]:
    rng = random.Random(0)
    return [space.sample(rng) for _ in range(count)]


def start_from_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new convolutions begin as NaN: a weight that extraction forgot makes the outputs NaN (and it is faster)."""
    monkeypatch.setattr(litepose, "initialise_weights", lambda model: None)
    monkeypatch.setattr(_ConvNd, "reset_parameters", lambda layer: nn.init.constant_(layer.weight, math.nan))


@pytest.mark.parametrize("name", PRESETS)
def test_200_subnets_are_bit_equal_over_every_choice(
    name: str, randomise: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SearchSpace.preset(name)
    supernet = randomise(LitePoseSupernet(space), 1).eval()
    start_from_nan(monkeypatch)
    archs = sample(space, ARCHITECTURES)
    for arch in archs:
        assert is_equal_to_supernet(extract_subnet(supernet, arch), supernet, IMAGES), arch
    heads = [torch.cat([head.flatten() for head in extract_subnet(supernet, arch)(IMAGES)]) for arch in archs[:2]]
    assert not torch.equal(*heads)
    assert all(head.isfinite().all() and head.std() > 1e-3 for head in heads)
    supernet, images = (it.to(memory_format=torch.channels_last) for it in (supernet, IMAGES))
    for arch in (space.smallest(), space.largest(), *archs[:6]):
        subnet = extract_subnet(supernet, arch).to(memory_format=torch.channels_last)
        assert is_equal_to_supernet(subnet, supernet, images), arch


def test_it_is_an_ordinary_network_of_its_own(tiny_supernet: LitePoseSupernet) -> None:
    arch = tiny_supernet.space.smallest()
    tiny_supernet.first.get_submodule("0.1").num_batches_tracked.fill_(7)
    before = {name: value.clone() for name, value in tiny_supernet.state_dict().items()}
    subnet = extract_subnet(tiny_supernet, arch)
    assert subnet.state_dict()["first.0.1.num_batches_tracked"] == 7
    fresh = LitePose(arch).state_dict()
    assert {k: v.shape for k, v in subnet.state_dict().items()} == {k: v.shape for k, v in fresh.items()}
    assert not any("matrix" in name for name in subnet.state_dict())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in subnet.parameters())
    with torch.no_grad():
        for tensor in subnet.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(before[name], value) for name, value in tiny_supernet.state_dict().items())


@pytest.mark.parametrize("training", [False, True])
def test_mode_dtype_and_keypoints_are_the_supernets(training: bool, tiny: SearchSpace) -> None:
    supernet = LitePoseSupernet(tiny, num_keypoints=17).double().train(training)
    subnet = extract_subnet(supernet, tiny.smallest())
    assert is_equal_to_supernet(subnet, supernet, IMAGES.double())
    assert (subnet.training, supernet.training, subnet.num_keypoints) == (training, training, 17)
    assert {p.dtype for p in subnet.parameters()} == {torch.float64}


def test_a_copy_of_a_synchronised_network_is_plain(tiny_supernet: LitePoseSupernet, assert_equal: Any) -> None:
    """Its batch norms cumulate when it is recalibrated, which elastic ones refuse."""
    network = extract_subnet(tiny_supernet, tiny_supernet.space.smallest())
    synchronise_batch_norms(network, Process(world=2))
    copied = copy_of(network, network.arch)
    assert_equal(copied, network)
    recalibrate_batch_norm(copied, [IMAGES])
    assert not torch.equal(copied.first[3].running_mean, network.first[3].running_mean)


@pytest.mark.parametrize("name", ["first.3.running_mean", "deconv_raw.2.weight"])
def test_one_changed_number_is_found(name: str, tiny_supernet: LitePoseSupernet) -> None:
    subnet = extract_subnet(tiny_supernet, tiny_supernet.space.smallest())
    assert is_equal_to_supernet(subnet, tiny_supernet, IMAGES)
    values = subnet.state_dict()[name].view(-1)
    values[len(values) // 2] += 0.5
    assert not is_equal_to_supernet(subnet, tiny_supernet, IMAGES)


def test_a_training_step_is_the_static_networks(tiny_supernet: LitePoseSupernet) -> None:
    """Gradients and running statistics of the shared slices; of everything else none."""
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    supernet = tiny_supernet.double().train()
    archs = sample(supernet.space, 4)
    assert {block.kernel for arch in archs for stage in arch.stages for block in stage.blocks} == {3, 5, 7}
    for arch in archs:
        supernet.zero_grad(set_to_none=True)
        subnet = extract_subnet(supernet, arch)
        before = {name: value.clone() for name, value in supernet.state_dict().items()}
        loss, static_loss = (
            torch.cat([((head - 0.1) ** 2).flatten() for head in heads]).mean()
            for heads in (supernet(images, arch), subnet(images))
        )
        assert loss.item() == pytest.approx(static_loss.item(), rel=1e-12)
        loss.backward()
        static_loss.backward()

        expected = copy.deepcopy(supernet)
        expected.zero_grad(set_to_none=True)
        for name, parameter in subnet.named_parameters():
            owner = expected.get_submodule(name.rpartition(".")[0])
            if isinstance(owner, ElasticDepthwiseConv2d):
                shared = owner.active_weight(parameter.shape[0], parameter.shape[-1])
            else:
                shared = expected.get_parameter(name)[tuple(slice(size) for size in parameter.shape)]
            shared.backward(parameter.grad)
        for (name, parameter), wanted in zip(supernet.named_parameters(), expected.parameters(), strict=True):
            found, gradient = (torch.zeros_like(p) if p.grad is None else p.grad for p in (parameter, wanted))
            torch.testing.assert_close(found, gradient, rtol=1e-9, atol=1e-12, msg=name)

        after, static_after = supernet.state_dict(), subnet.state_dict()
        for name, value in after.items():
            if "running" not in name:
                continue
            changed = static_after[name] if name in static_after else value[:0]
            torch.testing.assert_close(value[: len(changed)], changed, rtol=1e-12, atol=1e-12, msg=name)
            assert torch.equal(value[len(changed) :], before[name][len(changed) :]), name
