"""What a latency table says of itself: device, runtime, provenance, whole-network fit and its errors."""

import dataclasses
import datetime
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml

from litepose_ofa.supernet.errors import (
    InputError,
    require,
    require_keys,
    shown,
)
from litepose_ofa.supernet.files import read_yaml

SCHEMA_VERSION = 2
"""The version of the file pair that this program writes, and the only one that it reads."""

CHECKSUM_KEY = "checksum"
LARGEST_COUNT = 1_000_000

Provenance = Literal["measured", "calibrated-estimate"]
RuntimeProvenance = Literal["stated", "inferred"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMetadata:
    """The metadata of one table, the YAML half of its file pair.

    A network takes ``network_constant_ms + network_scale x (sum of its operators)``; both are fitted on whole networks.

    Attributes:
        schema_version: Version of the file format, ``SCHEMA_VERSION``.
        device: Name of the board or phone; the shipped tables' file name.
        processor: The unit that computes, as ``Cortex-A72 x 4``.
        runtime: Inference library and version.
        runtime_provenance: Whether the source of the whole-network latencies states the runtime or we infer it.
        threads: CPU threads; None on a GPU.
        precision: Number format of weights and activations.
        batch: Images a run.
        clocks: Clock settings.
        date: ISO date of the measurement or of the fit.
        made_by: Program or person.
        provenance: ``measured`` on the device, or a ``calibrated-estimate`` from published figures.
        network_constant_ms: Milliseconds of a network beyond its operators.
        network_constant_spread_ms: One standard error of that constant.
        network_scale: Milliseconds in a network per millisecond of its operators.
        network_residual: Relative error (one sigma) of whole networks that the fit did not see.
        fit_errors: Relative error, estimated / known - 1, of each network used in the fit.
        validation_errors: The same for networks left out of the fit.
        fitted_rows_error: Cross-validated mean absolute relative error of a measured table's rows that were fitted, not
            measured (those with 0 samples); None where there are none.
        interval_coverage: Share of validation networks whose latency lies in the 80 % interval; None if not counted.
        sources: Where the figures come from.
        notes: What a user should know before trusting the table.
    """

    schema_version: int = SCHEMA_VERSION
    device: str
    processor: str
    runtime: str
    runtime_provenance: RuntimeProvenance
    threads: int | None
    precision: str
    batch: int = 1
    clocks: str
    date: str
    made_by: str
    provenance: Provenance
    network_constant_ms: float = 0.0
    network_constant_spread_ms: float = 0.0
    network_scale: float = 1.0
    network_residual: float = 0.0
    fit_errors: Mapping[str, float]
    validation_errors: Mapping[str, float]
    fitted_rows_error: float | None = None
    interval_coverage: float | None = None
    sources: tuple[str, ...]
    notes: str = ""

    def __post_init__(self) -> None:
        for field, (accepts, allowed) in _FIELDS.items():
            value = getattr(self, field)
            require(accepts(value), field, value, allowed)

    @classmethod
    def from_dict(cls, value: object) -> Self:
        """Build metadata from what ``to_dict`` returns.

        Raises:
            InputError: If the schema version is another, a key is unknown or missing, or a value is impossible.
        """
        if not isinstance(value, Mapping):
            raise InputError(f"the metadata is {type(value).__name__}; it must be a mapping")
        version = value.get("schema_version")
        if type(version) is not int or version != SCHEMA_VERSION:
            raise InputError(f"schema_version is {shown(version)}; this program reads version {SCHEMA_VERSION}")
        require_keys("the metadata", value, _FIELDS)
        sources = value["sources"]
        return cls(**{**value, "sources": tuple(sources) if isinstance(sources, list) else sources})

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata as plain values, in the order of the fields; what may be a fraction is a float."""
        return {field.name: _plain(getattr(self, field.name), field.type) for field in dataclasses.fields(self)}


def metadata_to_yaml(metadata: TableMetadata, checksum: str) -> str:
    """Return the metadata, and the checksum of the table, as YAML text."""
    value = {**metadata.to_dict(), CHECKSUM_KEY: checksum}
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def read_metadata(path: Path) -> tuple[TableMetadata, str]:
    """Read the metadata and the checksum of a YAML.

    Raises:
        InputError: If the file is missing or no YAML, or a field is impossible; the message names file and field.
    """
    value = read_yaml(path)
    checksum = value.pop(CHECKSUM_KEY, None) if isinstance(value, dict) else None
    try:
        metadata = TableMetadata.from_dict(value)
        if not isinstance(checksum, str):
            raise InputError(
                f"{CHECKSUM_KEY} is {shown(checksum)}; it must be what LatencyTable(metadata, rows).save writes"
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return metadata, checksum


def _plain(value: Any, kind: object) -> Any:
    if isinstance(value, Mapping):
        return {name: float(error) for name, error in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return float(value) if kind in (float, float | None) and value is not None else value


def is_finite(value: Any) -> bool:
    """Say whether a value is a finite number (a bool is none, nor is an integer beyond the floats)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_COUNT


def _is_at_least_zero(value: Any) -> bool:
    return is_finite(value) and value >= 0


def _is_share(value: Any) -> bool:
    return _is_at_least_zero(value) and value <= 1


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _is_errors(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_text(key) and is_finite(error) for key, error in value.items())


def _or_none(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


def _one_of(choices: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    return choices.__contains__, " or ".join(choices)


_TEXT = (_is_text, "a text")
_COUNT = (_is_count, f"a positive integer up to {LARGEST_COUNT}")
_AT_LEAST_ZERO = (_is_at_least_zero, "a number of at least 0")
_ERRORS = (_is_errors, "a mapping of network names to relative errors")

_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "schema_version": (lambda value: type(value) is int and value == SCHEMA_VERSION, str(SCHEMA_VERSION)),
    "device": _TEXT,
    "processor": _TEXT,
    "runtime": _TEXT,
    "runtime_provenance": _one_of(get_args(RuntimeProvenance)),
    "threads": (_or_none(_is_count), f"{_COUNT[1]}, or null on a GPU"),
    "precision": _TEXT,
    "batch": _COUNT,
    "clocks": _TEXT,
    "date": (_is_date, "an ISO date in quotes, as '2026-01-31'"),
    "made_by": _TEXT,
    "provenance": _one_of(get_args(Provenance)),
    "network_constant_ms": _AT_LEAST_ZERO,
    "network_constant_spread_ms": _AT_LEAST_ZERO,
    "network_scale": (lambda value: is_finite(value) and value > 0, "a number above 0"),
    "network_residual": _AT_LEAST_ZERO,
    "fit_errors": _ERRORS,
    "validation_errors": _ERRORS,
    "fitted_rows_error": (_or_none(_is_at_least_zero), f"{_AT_LEAST_ZERO[1]}, or null"),
    "interval_coverage": (_or_none(_is_share), "a number from 0 to 1, or null"),
    "sources": (lambda value: isinstance(value, tuple) and all(map(_is_text, value)), "a list of texts"),
    "notes": (lambda value: isinstance(value, str), "a text"),
}
