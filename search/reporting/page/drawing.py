"""How charts look: their colours and sizes, the kinds that sections share, as Vega-Lite for the page, and as PNG files.

Columns of shared charts are named as a reader is to see them: at the axes, and where a pointer rests on a point.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from altair import SCHEMA_VERSION
from altair.typing import ChartType
from pandas.api.types import is_numeric_dtype

from litepose_ofa.search.reporting.page.section import Block, Chart, charts_of
from litepose_ofa.supernet.files import replacing

VL_VERSION = ".".join(SCHEMA_VERSION.removeprefix("v").split(".")[:2])

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"
GREY = "#8b929a"
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY)
"""Distinct for colour-blind readers, on white as on near black.

Source: Okabe and Ito, Color Universal Design (2008); the grey is ours.
"""

HEIGHT, LOW_HEIGHT, ROW = 320, 220, 30
"""Pixels of a chart, whose width is the page's, and of a row of points in one."""

INK, PNG_INK = "currentColor", "#24292f"
"""The colour of the text around a chart: the page's, light or dark, and that of a picture on white."""

NARROW = 560
"""Pixels of a plot below which legends stand in one column."""

PNG_COLUMNS, PNG_WIDTH = 3, 560
"""Charts beside each other in a PNG, and the pixels of each; one alone is wider by a half."""

CAPTION_LETTER = 6
"""Pixels that a letter of a caption takes."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"


def chart_config(ink: str) -> dict[str, Any]:
    """Return the look of all charts as Vega-Lite's ``config``, for the page or, in another ink, for a picture."""

    def by_width(narrow: float, wide: float) -> Any:
        return {"expr": f"width < {NARROW} ? {narrow} : {wide}"} if ink == INK else wide

    return {
        "font": FONT,
        "background": "transparent" if ink == INK else "white",
        "view": {"stroke": None},
        "axis": {
            "labelColor": ink, "titleColor": ink, "domainColor": ink, "tickColor": ink, "gridColor": ink,
            "domainOpacity": 0.5, "tickOpacity": 0.5, "gridOpacity": 0.1, "labelOpacity": 0.85,
            "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8,
            "labelOverlap": True,
        },
        "axisX": {"grid": False, "tickCount": by_width(4, 8)},
        "legend": {
            "orient": "bottom", "direction": "vertical", "columns": by_width(1, 2), "title": None,
            "labelColor": ink, "titleColor": ink, "labelLimit": 420, "symbolSize": 90, "symbolOpacity": 1,
            "offset": 12, "labelFontSize": by_width(10.5, 12),
        },
        "title": {
            "color": ink, "subtitleColor": ink, "fontSize": 13, "subtitleFontSize": 11, "fontWeight": 600,
            "anchor": "start",
        },
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": ink},
        "range": {"category": list(PALETTE)},
    }  # fmt: skip


def tooltips(frame: pd.DataFrame) -> list[alt.Tooltip]:
    """Return what a pointer is told of a row: all columns of the frame, numbers to four digits."""
    return [
        alt.Tooltip(str(name), format=",.4~r") if is_numeric_dtype(frame[name]) else alt.Tooltip(f"{name}:N")
        for name in frame.columns
    ]


def scatter(
    frame: pd.DataFrame,
    x: str,
    y: str,
    colour: alt.Color,
    *,
    interval: tuple[str, str] | None = None,
    equality: bool = True,
    scale: alt.Scale | None = None,
) -> ChartType:
    """Draw a point a row, with a line over its interval of ``y`` if there is one, and dashed where x is y."""
    scale = scale or alt.Scale(zero=False, nice=True)
    along, up = alt.X(f"{x}:Q", scale=scale), alt.Y(f"{y}:Q", scale=scale)
    layers: list[alt.Chart] = []
    if equality:
        ends = [frame[[x, y]].min(axis=None), frame[[x, y]].max(axis=None)]
        line = alt.Chart(pd.DataFrame({x: ends, y: ends})).mark_line(color=GREY, strokeDash=[4, 4])
        layers.append(line.encode(along, up))
    base = alt.Chart(frame).encode(along, colour)
    if interval is not None:
        low, high = interval
        layers.append(base.mark_rule(opacity=0.6).encode(alt.Y(f"{low}:Q", title=y, scale=scale), y2=f"{high}:Q"))
    layers.append(base.mark_circle(size=60, opacity=0.9).encode(up, tooltip=tooltips(frame)))
    return alt.layer(*layers).properties(height=HEIGHT)


def lines(
    frame: pd.DataFrame,
    x: str,
    y: str,
    curve: str,
    *,
    scale: alt.Scale | None = None,
    ticks: Sequence[float] | None = None,
    point: bool = False,
) -> ChartType:
    """Draw a line a value of ``curve``, in their order; ``ticks`` are those of y, if it needs its own."""
    chart: alt.Chart = (
        alt.Chart(frame, height=LOW_HEIGHT)
        .mark_line(strokeWidth=1.8, point={"size": 40} if point else False)
        .encode(
            alt.X(f"{x}:Q"),
            alt.Y(
                f"{y}:Q",
                scale=scale or alt.Scale(zero=False),
                axis=alt.Axis() if ticks is None else alt.Axis(values=list(ticks)),
            ),
            alt.Color(f"{curve}:N", sort=None),
            tooltip=tooltips(frame),
        )
    )
    return chart


def spec_of(chart: Chart) -> dict[str, Any]:
    """Return a chart's Vega-Lite specification, with all its data, for the page."""
    sized = chart.chart.properties(width="container", description=chart.caption)
    return _plain(sized.properties(autosize=alt.AutoSizeParams(type="fit-x", contains="padding")), INK)


def save_png(path: Path | str, blocks: Sequence[Block], title: str, *, warning: str = "") -> None:
    """Write the charts among the blocks of a section into one picture, side by side, captions above."""
    charts = charts_of(blocks)
    width = PNG_WIDTH if len(charts) > 1 else PNG_WIDTH * 3 // 2
    panels = []
    for each in charts:
        lines = textwrap.wrap(each.caption, width // CAPTION_LETTER)
        named = alt.Title(each.chart.title, subtitle=lines) if isinstance(each.chart.title, str) else alt.Title(lines)
        named.offset = 18  # room for what a chart has above its plot
        panels.append(each.chart.properties(width=width, title=named))
    heading = alt.Title(title, subtitle=warning, subtitleColor=VERMILION, fontSize=16, offset=14)
    picture = alt.concat(*panels, columns=PNG_COLUMNS, spacing=40, padding=16, title=heading)
    spec = _plain(picture.resolve_scale(color="independent", shape="independent", size="independent"), PNG_INK)
    with replacing(path) as temporary:
        temporary.write_bytes(vl_convert.vegalite_to_png(spec, vl_version=VL_VERSION, scale=1.5))


def _plain(chart: Any, ink: str) -> dict[str, Any]:
    with alt.data_transformers.disable_max_rows():
        return {**chart.to_dict(), "config": chart_config(ink)}
