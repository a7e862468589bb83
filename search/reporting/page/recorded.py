"""What a workspace's records become on the page; one that is missing or damaged becomes a line that says so."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from litepose_ofa.search.reporting.page.section import Block, Prose
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json


def recorded_blocks(
    path: Path,
    build: Callable[[Any], Sequence[Block]],
    *,
    what: str,
    command: str,
    read: Callable[[Path], Any] = read_json,
) -> list[Block]:
    """Return the blocks of a record, or a line on why there are none.

    Args:
        path: The file.
        build: Makes blocks of its content.
        what: What it holds, as ``The accuracy predictor's quality``.
        command: Writes it.
        read: Reads it.
    """
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


def span(frame: pd.DataFrame, *columns: str) -> list[float]:
    """Return the least and the greatest value of some columns: the ends of a line of equal values."""
    values = frame[list(columns)]
    return [float(values.min().min()), float(values.max().max())]
