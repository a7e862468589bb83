"""What a larger kernel or expansion costs in measured blocks, against what a device's class models make of it."""

import statistics
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from public_data import TimedBlock
from regression import Sample, fit_relative

from litepose_ofa.latency_tables.estimation import DeviceModel
from litepose_ofa.supernet.archs.operators import Convolution


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


def block_sample(block: TimedBlock) -> Sample:
    """Return what an inverted bottleneck does, in millions: MACs by class, and what LitePose's blocks do not have."""
    dw = block.depthwise
    squeezed = max(8, (dw.out_channels // 4 + 4) // 8 * 8)
    amounts = {
        "overhead_ms": len(block.convolutions),
        "conv": sum(c.macs for c in block.convolutions if c.kind == "conv") / 1e6,
        f"{dw.kernel}/{block.stride}": dw.macs / 1e6,
        "ms_per_mhswish": block.hard_swish * sum(map(outputs, block.convolutions[:-1])) / 1e6,
        "ms_per_mrescaled": block.squeeze_excitation * outputs(dw) / 1e6,
        "ms_per_msqueeze_weight": block.squeeze_excitation * 2 * dw.out_channels * squeezed / 1e6,
    }
    return Sample(block.ms, amounts, f"{block.in_channels}-{block.convolutions[-1].out_channels}-{block.stride}")


def outputs(convolution: Convolution) -> int:
    return convolution.out_channels * convolution.out_size**2
