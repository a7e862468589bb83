"""Channel sorting: put a supernet's important channels first, where narrow subnets find them.

Source: Cai et al., Once for All (arXiv:1908.09791), "elastic width"; here it reaches the fusion deconvs and heads too.

A *group* is a set of channels that can only move together, because the same channels are written in one place and read
in others, or meet in a sum: ``stage.2.0.hidden`` within a block, the outputs ``stem``, ``stage.2`` (of all its blocks,
which residuals add up) and ``deconv.0``. Whatever holds one number or kernel a channel moves along: batch-norm scales,
shifts and running statistics, depthwise kernels. Kernel matrices are shared by all channels and stay.

Two neighbouring stages of one largest width, the second with stride 1, are one group, ``stage.2+stage.3``: the largest
network adds the one's output to the other's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from litepose_ofa.supernet.archs.operators import Convolution, LayerNames, operators_of, places_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet

TensorAxis = tuple[str, int]
"""A name in the state dict, and the axis of that tensor along which a group's channels lie."""


@dataclass(frozen=True, slots=True)
class ChannelOrders:
    """How channels are to be permuted, group by group; applies to every supernet of one space.

    Attributes:
        permutations: Pairs of a group's name and its order: channel i becomes what channel ``order[i]`` was. Groups
            that are not named stay as they are.
    """

    permutations: tuple[tuple[str, tuple[int, ...]], ...]


def sort_channels(supernet: LitePoseSupernet, *, hidden: bool = True, width: bool = True) -> ChannelOrders:
    """Sort channels by descending importance, in place, and return how they moved; see ``permute_channels``.

    Example:
        >>> import copy
        >>> supernet = LitePoseSupernet(SearchSpace.preset("tiny"))
        >>> average = copy.deepcopy(supernet)
        >>> permute_channels(average, sort_channels(supernet))
    """
    orders = channel_orders(supernet, hidden=hidden, width=width)
    permute_channels(supernet, orders)
    return orders


def channel_orders(supernet: LitePoseSupernet, *, hidden: bool = True, width: bool = True) -> ChannelOrders:
    """Rank every group's channels by importance, the most important first; equal ones keep their order.

    The importance of a channel is the L1 norm of the weights that read it, summed over its readers. Depthwise
    convolution and batch norm keep channels apart, so a head's reader is the pointwise convolution behind them.

    Args:
        supernet: Left as it is.
        hidden: Rank the hidden channels of the bottlenecks (what elastic expansion narrows).
        width: Rank the outputs of stem, stages and fusion deconvs (what elastic width narrows).
    """
    tensors = supernet.state_dict()
    permutations = []
    for group in _groups(supernet.space, hidden=hidden, width=width):
        order = torch.argsort(_importance(tensors, group), descending=True, stable=True)
        permutations.append((group.name, tuple(order.tolist())))
    return ChannelOrders(tuple(permutations))


@torch.no_grad()
def permute_channels(supernet: LitePoseSupernet, orders: ChannelOrders) -> None:
    """Permute channels in place, everything that writes, normalises or reads them included.

    The largest network computes what it did before, up to the rounding of sums in another order. What changes is which
    channels a narrower subnet keeps: that is the purpose, so sort a group before the phase of training that first
    narrows it. A sum across stages that only narrower subnets have (stage 2 of width 32 into stage 3 cut to 32, in
    ``tiny``) also pairs other channels than before.

    Args:
        supernet: Parameters and statistics are written in place. Gradients and an optimiser's moments do not move.
        orders: What ``channel_orders`` returned for this supernet, or for the one that this is a moving average of.

    Raises:
        ValueError: If the orders do not belong to the supernet's space; nothing was moved.
    """
    tensors = supernet.state_dict(keep_vars=True)
    groups = {group.name: group for group in _groups(supernet.space)}
    for name, order in orders.permutations:
        if name not in groups or sorted(order) != list(range(groups[name].size(tensors))):
            raise ValueError(f"the channel order of {name!r} does not fit the space {supernet.space.name!r}")
    for name, order in orders.permutations:
        for tensor_name, axis in (*groups[name].carriers, *groups[name].readers):
            tensor = tensors[tensor_name]
            tensor.copy_(tensor.index_select(axis, torch.tensor(order, device=tensor.device)))


@dataclass(slots=True)
class _Group:
    """Channels that move together: the weights that read them, and all other tensors that they run along."""

    names: list[str] = field(default_factory=list)
    carriers: list[TensorAxis] = field(default_factory=list)
    readers: list[TensorAxis] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "+".join(dict.fromkeys(self.names))

    def size(self, tensors: dict[str, Tensor]) -> int:
        name, axis = self.readers[0]
        return tensors[name].shape[axis]


def _importance(tensors: dict[str, Tensor], group: _Group) -> Tensor:
    """Return the importance of a group's channels, shape (C,); on the CPU and in float64, so that ranks agree."""
    importance = torch.zeros(group.size(tensors), dtype=torch.float64)
    for name, axis in group.readers:
        weight = tensors[name].detach().cpu().to(torch.float64)
        importance += weight.abs().transpose(0, axis).flatten(1).sum(1)
    return importance


def _groups(space: SearchSpace, *, hidden: bool = True, width: bool = True) -> list[_Group]:
    """Follow the channels through the largest network, convolution by convolution."""
    arch = space.largest()
    outputs: list[_Group] = []
    named: dict[int, _Group] = {}
    for place, operator in zip(places_of(arch.depths), operators_of(arch), strict=True):
        maps = [outputs[i] for i in place.inputs] or [_Group()]
        for layer, convolution, reads in zip(place.layers, operator.convolutions, operator.reads, strict=True):
            maps.append(_follow(layer, convolution, [maps[number] for number in reads]))
        outputs.append(maps[-1])
        if hidden and place.kind == "bottleneck":
            maps[1].names.append(f"{place.name}.hidden")
            named[id(maps[1])] = maps[1]
        if width and place.kind != "head":
            maps[-1].names.append(f"stage.{place.index}" if place.kind == "bottleneck" else place.name)
            named[id(maps[-1])] = maps[-1]
    return list(named.values())


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
