"""The rows of a latency table and their CSV: one operator a line, read strictly."""

import csv
import io
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NoReturn, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from supernet.errors import InputError
from supernet.operators import Operator, OperatorKind

KINDS: tuple[OperatorKind, ...] = get_args(OperatorKind)
SHAPE_COLUMNS = ("resolution", "in_channels", "mid_channels", "out_channels", "kernel", "stride", "expansion")
KEY_COLUMNS = ("kind", *SHAPE_COLUMNS)
COLUMNS = (*KEY_COLUMNS, "ms", "spread_ms", "samples")

_FIRST_LINE = 2  # line 1 is the header
_LARGEST_INTEGER = 1_000_000


@dataclass(frozen=True, slots=True)
class OperatorLatency:
    """What one operator takes: median milliseconds, their standard deviation, and how many runs gave them.

    An estimate has 0 samples, and its spread is the error of the model that made it.
    """

    ms: float
    spread_ms: float
    samples: int


def rows_to_csv(rows: Mapping[Operator, OperatorLatency]) -> str:
    """Return the rows as CSV text, sorted, so that equal tables are equal bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for operator in sorted(rows, key=_sort_key):
        writer.writerow([*astuple(operator), *astuple(rows[operator])])
    return text.getvalue()


def read_rows(path: Path) -> dict[Operator, OperatorLatency]:
    """Read the rows of a CSV.

    Raises:
        InputError: If the file is missing or no CSV, or a row is impossible; the message names file, line and field.
    """
    table = _read_csv(path)
    for line, kind in enumerate(table["kind"].tolist(), start=_FIRST_LINE):
        if kind not in KINDS:
            _refuse(path, line, "kind", kind, f"one of {', '.join(KINDS)}")
    shapes = [_integers(path, table[name], least=0 if name == "expansion" else 1) for name in SHAPE_COLUMNS]
    ms = _numbers(path, table["ms"], least=np.nextafter(0, 1), allowed="a finite number above 0")
    spread_ms = _numbers(path, table["spread_ms"], least=0, allowed="a finite number of at least 0")
    samples = _integers(path, table["samples"], least=0)
    operators = list(map(Operator, table["kind"].tolist(), *shapes))
    latencies = map(OperatorLatency, ms, spread_ms, samples)
    rows = dict(zip(operators, latencies, strict=True))
    if len(rows) < len(operators):
        _refuse_duplicate(path, operators)
    return rows


def _sort_key(operator: Operator) -> tuple[int, ...]:
    kind, *shape = astuple(operator)
    return (KINDS.index(kind), *shape)


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' parse errors and bad UTF-8 are ValueErrors
        raise InputError(f"{path}: is not CSV ({' '.join(str(error).split())})") from None
    found = [str(column) for column in table.columns]
    for column in (*COLUMNS, *found):
        if column not in found or column not in COLUMNS:
            problem = "is missing" if column not in found else "is unknown"
            raise InputError(f"{path}: the column {column!r} {problem}; the columns are {', '.join(COLUMNS)}")
    return table


def _integers(path: Path, column: "pd.Series[str]", *, least: int) -> list[int]:
    numbers = pd.to_numeric(column, errors="coerce")
    valid = (numbers >= least) & (numbers <= _LARGEST_INTEGER)
    if numbers.dtype.kind != "i":
        valid &= column.str.fullmatch(r"\d+").fillna(False)
    _require(path, column, valid.to_numpy(), f"an integer from {least} to {_LARGEST_INTEGER}")
    return numbers.astype(np.int64).tolist()


def _numbers(path: Path, column: "pd.Series[str]", *, least: float, allowed: str) -> list[float]:
    numbers = pd.to_numeric(column, errors="coerce")
    _require(path, column, ((numbers >= least) & np.isfinite(numbers)).to_numpy(), allowed)
    return numbers.astype(float).tolist()


def _require(path: Path, column: "pd.Series[str]", valid: NDArray[np.bool_], allowed: str) -> None:
    if not valid.all():
        first = int(valid.argmin())
        _refuse(path, first + _FIRST_LINE, str(column.name), column.iloc[first], allowed)


def _refuse_duplicate(path: Path, operators: list[Operator]) -> NoReturn:
    seen: dict[Operator, int] = {}
    for line, operator in enumerate(operators, start=_FIRST_LINE):
        if operator in seen:
            raise InputError(f"{path}, line {line}: the operator of line {seen[operator]} again; a row may stand once")
        seen[operator] = line
    raise AssertionError("no operator stands twice")


def _refuse(path: Path, line: int, field: str, value: object, allowed: str) -> NoReturn:
    raise InputError(f"{path}, line {line}: {field} is {value!r}; it must be {allowed}")
