"""The rows of a latency table and their CSV: one operator a line, read strictly."""

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar, get_args

from litepose_ofa.supernet.archs.operators import Operator, OperatorKind
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import require_regular

T = TypeVar("T")

KINDS: tuple[OperatorKind, ...] = get_args(OperatorKind)
SHAPE_COLUMNS = ("resolution", "in_channels", "mid_channels", "out_channels", "kernel", "stride", "expansion")
KEY_COLUMNS = ("kind", *SHAPE_COLUMNS)
COLUMNS = (*KEY_COLUMNS, "ms", "spread_ms", "samples")
"""``spread_ms`` is the standard deviation, ``std_ms`` in Python."""
ENERGY_COLUMN = "energy_mj"

_FIRST_LINE = 2  # line 1 is the header
_LARGEST_INTEGER = 1_000_000
_INTEGER = re.compile(r"0|[1-9][0-9]{0,6}")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class OperatorLatency:
    """What one operator takes.

    Attributes:
        ms: Median milliseconds.
        std_ms: One standard deviation; of an operator that was not measured, the error of the model that gave it.
        samples: Runs behind the median; 0 if the operator was not measured but fitted, interpolated or estimated.
        energy_mj: Median millijoules, None where not known.
    """

    ms: float
    std_ms: float
    samples: int
    energy_mj: float | None = None


def describe(operator: Operator) -> str:
    """Return an operator in words, for messages."""
    o = operator
    channels = f"{o.in_channels}/{o.mid_channels}/{o.out_channels}"
    shape = f"resolution {o.resolution}, channels {channels}, kernel {o.kernel}, stride {o.stride}"
    return f"{o.kind} ({shape}, expansion {o.expansion})"


def operator_order(operator: Operator) -> tuple[int, ...]:
    """Sort key of the rows: the kinds in the order they run, then the shape."""
    return (KINDS.index(operator.kind), *_shape(operator))


def rows_to_csv(rows: Mapping[Operator, OperatorLatency]) -> str:
    """Return the rows as CSV text, sorted, so that equal tables are equal bytes.

    The column ``energy_mj`` is there if any row has an energy.
    """
    with_energy = any(row.energy_mj is not None for row in rows.values())
    lines = [",".join((*COLUMNS, ENERGY_COLUMN) if with_energy else COLUMNS)]
    for operator in sorted(rows, key=operator_order):
        row = rows[operator]
        line = f"{operator.kind},{','.join(map(str, _shape(operator)))},{_text(row.ms)},{_text(row.std_ms)}"
        energy = f",{_text(row.energy_mj)}" if with_energy else ""
        lines.append(f"{line},{row.samples}{energy}")
    return "\n".join(lines) + "\n"


def read_rows(path: Path) -> dict[Operator, OperatorLatency]:
    """Read the rows of a CSV.

    Raises:
        InputError: If the file is missing or no CSV, or a row is impossible; the message names file, line and field.
    """
    require_regular(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not CSV (it is not UTF-8 text)") from None
    return parse_rows(text, path)


def parse_rows(text: str, path: Path) -> dict[Operator, OperatorLatency]:
    """Return the rows of CSV text.

    Args:
        text: A header of ``COLUMNS``, and perhaps ``ENERGY_COLUMN``, in any order; then one operator a line.
        path: The file that errors name.

    Raises:
        InputError: As of ``read_rows``.
    """
    columns = _columns(text, path)
    reader = _FieldReader(path, columns)
    kinds = reader.read("kind", KINDS.__contains__, str, f"one of {', '.join(KINDS)}")
    shapes = [reader.integers(name, least=0 if name == "expansion" else 1) for name in SHAPE_COLUMNS]
    operators = list(map(Operator, kinds, *shapes))
    latencies = map(
        OperatorLatency,
        reader.numbers("ms", lambda value: value > 0, "a finite number above 0"),
        reader.numbers("spread_ms", lambda value: value >= 0, "a finite number of at least 0"),
        reader.integers("samples", least=0),
        reader.energies() if ENERGY_COLUMN in columns else [None] * len(operators),
    )
    rows = dict(zip(operators, latencies, strict=True))
    if len(rows) < len(operators):
        _refuse_duplicate(path, operators)
    return rows


class _FieldReader:
    """Turns columns of text into values; the first text that is none is refused with its line."""

    def __init__(self, path: Path, columns: Mapping[str, Sequence[str]]) -> None:
        self._path = path
        self._columns = columns

    def read(self, name: str, accepts: Callable[[str], object], parse: Callable[[str], T], allowed: str) -> list[T]:
        column = self._columns[name]
        values = {text: parse(text) for text in set(column) if accepts(text)}
        try:
            return [values[text] for text in column]
        except KeyError:
            line, text = next((i, text) for i, text in enumerate(column, start=_FIRST_LINE) if text not in values)
            raise InputError(f"{self._path}, line {line}: {name} is {shown(text)}; it must be {allowed}") from None

    def integers(self, name: str, *, least: int) -> list[int]:
        def accepts(text: str) -> bool:
            return bool(_INTEGER.fullmatch(text)) and least <= int(text) <= _LARGEST_INTEGER

        return self.read(name, accepts, int, f"an integer from {least} to {_LARGEST_INTEGER}")

    def numbers(self, name: str, is_allowed: Callable[[float], bool], allowed: str) -> list[float]:
        return self.read(name, lambda text: _is_number(text) and is_allowed(float(text)), float, allowed)

    def energies(self) -> list[float | None]:
        return self.read(
            ENERGY_COLUMN,
            lambda text: not text or (_is_number(text) and float(text) > 0),
            lambda text: float(text) if text else None,
            "a finite number above 0, or empty",
        )


def _shape(operator: Operator) -> tuple[int, ...]:
    o = operator
    return o.resolution, o.in_channels, o.mid_channels, o.out_channels, o.kernel, o.stride, o.expansion


def _text(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


def _columns(text: str, path: Path) -> dict[str, Sequence[str]]:
    """Split CSV text into its columns by name."""
    try:
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except csv.Error as error:
        raise InputError(f"{path}: is not CSV ({error})") from None
    _require_columns(header, path)
    for line, fields in enumerate(lines, start=_FIRST_LINE):
        if len(fields) != len(header):
            raise InputError(f"{path}, line {line}: it has {len(fields)} fields; it must have {len(header)}")
    return dict(zip(header, zip(*lines, strict=True) if lines else [()] * len(header), strict=True))


def _require_columns(found: Sequence[str], path: Path) -> None:
    for column in (*COLUMNS, *found):
        known = column in COLUMNS or column == ENERGY_COLUMN
        if not known or found.count(column) != 1:
            problem = "is unknown" if not known else "stands twice" if column in found else "is missing"
            columns = f"{', '.join(COLUMNS)} and, if known, {ENERGY_COLUMN}"
            raise InputError(f"{path}, line 1: the column {shown(column)} {problem}; the columns are {columns}")


def _refuse_duplicate(path: Path, operators: Sequence[Operator]) -> NoReturn:
    seen: dict[Operator, int] = {}
    for line, operator in enumerate(operators, start=_FIRST_LINE):
        if operator in seen:
            raise InputError(f"{path}, line {line}: the operator of line {seen[operator]} again; a row may stand once")
        seen[operator] = line
    raise AssertionError("no operator stands twice")
