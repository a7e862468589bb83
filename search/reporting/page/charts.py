"""The kinds of charts that sections share.

Columns are named as a reader is to see them: the names become the titles of axes and what a pointer is told.
"""

from collections.abc import Sequence

import altair as alt
import pandas as pd
from altair.typing import ChartType
from pandas.api.types import is_numeric_dtype

from litepose_ofa.search.reporting.page.drawing import GREY, HEIGHT, LOW_HEIGHT

ROW = 30
"""Pixels of a row of points."""


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
