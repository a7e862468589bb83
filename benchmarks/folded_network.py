"""A network in torch with its batch norms folded, for what torch's own exporters make of it."""

import copy

from torch import nn

from litepose_ofa.supernet.archs.operators import Convolution, operators_of, places_of
from litepose_ofa.supernet.export.onnx_graph import fold_layer
from litepose_ofa.supernet.network.activated_norm import ActivatedNorm
from litepose_ofa.supernet.network.litepose import RELU, LitePose


def fold_batch_norms(subnet: LitePose) -> LitePose:
    """Return a network without batch norms that computes what this one does in eval mode, with the same call.

    Convolutions keep their names and gain a bias; in every norm's place stands its activation, or an identity.
    """
    folded = copy.deepcopy(subnet).eval()
    operators = operators_of(subnet.arch, subnet.num_keypoints)
    for place, operator in zip(places_of(subnet.arch.depths), operators, strict=True):
        for names, convolution in zip(place.layers, operator.convolutions, strict=True):
            kernel, bias = fold_layer(subnet, names, convolution)
            before = subnet.get_parameter(f"{names.convolution}.weight")
            layer = _make_layer(convolution, bias is not None).to(before)
            layer.load_state_dict({"weight": kernel} | ({} if bias is None else {"bias": bias}))
            folded.set_submodule(names.convolution, layer)
            if names.norm is not None:
                folded.set_submodule(names.norm, _activation_of(subnet.get_submodule(names.norm)))
    return folded.eval().requires_grad_(False)


def _activation_of(norm: nn.Module) -> nn.Module:
    assert isinstance(norm, ActivatedNorm)
    if norm.ceiling is None:
        return nn.Identity()
    return nn.ReLU() if norm.ceiling == RELU else nn.ReLU6()


def _make_layer(convolution: Convolution, bias: bool) -> nn.Module:
    c = convolution
    made = nn.ConvTranspose2d if c.kind == "transposed" else nn.Conv2d
    groups = c.in_channels if c.kind == "depthwise" else 1
    return made(c.in_channels, c.out_channels, c.kernel, c.stride, c.padding, groups=groups, bias=bias)
