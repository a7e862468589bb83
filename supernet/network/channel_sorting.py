"""Channel sorting: put a supernet's important channels first, where narrow subnets find them.

Source: Cai et al., Once for All (arXiv:1908.09791), "elastic width"; here it reaches the fusion deconvs and heads too.

A *group* is a set of channels that can only move together, because the same channels are written in one place and read
in others, or meet in a sum: ``stage.2.0.hidden`` within a block, the outputs ``stem``, ``stage.2`` (of all its blocks,
which residuals add up) and ``deconv.0``. Whatever holds one number or kernel a channel moves along: batch-norm scales,
shifts and running statistics, depthwise kernels. Kernel matrices are shared by all channels and stay.

Two neighbouring stages of one largest width, the second with stride 1, are one group, ``stage.2+stage.3``: the largest
network adds the one's output to the other's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from litepose_ofa.supernet.archs.operators import Convolution, LayerNames, operators_of, places_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet

TensorAxis = tuple[str, int]
"""A name in the state dict, and the axis of that tensor along which a group's channels lie."""


def channel_orders(supernet: LitePoseSupernet, kind: Literal["hidden", "width"]) -> dict[str, Tensor]:
    """Rank the channels of each group by importance, the most important first; equal ones keep their order.

    The importance of a channel is the L1 norm of the weights that read it, summed over its readers. Depthwise
    convolution and batch norm keep channels apart, so a head's reader is the pointwise convolution behind them.
    Hidden groups are those within bottlenecks, which elastic expansion narrows; elastic width narrows all others.
    """
    tensors, orders = supernet.state_dict(), {}
    for group_name, group in _groups(supernet.space).items():
        if group_name.endswith(".hidden") == (kind == "hidden"):
            # On the CPU and in float64, so that ranks agree.
            weights = [tensors[name].cpu().double().transpose(0, axis) for name, axis in group.readers]
            importance = reduce(torch.add, [weight.abs().flatten(1).sum(1) for weight in weights])
            orders[group_name] = torch.argsort(importance, descending=True, stable=True)
    return orders


@torch.no_grad()
def permute_channels(supernet: LitePoseSupernet, orders: Mapping[str, Tensor]) -> None:
    """Permute channels in place, everything that writes, normalises or reads them included.

    The largest network computes what it did before, up to the rounding of sums in another order. What changes is which
    channels a narrower subnet keeps: that is the purpose, so sort a group before the phase of training that first
    narrows it. A sum across stages that only narrower subnets have also pairs other channels than before.

    Channel i of a named group becomes what channel ``order[i]`` was. Gradients and an optimiser's moments do not move.
    """
    tensors, groups = supernet.state_dict(keep_vars=True), _groups(supernet.space)
    for group_name, order in orders.items():
        for name, axis in (*groups[group_name].carriers, *groups[group_name].readers):
            tensor = tensors[name]
            tensor.copy_(tensor.index_select(axis, order.to(tensor.device)))


@dataclass(slots=True)
class _Group:
    """Channels that move together: the weights that read them, and all other tensors that they run along."""

    names: list[str] = field(default_factory=list)
    carriers: list[TensorAxis] = field(default_factory=list)
    readers: list[TensorAxis] = field(default_factory=list)


def _groups(space: SearchSpace) -> dict[str, _Group]:
    """Follow the channels through the largest network, convolution by convolution; return the groups by name."""
    arch = space.largest()
    outputs: list[_Group] = []
    groups: list[_Group] = []
    for place, operator in zip(places_of(arch.depths), operators_of(arch), strict=True):
        maps = [outputs[i] for i in place.inputs] or [_Group()]
        for layer, convolution, reads in zip(place.layers, operator.convolutions, operator.reads, strict=True):
            maps.append(_follow(layer, convolution, [maps[number] for number in reads]))
        outputs.append(maps[-1])
        if place.kind == "bottleneck":
            maps[1].names.append(f"{place.name}.hidden")
            groups.append(maps[1])
        if place.kind != "head":
            maps[-1].names.append(f"stage.{place.index}" if place.kind == "bottleneck" else place.name)
            groups.append(maps[-1])
    return {"+".join(dict.fromkeys(group.names)): group for group in groups}


def _follow(layer: LayerNames, convolution: Convolution, reads: Sequence[_Group]) -> _Group:
    """Note what a convolution does with the channels of its input; return the group of its output."""
    weight, source = f"{layer.convolution}.weight", reads[0]
    into, out_of = (0, 1) if convolution.kind == "transposed" else (1, 0)
    if convolution.kind == "depthwise":
        written = source
    else:
        source.readers.append((weight, into))
        written = reads[1] if len(reads) > 1 else _Group()  # what is added up moves together
    written.carriers.append((weight, out_of))
    if layer.norm is not None and convolution.norm:
        tensors = ("weight", "bias", "running_mean", "running_var")
        written.carriers += [(f"{layer.norm}.{tensor}", 0) for tensor in tensors]
    return written
