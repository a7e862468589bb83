"""The chosen subnets as block diagrams: those of a device below each other, then each by itself."""

from collections.abc import Sequence

from litepose_ofa.search.reporting.page.section import (
    Block,
    Drawing,
    Prose,
    Section,
)
from litepose_ofa.search.reporting.page.subnet_drawing import draw_comparison, draw_subnet
from litepose_ofa.search.reporting.page.subnet_layout import Scale
from litepose_ofa.search.reporting.searches import SearchedCell
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity


def subnets_section(cells: Sequence[SearchedCell]) -> Section:
    """Return the drawings of what searches chose, all at one scale; a subnet chosen twice is drawn by itself once.

    Args:
        cells: Finished searches of one space, budgets of each device ascending.

    Raises:
        InputError: If the architecture file of an export is damaged.
    """
    chosen = [(cell, cell.arch) for cell in cells]
    num_keypoints = cells[0].num_keypoints
    scale = Scale.of((arch for _, arch in chosen), num_keypoints)
    blocks: list[Block] = [
        Prose(
            "Every block is an inverted bottleneck: its height is its width in channels, its colour the depthwise "
            "kernel, the white bar the expansion of its hidden layer. Grey are stem, fusion deconvs and heads. All "
            "drawings have one scale; point at a block for its sizes and MACs."
        )
    ]
    devices = dict.fromkeys(cell.device for cell in cells)
    for device in devices:
        named = [(cell.tier, arch) for cell, arch in chosen if cell.device == device]
        drawing = draw_comparison(named, num_keypoints, name=f"subnets for {device}", scale=scale)
        blocks.append(Drawing(drawing, f"{device}: the chosen subnets at one scale, the smallest budget first."))
    owners: dict[Arch, list[str]] = {}
    for cell, arch in chosen:
        owners.setdefault(arch, []).append(f"{cell.device}/{cell.tier}")
    for arch, names in owners.items():
        drawing = draw_subnet(arch, num_keypoints, name=f"subnet {arch.digest}", scale=scale)
        complexity = measure_complexity(arch, num_keypoints)
        cost = f"{complexity.macs / 1e6:,.4g} MMACs, {complexity.params:,} parameters"
        blocks.append(Drawing(drawing, f"{', '.join(names)}: subnet {arch.digest}, {arch.image_size} px, {cost}."))
    return Section("subnets", "Chosen subnets", blocks)
