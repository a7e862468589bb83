"""What the charts of the page share: colours, sizes, and an ink that follows the page's, light or dark."""

from typing import Any

import altair as alt
from altair.typing import ChartType

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"
GREY = "#8b929a"
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY)
"""Distinct for colour-blind readers, on white as on near black.

Source: Okabe and Ito, Color Universal Design (2008); the grey is ours.
"""

INK = "currentColor"
"""The colour of the text around a chart."""

HEIGHT = 320
"""Pixels of a chart; its width is the page's."""

LOW_HEIGHT = 220

NARROW = 560
"""Pixels of a plot below which legends stand in one column."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"

CONFIG: dict[str, Any] = {
    "font": FONT,
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK, "titleColor": INK, "domainColor": INK, "tickColor": INK, "gridColor": INK,
        "domainOpacity": 0.5, "tickOpacity": 0.5, "gridOpacity": 0.1, "labelOpacity": 0.85,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8, "labelOverlap": True,
    },
    "axisX": {"grid": False, "tickCount": {"expr": f"width < {NARROW} ? 4 : 8"}},
    "legend": {
        "orient": "bottom", "direction": "vertical", "columns": {"expr": f"width < {NARROW} ? 1 : 2"}, "title": None,
        "labelColor": INK, "titleColor": INK, "labelLimit": 420, "symbolSize": 90, "symbolOpacity": 1, "offset": 12,
        "labelFontSize": {"expr": f"width < {NARROW} ? 10.5 : 12"},
    },
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12},
    "title": {"color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": INK},
    "range": {"category": list(PALETTE)},
}  # fmt: skip


def percent_axis(title: str) -> dict[str, Any]:
    """Return the arguments of a channel in percent that need not start at 0."""
    return {"title": title, "scale": alt.Scale(zero=False, nice=True)}


def spec_of(chart: ChartType, description: str) -> dict[str, Any]:
    """Return a chart's Vega-Lite specification, with all its data, in the page's manner.

    Args:
        chart: The chart.
        description: What it shows, for those who cannot see it.
    """
    with alt.data_transformers.disable_max_rows():
        spec: dict[str, Any] = chart.to_dict()
    autosize = {"type": "fit-x", "contains": "padding"}
    return {**spec, "description": description, "autosize": autosize, "config": {**spec.get("config", {}), **CONFIG}}
