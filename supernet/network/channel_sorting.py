"""Channel sorting: put a supernet's important channels first, where narrow subnets find them.

Source: Cai et al., Once for All (arXiv:1908.09791), "elastic width"; here it reaches the fusion deconvs and heads too.

A *group* is a set of channels that can only move together, because the same channels are written in one place and read
in others, or meet in a sum. Whatever holds one number or kernel a channel moves along: batch-norm scales, shifts and
running statistics, depthwise kernels. Kernel matrices are shared by all channels and stay.

======================== ========================================= ==============================================
group                    written by                                read by
======================== ========================================= ==============================================
``stage.{s}.{b}.hidden`` ``inv``                                   ``point_conv`` of the block
``stem``                 ``first.2``                               block 0 of stage 0, ``final_raw.1``
``stage.{s}``            ``point_conv`` of all blocks (residuals)  the other blocks, block 0 of the next stage,
                                                                   ``deconv_raw``, ``final_raw.0`` (s = 0),
                                                                   ``deconv_refined.0`` (s = 3)
``deconv.{i}``           ``deconv_refined.{i}``, ``deconv_raw``    ``deconv_refined.{i + 1}``,
                                                                   ``final_refined.{i - 1}``
======================== ========================================= ==============================================

Two neighbouring stages of one largest width, the second with stride 1, are one group, ``stage.2+stage.3``: the largest
network adds the one's output to the other's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from litepose_ofa.supernet.archs.arch import STAGE_STRIDES
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
        for tensor_name, axis in groups[name].tensors:
            tensor = tensors[tensor_name]
            tensor.copy_(tensor.index_select(axis, torch.tensor(order, device=tensor.device)))


@dataclass(frozen=True, slots=True)
class _Group:
    """Channels that move together: the weights that read them, and all other tensors that they run along."""

    name: str
    carriers: tuple[TensorAxis, ...]
    readers: tuple[TensorAxis, ...]

    @property
    def tensors(self) -> tuple[TensorAxis, ...]:
        return self.carriers + self.readers

    def size(self, tensors: dict[str, Tensor]) -> int:
        name, axis = self.readers[0]
        return tensors[name].shape[axis]

    def joined(self, other: "_Group") -> "_Group":
        return _Group(f"{self.name}+{other.name}", self.carriers + other.carriers, self.readers + other.readers)


def _importance(tensors: dict[str, Tensor], group: _Group) -> Tensor:
    """Return the importance of a group's channels, shape (C,); on the CPU and in float64, so that ranks agree."""
    importance = torch.zeros(group.size(tensors), dtype=torch.float64)
    for name, axis in group.readers:
        weight = tensors[name].detach().cpu().to(torch.float64)
        importance += weight.abs().transpose(0, axis).flatten(1).sum(1)
    return importance


def _groups(space: SearchSpace, *, hidden: bool = True, width: bool = True) -> list[_Group]:
    groups: list[_Group] = []
    if hidden:
        groups += _hidden_groups(space)
    if width:
        groups += _stream_groups(space)
        groups += map(_deconv_group, range(len(space.deconv_channels)))
    return groups


def _hidden_groups(space: SearchSpace) -> Iterator[_Group]:
    for s, stage in enumerate(space.stages):
        for b in range(stage.depths[-1]):
            block = f"stage.{s}.{b}"
            depthwise = f"{block}.depth_conv"
            yield _Group(
                f"{block}.hidden",
                carriers=(
                    (f"{block}.inv.0.weight", 0),
                    *_norm(f"{block}.inv.1"),
                    (f"{depthwise}.0.weight", 0),
                    *_norm(f"{depthwise}.1"),
                ),
                readers=((f"{block}.point_conv.0.weight", 1),),
            )


def _stream_groups(space: SearchSpace) -> list[_Group]:
    """Return the groups of the stem and of the stages, those that the largest network adds up joined."""
    widths = [space.stem_channels[-1], *(stage.channels[-1] for stage in space.stages)]
    groups = [_stream_group(space, 0)]
    for s, stride in enumerate(STAGE_STRIDES):
        group = _stream_group(space, s + 1)
        if stride == 1 and widths[s] == widths[s + 1]:
            group = groups.pop().joined(group)
        groups.append(group)
    return groups


def _stream_group(space: SearchSpace, index: int) -> _Group:
    """Return the group of the stem's output (index 0) or of stage ``index - 1``; the heads and deconvs read it raw."""
    depths = [stage.depths[-1] for stage in space.stages]
    carriers: list[TensorAxis] = []
    readers: list[TensorAxis] = []
    if index == 0:
        carriers += (("first.2.weight", 0), *_norm("first.3"))
    else:
        for b in range(depths[index - 1]):
            block = f"stage.{index - 1}.{b}"
            carriers += ((f"{block}.point_conv.0.weight", 0), *_norm(f"{block}.point_conv.1"))
            if b > 0:
                readers.append((f"{block}.inv.0.weight", 1))
    if index < len(depths):
        readers.append((f"stage.{index}.0.inv.0.weight", 1))
    else:
        readers.append(("deconv_refined.0.weight", 0))
    if 1 <= index <= 3:
        readers.append((f"deconv_raw.{3 - index}.weight", 0))
    if index <= 1:
        head = f"final_raw.{1 - index}"
        carriers += _head_carriers(head)
        readers.append((f"{head}.conv.3.weight", 1))
    return _Group("stem" if index == 0 else f"stage.{index - 1}", tuple(carriers), tuple(readers))


def _deconv_group(i: int) -> _Group:
    carriers = [(f"deconv_refined.{i}.weight", 1), (f"deconv_raw.{i}.weight", 1), *_norm(f"deconv_bnrelu.{i}.0")]
    readers: list[TensorAxis] = []
    if i < 2:
        readers.append((f"deconv_refined.{i + 1}.weight", 0))
    if i > 0:
        head = f"final_refined.{i - 1}"
        carriers += _head_carriers(head)
        readers.append((f"{head}.conv.3.weight", 1))
    return _Group(f"deconv.{i}", tuple(carriers), tuple(readers))


def _head_carriers(head: str) -> tuple[TensorAxis, ...]:
    return ((f"{head}.conv.0.weight", 0), *_norm(f"{head}.conv.1"))


def _norm(name: str) -> tuple[TensorAxis, ...]:
    return tuple((f"{name}.{tensor}", 0) for tensor in ("weight", "bias", "running_mean", "running_var"))
