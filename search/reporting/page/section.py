"""What a page is made of: sections of blocks, and records of a workspace as blocks.

Texts are plain: the page escapes them, and sets what stands between two backticks as code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from altair.typing import ChartType

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json


@dataclass(frozen=True)
class Link:
    """A cell of a table that leads to a relative address."""

    text: str
    href: str


@dataclass(frozen=True)
class Chart:
    """An interactive chart as wide as the page; its caption is also read to those who cannot see it."""

    chart: ChartType
    caption: str


@dataclass(frozen=True)
class Table:
    """A table without the frame's index; cells are texts, numbers (shown as they are), a ``Link`` or nothing."""

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


Block: TypeAlias = str | list[str] | Chart | Table | Picture | Grid
"""A part of a section; a text is a paragraph, a list of them is one of points."""


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


def recorded_blocks(
    path: Path,
    build: Callable[[Any], Sequence[Block]],
    *,
    what: str,
    command: str,
    read: Callable[[Path], Any] = read_json,
) -> list[Block]:
    """Return the blocks of a workspace's record, or a line on why there are none.

    Args:
        path: The record.
        build: Makes blocks of its content.
        what: Begins a sentence about it.
        command: Writes it.
        read: Reads the file.
    """
    if not path.exists():
        return [f"{what}: not recorded in this workspace. `{command}` records it."]
    try:
        return list(build(read(path)))
    except InputError as error:
        return [f"{what}: {error}."]
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return [f"{what}: {path} is not what `{command}` writes; run it again."]
