"""Subnets as block diagrams in SVG, drawn to scale: depth along x, width up and down, kernels in colour.

Legend: sizes are pixels of the drawing; x right, y down.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from xml.etree.ElementTree import Element, SubElement, tostring

from litepose_ofa.search.reporting.page.section import BLUE, GREEN, GREY, PURPLE, VERMILION
from litepose_ofa.search.reporting.page.subnet_layout import (
    BLOCK,
    BODY,
    GROUP_GAP,
    HEADING,
    PlacedGroup,
    Scale,
    describe_subnet,
    groups_of,
    place_groups,
)
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator

KERNEL_COLOURS = {3: VERMILION, 5: GREEN, 7: BLUE}
OTHER_KERNEL = PURPLE

LANE = 9.0
"""Between two lines of raw features."""

INSET = 2.0
"""Of the bar in its block."""

LINE = 14.0
LEGEND = 22.0
MARGIN = 6.0

RAW_SKIPS = (
    ("stem", ("head 1",)),
    ("stage 1", ("deconv 3", "head 0")),
    ("stage 2", ("deconv 2",)),
    ("stage 3", ("deconv 1",)),
)
"""Which raw features go where, the outermost line first."""

HEAD_FEEDS = (("deconv 2", "head 0"), ("deconv 3", "head 1"))
"""Which refined features the heads take, the outermost line first."""


def draw_subnet(arch: Arch, num_keypoints: int = 14, *, name: str = "subnet", scale: Scale | None = None) -> str:
    """Draw one subnet: every block with its kernel and expansion, the raw features, resolutions and widths.

    Returns:
        An ``<svg>`` element in the ink of the text around it; blocks tell more when pointed at.
    """
    scale = scale or Scale.of([arch], num_keypoints)
    groups = groups_of(arch, num_keypoints)
    placed = place_groups(groups, [group.width for group in groups])
    top = MARGIN + LANE * (len(RAW_SKIPS) + 1)
    bottom = top + BODY + LANE * (len(HEAD_FEEDS) + 1)
    width, height = placed[-1].left + placed[-1].group.width + MARGIN, bottom + 5 * LINE + 2 * LEGEND
    svg = _canvas(width, height, name, describe_subnet(arch))
    middle = top + BODY / 2
    _draw_connections(svg, placed, scale, middle, top, bottom)
    for place in placed:
        _draw_group(svg, place, scale, middle)
    _draw_steps(svg, placed, top, bottom)
    _draw_labels(svg, placed, bottom + LINE)
    _draw_legend(svg, [arch], scale, bottom + 5 * LINE + LEGEND)
    return tostring(svg, encoding="unicode")


def draw_comparison(
    subnets: Sequence[tuple[str, Arch]], num_keypoints: int = 14, *, name: str = "subnets", scale: Scale | None = None
) -> str:
    """Draw subnets below each other at one scale, each stage beginning at one place."""
    archs = [arch for _, arch in subnets]
    scale = scale or Scale.of(archs, num_keypoints)
    rows = [groups_of(arch, num_keypoints) for arch in archs]
    widths = [max(group.width for group in column) for column in zip(*rows, strict=True)]
    row_heights = [0.6 * BODY * Scale.of([arch], num_keypoints).channels / scale.channels + 10 for arch in archs]
    row_heights = [max(height, 3 * LINE) for height in row_heights]
    width = HEADING + sum(widths) + GROUP_GAP * len(widths) + MARGIN
    body = MARGIN + sum(row_heights)
    svg = _canvas(width, body + LINE + 2 * LEGEND, name, "; ".join(f"{n}: {describe_subnet(a)}" for n, a in subnets))
    top = MARGIN
    for (title, arch), groups, row_height in zip(subnets, rows, row_heights, strict=True):
        middle = top + row_height / 2
        placed = place_groups(groups, widths)
        _line(svg, placed[0].entry, middle, placed[-1].exit, middle)
        _text(svg, MARGIN, middle - 2, title, anchor="start", weight="600")
        _text(svg, MARGIN, middle + LINE - 2, f"{arch.image_size} px", anchor="start", opacity=0.75)
        for place in placed:
            _draw_group(svg, place, scale, middle, shrink=0.6)
        top += row_height
    for place in place_groups(rows[0], widths):
        x, anchor = (place.left, "start") if place.group.is_stage else (place.middle, "middle")
        _text(svg, x, body + LINE, place.group.name, anchor=anchor, opacity=0.75)
    _draw_legend(svg, archs, scale, body + LINE + LEGEND)
    return tostring(svg, encoding="unicode")


def _canvas(width: float, height: float, name: str, description: str) -> Element:
    size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
    look = {"font-family": "inherit", "font-size": "11", "fill": "currentColor"}
    head = {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-label": f"{name}: {description}"}
    svg = Element("svg", {**head, **size, **look})
    SubElement(svg, "title").text = name
    SubElement(svg, "desc").text = description
    return svg


def _draw_group(svg: Element, place: PlacedGroup, scale: Scale, middle: float, *, shrink: float = 1.0) -> None:
    for index, (operator, left) in enumerate(place.blocks, 1):
        name = f"{place.group.name}, block {index}" if place.group.is_stage else place.group.name
        _draw_block(svg, operator, name, scale, left, middle, shrink)


def _draw_block(
    svg: Element, operator: Operator, name: str, scale: Scale, left: float, middle: float, shrink: float
) -> None:
    height = shrink * scale.height(operator)
    top = middle - height / 2
    block = SubElement(svg, "g", {"class": operator.kind})
    SubElement(block, "title").text = f"{name}: {_describe(operator)}"
    box = {"x": f"{left:g}", "y": f"{top:.2f}", "width": f"{BLOCK:g}", "height": f"{height:.2f}", "rx": "1.5"}
    if operator.kind != "bottleneck":
        SubElement(block, "rect", {**box, "fill": GREY})
        return
    SubElement(block, "rect", {**box, "fill": KERNEL_COLOURS.get(operator.kernel, OTHER_KERNEL)})
    bar = max(height - 2 * INSET, 0) * operator.expansion / scale.expansion
    place = {"x": f"{left + BLOCK / 2 - 2:g}", "y": f"{top + height - INSET - bar:.2f}", "width": "4"}
    SubElement(block, "rect", {**place, "height": f"{bar:.2f}", "fill": "white", "fill-opacity": "0.85"})


def _describe(operator: Operator) -> str:
    sides = f"{operator.resolution} to {operator.out_resolution} px"
    if operator.kind == "bottleneck":
        hidden = f"expansion {operator.expansion} ({operator.mid_channels} channels)"
        shape = f"{operator.in_channels} to {operator.out_channels} channels, {hidden}"
    elif operator.kind == "stem":
        shape = f"{operator.in_channels} to {operator.out_channels} channels"
    else:
        made = "maps" if operator.kind == "head" else "channels"
        shape = (
            f"{operator.in_channels} refined and {operator.mid_channels} raw channels to {operator.out_channels} {made}"
        )
    kernel = f"{operator.kernel}x{operator.kernel} kernel"
    return f"{shape}, {kernel}, {sides}, {operator.macs / 1e6:.3g} MMACs"


def _draw_connections(
    svg: Element, placed: Sequence[PlacedGroup], scale: Scale, middle: float, top: float, bottom: float
) -> None:
    by_name = {place.group.name: place for place in placed}
    _line(svg, by_name["stem"].entry, middle, by_name["deconv 3"].exit, middle)

    def half(name: str, index: int) -> float:
        return scale.height(by_name[name].group.operators[index]) / 2

    for lane, (source, targets) in enumerate(RAW_SKIPS):
        y = top - LANE * (len(RAW_SKIPS) - lane)
        start = by_name[source].exit
        for target in targets:
            ends = [(start, middle - half(source, -1)), (start, y), (by_name[target].entry, y)]
            _path(svg, [*ends, (by_name[target].entry, middle - half(target, 0))], f"raw {source} to {target}")
    for lane, (source, target) in enumerate(HEAD_FEEDS):
        y = bottom - LANE * (lane + 1)
        ends = [(by_name[source].exit, middle + half(source, -1)), (by_name[source].exit, y)]
        here = by_name[target].entry
        _path(svg, [*ends, (here, y), (here, middle + half(target, 0))], f"refined {source} to {target}")


def _draw_steps(svg: Element, placed: Sequence[PlacedGroup], top: float, bottom: float) -> None:
    """Draw a dotted line wherever the maps change their size."""
    for before, after in pairwise(placed):
        if before.group.out_resolution != after.group.out_resolution:
            x = after.left - GROUP_GAP / 2
            _line(svg, x, top, x, bottom, dotted=True)


def _draw_labels(svg: Element, placed: Sequence[PlacedGroup], top: float) -> None:
    for row, heading in enumerate(("kernel", "expansion", "", "channels out", "map side out")):
        _text(svg, MARGIN, top + row * LINE, heading, anchor="start", opacity=0.75)
    for place in placed:
        for operator, left in place.blocks:
            _text(svg, left + BLOCK / 2, top, str(operator.kernel))
            if operator.expansion:
                _text(svg, left + BLOCK / 2, top + LINE, str(operator.expansion))
        last, middle = place.group.operators[-1], place.label_x
        _text(svg, middle, top + 2 * LINE, place.group.name, weight="600")
        _text(svg, middle, top + 3 * LINE, str(last.out_channels))
        _text(svg, middle, top + 4 * LINE, f"{last.out_resolution} px")


def _draw_legend(svg: Element, archs: Iterable[Arch], scale: Scale, top: float) -> None:
    kernels = sorted({block.kernel for arch in archs for stage in arch.stages for block in stage.blocks})
    entries = [(f"{kernel}x{kernel}", KERNEL_COLOURS.get(kernel, OTHER_KERNEL)) for kernel in kernels]
    x = MARGIN
    for text, colour in [*entries, ("stem, deconvs, heads", GREY)]:
        SubElement(svg, "rect", {"x": f"{x:g}", "y": f"{top - 10:g}", "width": "11", "height": "11", "fill": colour})
        _text(svg, x + 16, top, text, anchor="start")
        x += 30 + 6.2 * len(text)
    meaning = f"Height: channels out, {scale.channels} at most. White bar: expansion, full at {scale.expansion}."
    _text(svg, MARGIN, top + LINE + 2, meaning, anchor="start", opacity=0.75)


def _text(
    svg: Element, x: float, y: float, text: str, *, anchor: str = "middle", weight: str = "400", opacity: float = 1.0
) -> None:
    place = {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor, "font-weight": weight, "opacity": f"{opacity:g}"}
    SubElement(svg, "text", place).text = text


def _line(svg: Element, x1: float, y1: float, x2: float, y2: float, *, dotted: bool = False) -> None:
    ends = {"x1": f"{x1:g}", "y1": f"{y1:g}", "x2": f"{x2:g}", "y2": f"{y2:g}"}
    look = {"stroke-dasharray": "1 4", "class": "step"} if dotted else {}
    SubElement(svg, "line", {**ends, "stroke": "currentColor", "stroke-opacity": "0.5", **look})


def _path(svg: Element, corners: Iterable[tuple[float, float]], name: str) -> None:
    points = " ".join(f"{x:g},{y:.2f}" for x, y in corners)
    look = {"fill": "none", "stroke": "currentColor", "stroke-opacity": "0.5"}
    path = SubElement(svg, "polyline", {"points": points, **look})
    SubElement(path, "title").text = name
