"""Draws the pictures of ``how_it_works.md``: ``images/{weight_sharing,sandwich,two_loops,intervals}.svg``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.files import replacing

IMAGES = Path(__file__).parent / "images"
DEVICES = Path(__file__).parents[1] / "conf" / "device"
SHADES = ("#dbe7f3", "#9fc0e0", "#3d7ab8")
"""From what only the largest subnet uses to what all of them use."""

LINE, WARM = "#2b3a4a", "#e0a458"
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "litepose", "font.family": "sans-serif", "font.size": 9}


def canvas(columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return panels without axes, a unit of a panel being as long up as across."""
    figure, panels = plt.subplots(1, columns, figsize=(width, height), squeeze=False, layout="constrained")
    for panel in panels[0]:
        panel.set_axis_off()
        panel.set_aspect("equal")
    return figure, list(panels[0])


def cell(panel: Axes, x: float, y: float, width: float, height: float, colour: str, text: str = "") -> None:
    """Draw a rectangle with a text in it."""
    panel.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=LINE, linewidth=0.7))
    panel.text(x + width / 2, y + height / 2, text, ha="center", va="center")


def box(panel: Axes, x: float, y: float, text: str, colour: str = SHADES[0], width: float = 3.4) -> None:
    """Draw a rounded box around a centre."""
    corner = (x - width / 2, y - 0.5)
    style = "round,pad=0.1"
    panel.add_patch(FancyBboxPatch(corner, width, 1.0, style, facecolor=colour, edgecolor=LINE, linewidth=0.8))
    panel.text(x, y, text, ha="center", va="center")


def arrow(
    panel: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    *,
    bend: float = 0,
    rise: float = 6,
) -> None:
    """Draw an arrow, and a text so many points above the middle between its ends."""
    curve = f"arc3,rad={bend}"
    panel.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=LINE, connectionstyle=curve))
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    panel.annotate(text, middle, (0, rise), textcoords="offset points", ha="center", va="center", fontsize=8)


def draw_weight_sharing() -> Figure:
    """Draw what a subnet takes of a layer's width, of a stage's depth, and of a kernel."""
    figure, (width, depth, kernel) = canvas(3, 9.5, 2.9)
    for side, shade in zip((8, 6, 4), SHADES, strict=True):
        cell(width, 0, 8 - side, side, side, shade, "")
    width.set(xlim=(-0.5, 8.5), ylim=(-1.2, 9.4))
    width.set_title("width: the leading channels")
    width.text(4, -0.6, "input channels", ha="center", va="top")
    width.text(-0.4, 4, "output channels", ha="right", va="center", rotation=90)
    for block, shade in enumerate((SHADES[2], SHADES[2], SHADES[1], SHADES[1], SHADES[0], SHADES[0])):
        cell(depth, 1.6 * block, 3.5, 1.2, 2.2, shade, str(block + 1))
    depth.set(xlim=(-0.5, 9.7), ylim=(-1.2, 9.4))
    depth.set_title("depth: the first blocks of a stage")
    for side, shade in zip((7, 5, 3), SHADES, strict=True):
        edge = (7 - side) / 2
        for row in range(side):
            for column in range(side):
                cell(kernel, edge + column, edge + row, 1, 1, shade)
    kernel.set(xlim=(-0.5, 13), ylim=(-1.2, 9.4))
    kernel.set_title("kernel: the centre, through a matrix")
    kernel.text(7.5, 5.6, "5 x 5 = centre of 7 x 7\nthrough 25 x 25", va="center")
    kernel.text(7.5, 1.6, "3 x 3 = centre of that\nthrough 9 x 9", va="center")
    return figure


def draw_sandwich() -> Figure:
    """Draw one training step: who runs on the batch, and who learns from what."""
    figure, (panel,) = canvas(1, 8, 3.2)
    panel.set(xlim=(-2.2, 14), ylim=(-0.8, 5.2))
    box(panel, 0, 2.2, "one batch,\none resolution")
    for y, name, shade in ((4.2, "largest", SHADES[2]), (2.2, "random", SHADES[1]), (0.2, "smallest", SHADES[0])):
        box(panel, 6, y, name, shade)
        arrow(panel, (1.9, 2.2), (4.2, y))
    box(panel, 12, 4.2, "labels", WARM)
    box(panel, 12, 1.2, "labels and the\nlargest's heatmaps", WARM)
    arrow(panel, (7.9, 4.2), (10.1, 4.2))
    arrow(panel, (7.9, 2.2), (10.1, 1.4))
    arrow(panel, (7.9, 0.2), (10.1, 1.0))
    arrow(panel, (7.9, 3.9), (10.1, 1.6))
    return figure


def draw_two_loops() -> Figure:
    """Draw the two loops of a search."""
    figure, (panel,) = canvas(1, 9, 3.4)
    panel.set(xlim=(-2.2, 17.5), ylim=(-1.4, 5.4))
    box(panel, 0, 4, "predictor:\nAP of a genome", width=3.8)
    box(panel, 0, 0, "cost model:\nlatency, MACs, ...", width=3.8)
    box(panel, 7.5, 2, "evolution: thousands\nof candidates", SHADES[1], width=4.6)
    box(panel, 15, 2, "study: evaluated\nsubnets, front", SHADES[2], width=4)
    arrow(panel, (2.1, 3.8), (5.0, 2.5))
    arrow(panel, (2.1, 0.2), (5.0, 1.5))
    arrow(panel, (10.0, 2.2), (12.8, 2.2), "next batch")
    arrow(panel, (14.2, 1.3), (8.5, 1.3), "the front so far", bend=-0.25, rise=-36)
    arrow(panel, (14.2, 2.8), (2.1, 4.4), "what was measured (evaluator=supernet)", bend=0.18, rise=14)
    return figure


def draw_intervals() -> Figure:
    """Draw the published latencies of LitePose beside the tables' estimates and intervals."""
    figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
    for panel, name in zip(panels, ("snapdragon_855", "raspberry_pi_4b", "jetson_nano"), strict=True):
        published = yaml.safe_load((DEVICES / f"{name}.yaml").read_text(encoding="utf-8"))["published"]
        table = LatencyTable.load(name)
        estimates = [table.estimate(published_archs()[f"search-{tier.upper()}"]) for tier in published]
        for tier, (estimate, truth) in enumerate(zip(estimates, published.values(), strict=True)):
            low, middle, high = (100 * ms / truth - 100 for ms in (estimate.low_ms, estimate.ms, estimate.high_ms))
            panel.plot([tier, tier], [low, high], color=SHADES[1], linewidth=5, solid_capstyle="butt")
            panel.plot(tier, middle, "o", color=SHADES[2])
        panel.axhline(0, color=WARM, linewidth=1.5)
        panel.set(title=name, xticks=range(4), ylim=(-16, 16))
        panel.set_xticklabels([tier.upper() for tier in published])
    panels[0].set_ylabel("estimate against published, %")
    return figure


DRAWN: dict[str, Callable[[], Figure]] = {
    "weight_sharing": draw_weight_sharing,
    "sandwich": draw_sandwich,
    "two_loops": draw_two_loops,
    "intervals": draw_intervals,
}


def main() -> None:
    """Draw all of them."""
    with mpl.rc_context(STYLE):
        for name, draw in DRAWN.items():
            figure = draw()
            with replacing(IMAGES / f"{name}.svg") as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None}, facecolor="white")
            plt.close(figure)


if __name__ == "__main__":
    main()
