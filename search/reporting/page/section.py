"""What a page is made of: sections of blocks, how its charts look, and records of a workspace as blocks.

Texts are plain: the page escapes them, and sets what stands between two backticks as code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import altair as alt
import pandas as pd
from altair.typing import ChartType

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"
GREY = "#8b929a"
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY)
"""Distinct for colour-blind readers, on white as on near black.

Source: Okabe and Ito, Color Universal Design (2008); the grey is ours.
"""

INK = "currentColor"
"""The colour of the text around a chart: it follows the page's, light or dark."""

HEIGHT, LOW_HEIGHT = 320, 220
"""Pixels of a chart; its width is the page's."""

NARROW = 560
"""Pixels of a plot below which legends stand in one column."""


@dataclass(frozen=True)
class Prose:
    """A paragraph; a warning has to be seen before anything else."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Listing:
    """A list of points."""

    items: Sequence[str]


@dataclass(frozen=True)
class Link:
    """A cell of a table that leads somewhere: to a relative address, or to ``#`` and an anchor of the page."""

    text: str
    href: str


@dataclass(frozen=True)
class Chart:
    """An interactive chart as wide as the page (width ``"container"``).

    Its caption is shown below it, and read to those who cannot see it.
    """

    chart: ChartType
    caption: str


@dataclass(frozen=True)
class Drawing:
    """A drawing of our own.

    Attributes:
        svg: The ``<svg>`` element; it is trusted, so texts inside must be escaped. It scrolls in its box where the page
            is narrower, and takes its ink from ``currentColor``.
        caption: Shown below it.
    """

    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table, which scrolls in its own box where the page is narrower.

    Attributes:
        frame: One row a line, the index not shown. Cells are texts, numbers (written as they are, so round them), a
            ``Link`` or nothing.
        caption: Shown below it.
    """

    frame: pd.DataFrame
    caption: str


@dataclass(frozen=True)
class Picture:
    """A photograph: a JPEG that becomes part of the page, with a description for those who cannot see it."""

    jpeg: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Grid:
    """Small charts or pictures beside each other, as many as the page has room for."""

    blocks: Sequence[Chart | Picture]


Block: TypeAlias = Prose | Listing | Chart | Drawing | Table | Picture | Grid


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading and an anchor: letters, digits and hyphens."""

    anchor: str
    title: str
    blocks: Sequence[Block]


def charts_of(blocks: Sequence[Block]) -> list[Chart]:
    """Return the charts among some blocks, those in grids too."""
    flat = [inner for block in blocks for inner in (block.blocks if isinstance(block, Grid) else (block,))]
    return [block for block in flat if isinstance(block, Chart)]


def percent_axis(title: str) -> dict[str, Any]:
    """Return the arguments of a channel in percent that need not start at 0."""
    return {"title": title, "scale": alt.Scale(zero=False, nice=True)}


def equality_line(frame: pd.DataFrame, x: str, y: str) -> alt.Chart:
    """Return the dashed line on which two columns are equal."""
    values = frame[[x, y]]
    ends = [float(values.min().min()), float(values.max().max())]
    line: alt.Chart = alt.Chart(pd.DataFrame({x: ends, y: ends})).mark_line(color=GREY, strokeDash=[4, 4])
    return line


def zero_line(column: str) -> alt.Chart:
    """Return the dashed line at 0 of a column."""
    rule: alt.Chart = alt.Chart(pd.DataFrame({column: [0.0]})).mark_rule(color=INK, opacity=0.4, strokeDash=[3, 3])
    return rule


def recorded_blocks(
    path: Path,
    build: Callable[[Any], Sequence[Block]],
    *,
    what: str,
    command: str,
    read: Callable[[Path], Any] = read_json,
) -> list[Block]:
    """Return the blocks of a workspace's record, or a line on why there are none."""
    if not path.exists():
        return [Prose(f"{what}: not recorded in this workspace. `{command}` records it.")]
    try:
        return list(build(read(path)))
    except InputError as error:
        return [Prose(f"{what}: {error}.")]
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return [Prose(f"{what}: {path} is not what `{command}` writes; run it again.")]


def interval(estimate: Mapping[str, float], form: str = ".2f", *, scale: float = 1) -> str:
    """Return a figure and its interval, as ``0.71 (0.60 to 0.80)``."""
    value, low, high = (f"{scale * estimate[key]:{form}}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
