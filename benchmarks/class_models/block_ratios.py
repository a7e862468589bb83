"""What a larger kernel or expansion costs in measured blocks, against what a device's class models make of it."""

import statistics
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from public_data import TimedBlock, cortex_a76_blocks, pi_blocks
from regression import Sample, fit_relative

from litepose_ofa.latency_tables.estimation.convolution_models import DeviceModel
from litepose_ofa.latency_tables.estimation.estimates import ClassModels, DeviceEstimate
from litepose_ofa.supernet.archs.operators import Convolution


@dataclass(frozen=True, slots=True)
class RatioCheck:
    """Medians, over pairs of blocks that differ in their expansion alone, of the larger's cost over the smaller's."""

    pairs: int
    measured: float
    estimated: float


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
    """Return the number of elements that a convolution gives."""
    return convolution.out_channels * convolution.out_size**2


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


def format_block_checks(folder: Path, class_models: ClassModels) -> str:
    """Lay out, as text, what kernels and expansions cost in measured blocks and in the models.

    Args:
        folder: Holds the CSVs that ``public_data`` reads.
        class_models: The models to check.
    """
    pi = DeviceEstimate.of("raspberry_pi_4b", class_models).model
    a76 = DeviceEstimate.of("snapdragon_855_cpu", class_models).model
    on_pi, on_a76 = pi_blocks(folder), [block for block in cortex_a76_blocks(folder) if block.is_plain]
    measured, ours = depthwise_ratio(on_pi, larger=5, smaller=3), pi.depthwise_ratios[1][5]
    checks = [
        ("Raspberry Pi 4", expansion_ratio(on_pi, pi, larger=larger, smaller=smaller), larger, smaller)
        for larger, smaller in ((3, 1), (6, 3))
    ] + [("Cortex-A76", expansion_ratio(on_a76, a76, larger=larger, smaller=3), larger, 3) for larger in (4, 6)]
    return "\n".join(
        [
            "costs of measured blocks against those of the models:",
            f"Raspberry Pi 4: depthwise kernel 5 over 3 {measured:.2f}, here {ours:.2f}",
            *(
                f"{where}: expansion {larger} over {smaller} {check.measured:.2f}, here {check.estimated:.2f} "
                f"(median of {check.pairs} pairs)"
                for where, check, larger, smaller in checks
            ),
        ]
    )


def _shape(block: TimedBlock) -> Hashable:
    depthwise = block.depthwise
    channels = block.convolutions[-1].out_channels
    return block.in_channels, channels, depthwise.in_size, depthwise.kernel, block.stride


def _block_ms(block: TimedBlock, model: DeviceModel) -> float:
    return sum(model.convolution_ms(convolution)[0] for convolution in block.convolutions)
