"""What a larger kernel or expansion costs in measured blocks, against what a device's class models make of it."""

import statistics
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from litepose_ofa.latency_tables.estimation.convolution_models import DeviceModel
from litepose_ofa.latency_tables.estimation.public_data import TimedBlock
from litepose_ofa.latency_tables.estimation.refit import block_sample
from litepose_ofa.latency_tables.estimation.regression import fit_relative


@dataclass(frozen=True, slots=True)
class RatioCheck:
    """Medians, over pairs of blocks that differ in their expansion alone, of the larger's cost over the smaller's."""

    pairs: int
    measured: float
    estimated: float


def depthwise_ratio(blocks: Iterable[TimedBlock], *, larger: int, smaller: int) -> float:
    """Return the cost of a depthwise kernel over a smaller one's at stride 1, from a fit to whole blocks."""
    costs = fit_relative([block_sample(block) for block in blocks]).costs
    return costs[f"{larger}/1"] * larger**2 / (costs[f"{smaller}/1"] * smaller**2)


def expansion_ratio(blocks: Iterable[TimedBlock], model: DeviceModel, *, larger: int, smaller: int) -> RatioCheck:
    """Compare blocks of two expansions and else the same shape."""
    by_choice = {(block.expansion, _shape(block)): block for block in blocks}
    pairs = [
        (block, by_choice[smaller, shape])
        for (expansion, shape), block in by_choice.items()
        if expansion == larger and (smaller, shape) in by_choice
    ]
    return RatioCheck(
        pairs=len(pairs),
        measured=statistics.median(large.ms / small.ms for large, small in pairs),
        estimated=statistics.median(_block_ms(large, model) / _block_ms(small, model) for large, small in pairs),
    )


def _shape(block: TimedBlock) -> Hashable:
    depthwise = block.depthwise
    channels = block.convolutions[-1].out_channels
    return block.in_channels, channels, depthwise.in_size, depthwise.kernel, block.stride


def _block_ms(block: TimedBlock, model: DeviceModel) -> float:
    return sum(model.convolution_ms(convolution)[0] for convolution in block.convolutions)
