"""The rows of a latency table and their CSV: one operator a line, read strictly."""

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

from litepose_ofa.supernet.archs.operators import Operator, OperatorKind
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import read_text

KINDS: tuple[OperatorKind, ...] = get_args(OperatorKind)
SHAPE_COLUMNS = ("resolution", "in_channels", "mid_channels", "out_channels", "kernel", "stride", "expansion")
KEY_COLUMNS = ("kind", *SHAPE_COLUMNS)
COLUMNS = (*KEY_COLUMNS, "ms", "spread_ms", "samples")
"""``spread_ms`` is the standard deviation, ``std_ms`` in Python."""
ENERGY_COLUMN = "energy_mj"

MAPE_TO_SIGMA = math.sqrt(math.pi / 2)
"""Standard deviation over mean absolute deviation of a normal distribution."""

_shape = attrgetter(*SHAPE_COLUMNS)
_FIRST_LINE = 2  # line 1 is the header
_LARGEST_INTEGER = 1_000_000
_INTEGER = re.compile(r"0|[1-9][0-9]{0,6}")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class OperatorLatency:
    """What one operator takes.

    Attributes:
        ms: Milliseconds; of a measured row the lower quartile over the rounds of each round's median.
        std_ms: One standard deviation; of an operator that was not measured, the error of the model that gave it.
        samples: Runs behind it; 0 if the operator was not measured but fitted, interpolated or estimated.
        energy_mj: Millijoules, None where not known.
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


def significant(value: float) -> float:
    """Round to the digits that a table of fitted or estimated figures keeps."""
    return float(f"{value:.4g}")


def operator_order(operator: Operator) -> tuple[int, ...]:
    """Sort key of the rows: the kinds in the order they run, then the shape."""
    return (KINDS.index(operator.kind), *_shape(operator))


def rows_to_csv(rows: Mapping[Operator, OperatorLatency]) -> str:
    """Return the rows as CSV text, sorted, so that equal tables are equal bytes; energies only if any row has one."""
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
    return parse_rows(read_text(path).removeprefix("\ufeff"), path)


def parse_rows(text: str, path: Path) -> dict[Operator, OperatorLatency]:
    """Return the rows of CSV text; errors are those of ``read_rows`` and name the path.

    The text is a header of ``COLUMNS``, and perhaps ``ENERGY_COLUMN``, in any order; then one operator a line.
    """
    values = {name: _values(path, name, texts) for name, texts in _columns(text, path).items()}
    operators = list(map(Operator, *(values[name] for name in KEY_COLUMNS)))
    energies = values.get(ENERGY_COLUMN, [None] * len(operators))
    latencies = map(OperatorLatency, values["ms"], values["spread_ms"], values["samples"], energies)
    rows = dict(zip(operators, latencies, strict=True))
    if len(rows) < len(operators):
        first: dict[Operator, int] = {}
        lines = ((i, first.setdefault(operator, i)) for i, operator in enumerate(operators, start=_FIRST_LINE))
        line, before = next((i, before) for i, before in lines if i != before)
        raise InputError(f"{path}, line {line}: the operator of line {before} again; a row may stand once")
    return rows


@dataclass(frozen=True, slots=True)
class _Rule:
    """What the texts of a column may be, and what they mean."""

    accepts: Callable[[str], object]
    parse: Callable[[str], Any]
    allowed: str


def _integer(least: int) -> _Rule:
    return _Rule(
        lambda text: _INTEGER.fullmatch(text) and least <= int(text) <= _LARGEST_INTEGER,
        int,
        f"an integer from {least} to {_LARGEST_INTEGER}",
    )


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


_RULES = {
    **dict.fromkeys(SHAPE_COLUMNS, _integer(1)),
    "kind": _Rule(KINDS.__contains__, str, f"one of {', '.join(KINDS)}"),
    "expansion": _integer(0),
    "ms": _Rule(lambda text: _is_number(text) and float(text) > 0, float, "a finite number above 0"),
    "spread_ms": _Rule(_is_number, float, "a finite number of at least 0"),
    "samples": _integer(0),
    ENERGY_COLUMN: _Rule(
        lambda text: not text or (_is_number(text) and float(text) > 0),
        lambda text: float(text) if text else None,
        "a finite number above 0, or empty",
    ),
}


def _values(path: Path, name: str, texts: Sequence[str]) -> list[Any]:
    """Turn the texts of a column into values; the first that is not allowed is refused with its line."""
    rule = _RULES[name]
    values = {text: rule.parse(text) for text in set(texts) if rule.accepts(text)}
    try:
        return [values[text] for text in texts]
    except KeyError:
        line, text = next((i, text) for i, text in enumerate(texts, start=_FIRST_LINE) if text not in values)
        raise InputError(f"{path}, line {line}: {name} is {shown(text)}; it must be {rule.allowed}") from None


def _text(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _columns(text: str, path: Path) -> dict[str, Sequence[str]]:
    """Split CSV text into its columns by name."""
    try:
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except csv.Error as error:
        raise InputError(f"{path}: is not CSV ({error})") from None
    for column in (*COLUMNS, *header):
        known = column in COLUMNS or column == ENERGY_COLUMN
        if not known or header.count(column) != 1:
            problem = "is unknown" if not known else "stands twice" if column in header else "is missing"
            columns = f"{', '.join(COLUMNS)} and, if known, {ENERGY_COLUMN}"
            raise InputError(f"{path}, line 1: the column {shown(column)} {problem}; the columns are {columns}")
    for line, fields in enumerate(lines, start=_FIRST_LINE):
        if len(fields) != len(header):
            raise InputError(f"{path}, line {line}: it has {len(fields)} fields; it must have {len(header)}")
    return dict(zip(header, zip(*lines, strict=True) if lines else [()] * len(header), strict=True))
