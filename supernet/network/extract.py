"""Cut a subnet out of a supernet as a static network, and prove the two equal."""

import torch
from torch import Tensor

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.network.elastic_layers import ElasticDepthwiseConv2d
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose, PoseNetwork


@torch.no_grad()
def extract_subnet(supernet: LitePoseSupernet, arch: Arch) -> LitePose:
    """Copy a subnet's weights into a static network, kernel matrices folded in.

    In eval mode on a CPU its outputs are bit-equal to ``supernet(images, arch)``. It takes over the supernet's shared
    BN statistics, training mode, device and dtype; recalibrate it before it is used.

    Raises:
        ValueError: If the architecture is outside the space.

    Example:
        >>> from litepose_ofa.supernet.archs.space import SearchSpace
        >>> space = SearchSpace.preset("tiny")
        >>> subnet = extract_subnet(LitePoseSupernet(space).eval(), space.smallest())
    """
    if not supernet.space.contains(arch):
        raise ValueError(f"architecture {arch.digest} is not in the space {supernet.space.name!r}")
    source, subnet = supernet.state_dict(), _static_like(supernet, arch)
    for name, target in subnet.state_dict().items():
        owner = supernet.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, ElasticDepthwiseConv2d):
            target.copy_(owner.active_weight(target.shape[0], target.shape[-1]))
        else:
            target.copy_(source[name][tuple(slice(size) for size in target.shape)])
    return subnet


def copy_of(model: PoseNetwork, arch: Arch) -> LitePose:
    """Return a static network of a subnet's weights, or of the static network's own, that shares nothing with it."""
    if isinstance(model, LitePoseSupernet):
        return extract_subnet(model, arch)
    network = _static_like(model, arch)
    network.load_state_dict(model.state_dict())
    return network


def _static_like(model: PoseNetwork, arch: Arch) -> LitePose:
    """Return a network to be given weights, with the model's keypoints, training mode, device and dtype."""
    with torch.random.fork_rng(devices=[]):  # the initial weights are replaced: they cost the caller no random numbers
        network = LitePose(arch, model.num_keypoints)
    reference = next(model.parameters())
    return network.to(device=reference.device, dtype=reference.dtype).train(model.training)


@torch.no_grad()
def is_equal_to_supernet(subnet: LitePose, supernet: LitePoseSupernet, images: Tensor) -> bool:
    """Say whether a subnet, as it was extracted, and its supernet give bit-equal outputs for images in eval mode."""
    modes = subnet.training, supernet.training
    pairs = zip(subnet.eval()(images), supernet.eval()(images, subnet.arch), strict=True)
    equal = all(torch.equal(ours, theirs) for ours, theirs in pairs)
    subnet.train(modes[0])
    supernet.train(modes[1])
    return equal
