"""Subnets as block diagrams in SVG, drawn to scale: depth along x, width up and down, kernels in colour.

Legend: sizes are pixels of the drawing; x right, y down.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from typing import Self
from xml.etree.ElementTree import Element, SubElement, tostring

from litepose_ofa.search.reporting.page.section import BLUE, GREEN, GREY, PURPLE, VERMILION
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of

BLOCK, PITCH = 12.0, 15.0
GROUP_GAP, LEAST_GROUP = 8.0, 52.0
"""Between two groups, and the least width of one: its name has to fit below it."""

HEADING = 80.0
"""Left of the blocks, for what the rows are called."""

BODY = 150.0
"""Height of the widest block."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The widest output and the largest expansion: a block and its bar of full height. Those of one scale compare."""

    channels: int
    expansion: int

    @classmethod
    def of(cls, archs: Iterable[Arch], num_keypoints: int = 14) -> Self:
        """Return the scale at which these subnets fill the height."""
        operators = [operator for arch in archs for operator in operators_of(arch, num_keypoints)]
        return cls(max(o.out_channels for o in operators), max(o.expansion for o in operators))

    def height(self, operator: Operator) -> float:
        """Return the height of an operator's block."""
        return BODY * operator.out_channels / self.channels


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks of one name: the stem, a stage, a fusion deconv or a head; and where it begins."""

    name: str
    operators: tuple[Operator, ...]
    left: float = HEADING

    @property
    def is_stage(self) -> bool:
        """Whether its blocks are inverted bottlenecks."""
        return self.operators[0].kind == "bottleneck"

    @property
    def width(self) -> float:
        """Enough for the blocks and the name."""
        return max(LEAST_GROUP, PITCH * len(self.operators))

    @property
    def blocks(self) -> list[tuple[Operator, float]]:
        """The operators and the left edges of their blocks: a stage begins at the left, others are in the middle."""
        start = self.left if self.is_stage else self.left + (self.width - BLOCK) / 2
        return [(operator, start + PITCH * index) for index, operator in enumerate(self.operators)]

    @property
    def entry(self) -> float:
        """The middle of the first block."""
        return self.blocks[0][1] + BLOCK / 2

    @property
    def exit(self) -> float:
        """The middle of the last block."""
        return self.blocks[-1][1] + BLOCK / 2

    @property
    def label_x(self) -> float:
        """Where the middle of the name is: on the blocks, but not left of them."""
        middle = (self.entry + self.exit) / 2
        return max(middle, self.left + LEAST_GROUP / 2 - GROUP_GAP / 2) if self.is_stage else middle


def groups_of(arch: Arch, num_keypoints: int = 14) -> list[Group]:
    """Return the stem, the four stages, the three fusion deconvs and the two heads of a subnet."""
    depths = [len(stage.blocks) for stage in arch.stages]
    stages = [f"stage {s}" for s, depth in enumerate(depths, 1) for _ in range(depth)]
    names = ["stem", *stages, "deconv 1", "deconv 2", "head 0", "deconv 3", "head 1"]
    named = zip(names, operators_of(arch, num_keypoints), strict=True)
    groups = [Group(name, tuple(o for _, o in members)) for name, members in groupby(named, key=lambda pair: pair[0])]
    return sorted(groups, key=lambda group: group.name.startswith("head"))


def describe_subnet(arch: Arch) -> str:
    """Say in a line what a drawing of the subnet shows."""
    stages = ", ".join(f"{len(stage.blocks)} x {stage.channels} channels" for stage in arch.stages)
    deconvs = ", ".join(map(str, arch.deconv_channels))
    return f"{arch.image_size} px input, stem of {arch.stem_channels}, stages of {stages}, fusion deconvs of {deconvs}"


def place_groups(groups: Sequence[Group], widths: Sequence[float]) -> list[Group]:
    """Put groups side by side, each into a column of a width."""
    lefts = accumulate((width + GROUP_GAP for width in widths), initial=HEADING)
    return [replace(group, left=left) for group, left in zip(groups, lefts, strict=False)]


KERNEL_COLOURS = {3: VERMILION, 5: GREEN, 7: BLUE}
OTHER_KERNEL = PURPLE

LANE, LINE, LEGEND, MARGIN = 9.0, 14.0, 22.0, 6.0
"""Between two lines of raw features, of text and of the legend, and around all."""

INSET = 2.0
"""Of the bar in its block."""

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
    width, height = placed[-1].left + placed[-1].width + MARGIN, bottom + 5 * LINE + 2 * LEGEND
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
        x, anchor = (place.left, "start") if place.is_stage else (place.label_x, "middle")
        _text(svg, x, body + LINE, place.name, anchor=anchor, opacity=0.75)
    _draw_legend(svg, archs, scale, body + LINE + LEGEND)
    return tostring(svg, encoding="unicode")


def _canvas(width: float, height: float, name: str, description: str) -> Element:
    size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
    look = {"font-family": "inherit", "font-size": "11", "fill": "currentColor", "role": "img"}
    head = {"xmlns": "http://www.w3.org/2000/svg", "aria-label": f"{name}: {description}"}
    svg = Element("svg", head | size | look)
    _add(svg, "title", name)
    _add(svg, "desc", description)
    return svg


def _add(parent: Element, tag: str, text: str | None = None, **attributes: str | float) -> Element:
    """Add an element; ``_`` in an attribute's name is a hyphen."""
    element = SubElement(parent, tag)
    element.text = text
    for name, value in attributes.items():
        element.set(name.replace("_", "-"), value if isinstance(value, str) else f"{round(value, 2):g}")
    return element


def _draw_group(svg: Element, place: Group, scale: Scale, middle: float, *, shrink: float = 1.0) -> None:
    for index, (operator, left) in enumerate(place.blocks, 1):
        name = f"{place.name}, block {index}" if place.is_stage else place.name
        height = shrink * scale.height(operator)
        top = middle - height / 2
        block = _add(svg, "g")
        block.set("class", operator.kind)
        _add(block, "title", f"{name}: {_describe(operator)}")
        colour = KERNEL_COLOURS.get(operator.kernel, OTHER_KERNEL) if place.is_stage else GREY
        _add(block, "rect", x=left, y=top, width=BLOCK, height=height, rx=1.5, fill=colour)
        if place.is_stage:
            bar = max(height - 2 * INSET, 0) * operator.expansion / scale.expansion
            y = top + height - INSET - bar
            _add(block, "rect", x=left + BLOCK / 2 - 2, y=y, width=4, height=bar, fill="white", fill_opacity="0.85")


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
    svg: Element, placed: Sequence[Group], scale: Scale, middle: float, top: float, bottom: float
) -> None:
    by_name = {place.name: place for place in placed}
    _line(svg, by_name["stem"].entry, middle, by_name["deconv 3"].exit, middle)

    def half(name: str, index: int) -> float:
        return scale.height(by_name[name].operators[index]) / 2

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


def _draw_steps(svg: Element, placed: Sequence[Group], top: float, bottom: float) -> None:
    """Draw a dotted line wherever the maps change their size."""
    for before, after in pairwise(placed):
        if before.operators[-1].out_resolution != after.operators[-1].out_resolution:
            x = after.left - GROUP_GAP / 2
            _line(svg, x, top, x, bottom, dotted=True)


def _draw_labels(svg: Element, placed: Sequence[Group], top: float) -> None:
    for row, heading in enumerate(("kernel", "expansion", "", "channels out", "map side out")):
        _text(svg, MARGIN, top + row * LINE, heading, anchor="start", opacity=0.75)
    for place in placed:
        for operator, left in place.blocks:
            _text(svg, left + BLOCK / 2, top, str(operator.kernel))
            if operator.expansion:
                _text(svg, left + BLOCK / 2, top + LINE, str(operator.expansion))
        last, middle = place.operators[-1], place.label_x
        _text(svg, middle, top + 2 * LINE, place.name, weight="600")
        _text(svg, middle, top + 3 * LINE, str(last.out_channels))
        _text(svg, middle, top + 4 * LINE, f"{last.out_resolution} px")


def _draw_legend(svg: Element, archs: Iterable[Arch], scale: Scale, top: float) -> None:
    kernels = sorted({block.kernel for arch in archs for stage in arch.stages for block in stage.blocks})
    entries = [(f"{kernel}x{kernel}", KERNEL_COLOURS.get(kernel, OTHER_KERNEL)) for kernel in kernels]
    x = MARGIN
    for text, colour in [*entries, ("stem, deconvs, heads", GREY)]:
        _add(svg, "rect", x=x, y=top - 10, width=11, height=11, fill=colour)
        _text(svg, x + 16, top, text, anchor="start")
        x += 30 + 6.2 * len(text)
    meaning = f"Height: channels out, {scale.channels} at most. White bar: expansion, full at {scale.expansion}."
    _text(svg, MARGIN, top + LINE + 2, meaning, anchor="start", opacity=0.75)


def _text(
    svg: Element, x: float, y: float, text: str, *, anchor: str = "middle", weight: str = "400", opacity: float = 1.0
) -> None:
    _add(svg, "text", text, x=x, y=y, text_anchor=anchor, font_weight=weight, opacity=opacity)


def _line(svg: Element, x1: float, y1: float, x2: float, y2: float, *, dotted: bool = False) -> None:
    line = _add(svg, "line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="currentColor", stroke_opacity="0.5")
    if dotted:
        line.attrib |= {"stroke-dasharray": "1 4", "class": "step"}


def _path(svg: Element, corners: Iterable[tuple[float, float]], name: str) -> None:
    points = " ".join(f"{x:g},{y:.2f}" for x, y in corners)
    path = _add(svg, "polyline", points=points, fill="none", stroke="currentColor", stroke_opacity="0.5")
    _add(path, "title", name)
