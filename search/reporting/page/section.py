"""What a page is made of: sections, and the blocks inside them.

Texts are plain: the page escapes them, and sets what stands between two backticks as code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd
from altair.typing import ChartType


@dataclass(frozen=True)
class Prose:
    """A paragraph.

    Attributes:
        text: The paragraph.
        is_warning: Whether it has to be seen before anything else.
    """

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Listing:
    """A list of points.

    Attributes:
        items: The points.
    """

    items: Sequence[str]


@dataclass(frozen=True)
class Link:
    """A cell of a table that leads somewhere.

    Attributes:
        text: What is shown.
        href: A relative address, or ``#`` and an anchor of the page.
    """

    text: str
    href: str


@dataclass(frozen=True)
class Chart:
    """An interactive chart.

    Attributes:
        chart: Its width is "container", so that it follows the page's; see ``charts`` for colours and sizes.
        caption: What it shows: below it, and for those who cannot see it.
    """

    chart: ChartType
    caption: str


@dataclass(frozen=True)
class Drawing:
    """A drawing of our own.

    Attributes:
        svg: The ``<svg>`` element; it is trusted, so texts inside must be escaped. It scrolls in its box where the page
            is narrower, and takes its ink from ``currentColor``.
        caption: What it shows.
    """

    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table, which scrolls in its own box where the page is narrower.

    Attributes:
        frame: One row a line, the index not shown. Cells are texts, numbers (written as they are, so round them), a
            ``Link`` or nothing.
        caption: What it shows.
    """

    frame: pd.DataFrame
    caption: str


@dataclass(frozen=True)
class Picture:
    """A photograph.

    Attributes:
        jpeg: The file's bytes; they become part of the page.
        alt: What is on it, for those who cannot see it.
        caption: What it shows.
    """

    jpeg: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Grid:
    """Small charts or pictures beside each other, as many as the page has room for.

    Attributes:
        blocks: The charts or pictures.
    """

    blocks: Sequence[Chart | Picture]


Block: TypeAlias = Prose | Listing | Chart | Drawing | Table | Picture | Grid


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Attributes:
        anchor: Its address on the page: letters, digits and hyphens.
        title: Its heading.
        blocks: What stands below it.
    """

    anchor: str
    title: str
    blocks: Sequence[Block]
