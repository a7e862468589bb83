"""Charts as Vega-Lite for the page, and as PNG files."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from altair import SCHEMA_VERSION

from litepose_ofa.search.reporting.page.section import INK, NARROW, PALETTE, VERMILION, Block, Chart, charts_of
from litepose_ofa.supernet.files import replacing

VL_VERSION = ".".join(SCHEMA_VERSION.removeprefix("v").split(".")[:2])

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

PNG_COLUMNS = 3
PNG_WIDTH = 560
"""Pixels of a chart of several in a PNG, enough for the names of published subnets; one alone is wider by a half."""

PNG_TITLE_OFFSET = 18
"""Pixels below it, for what a chart has above its plot."""

CAPTION_LETTER = 6
"""Pixels that a letter of a caption takes."""

PNG_INK = "#24292f"
PNG_CONFIG = {**CONFIG, "background": "white", "axisX": {"grid": False, "tickCount": 5}}


def spec_of(chart: Chart) -> dict[str, Any]:
    """Return a chart's Vega-Lite specification, with all its data, for the page."""
    autosize = {"type": "fit-x", "contains": "padding"}
    return {**_plain(chart), "description": chart.caption, "autosize": autosize, "config": CONFIG}


def save_png(path: Path | str, blocks: Sequence[Block], title: str, *, warning: str = "") -> None:
    """Write the charts among the blocks of a section into one picture, side by side."""
    charts = charts_of(blocks)
    width = PNG_WIDTH if len(charts) > 1 else PNG_WIDTH * 3 // 2
    specs = [_plain(chart) for chart in charts]
    spec = {
        "$schema": alt.SCHEMA_URL,
        "title": {"text": title, "subtitle": warning, "subtitleColor": VERMILION, "fontSize": 16, "offset": 14},
        "datasets": {name: data for each in specs for name, data in each["datasets"].items()},
        "concat": [_panel(chart, spec, width) for chart, spec in zip(charts, specs, strict=True)],
        "columns": PNG_COLUMNS,
        "spacing": 40,
        "padding": 16,
        "resolve": {"scale": dict.fromkeys(("color", "shape", "size"), "independent")},
        "config": _fixed(PNG_CONFIG, width),
    }
    with replacing(path) as temporary:
        temporary.write_bytes(vl_convert.vegalite_to_png(spec, vl_version=VL_VERSION, scale=1.5))


def _plain(chart: Chart) -> dict[str, Any]:
    with alt.data_transformers.disable_max_rows():
        return dict(chart.chart.to_dict())


def _panel(chart: Chart, spec: dict[str, Any], width: int) -> dict[str, Any]:
    """Return a chart as a part of a picture, its caption above it."""
    inner = {key: value for key, value in spec.items() if key not in ("$schema", "config", "datasets")}
    lines = textwrap.wrap(chart.caption, width // CAPTION_LETTER)
    small = {"fontSize": 11, "fontWeight": "normal", "offset": PNG_TITLE_OFFSET}
    if "title" in inner:
        title = {**small, "fontSize": 13, "fontWeight": 600, "text": inner["title"], "subtitle": lines}
    else:
        title = {**small, "text": lines}
    return dict(_fixed({**inner, "title": {**title, "subtitleFontSize": 11, "subtitleColor": INK}}, width))


def _fixed(value: Any, width: int) -> Any:
    """Return a part of a specification without what only a page knows: its width and the colour of its text."""
    if isinstance(value, dict):
        if set(value) == {"expr"} and value["expr"].startswith(f"width < {NARROW} ?"):
            narrow, _, wide = value["expr"].partition("?")[2].partition(":")
            return float(narrow if width < NARROW else wide)
        return {key: _fixed(each, width) for key, each in value.items()}
    if isinstance(value, list):
        return [_fixed(each, width) for each in value]
    return {"container": width, INK: PNG_INK}.get(value, value) if isinstance(value, str) else value
