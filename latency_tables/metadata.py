"""What a latency table says of itself: device, runtime, provenance, whole-network fit and its errors."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from supernet.errors import InputError

SCHEMA_VERSION = 1

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
    sources: tuple[str, ...]
    notes: str = ""

    def __post_init__(self) -> None:
        for field, (accepts, allowed) in _FIELDS.items():
            value = getattr(self, field)
            if not accepts(value):
                raise InputError(f"{field} is {value!r}; it must be {allowed}")

    @classmethod
    def from_dict(cls, value: object) -> Self:
        """Build metadata from what ``to_dict`` returns.

        Raises:
            InputError: If the schema version is another, a key is unknown or missing, or a value is impossible.
        """
        if not isinstance(value, Mapping):
            raise InputError(f"the metadata is {type(value).__name__}; it must be a mapping")
        if value.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"schema_version is {value.get('schema_version')!r}; it must be {SCHEMA_VERSION}")
        for key in value:
            if key not in _FIELDS:
                raise InputError(f"unknown key {key!r}; the keys are {', '.join(_FIELDS)}")
        for key in _FIELDS:
            if key not in value:
                raise InputError(f"the key {key!r} is missing")
        sources = value["sources"]
        return cls(**{**value, "sources": tuple(sources) if isinstance(sources, list) else sources})

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata as plain values, in the order of the fields."""
        value = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        value.update(
            sources=list(self.sources),
            fit_errors=dict(self.fit_errors),
            validation_errors=dict(self.validation_errors),
        )
        return value


def is_finite(value: object) -> bool:
    """Say whether a value is a finite number (a bool is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_at_least_zero(value: Any) -> bool:
    return is_finite(value) and value >= 0


def _is_errors(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_text(key) and is_finite(error) for key, error in value.items())


def _one_of(choices: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    return choices.__contains__, " or ".join(choices)


_TEXT = (_is_text, "a text")
_AT_LEAST_ZERO = (_is_at_least_zero, "a number of at least 0")
_ERRORS = (_is_errors, "a mapping of network names to relative errors")

_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "schema_version": (lambda value: type(value) is int and value == SCHEMA_VERSION, str(SCHEMA_VERSION)),
    "device": _TEXT,
    "processor": _TEXT,
    "runtime": _TEXT,
    "runtime_provenance": _one_of(get_args(RuntimeProvenance)),
    "threads": (lambda value: value is None or _is_count(value), "a positive integer, or null on a GPU"),
    "precision": _TEXT,
    "batch": (_is_count, "a positive integer"),
    "clocks": _TEXT,
    "date": (_is_text, "an ISO date in quotes"),
    "made_by": _TEXT,
    "provenance": _one_of(get_args(Provenance)),
    "network_constant_ms": _AT_LEAST_ZERO,
    "network_constant_spread_ms": _AT_LEAST_ZERO,
    "network_scale": (lambda value: is_finite(value) and value > 0, "a number above 0"),
    "network_residual": _AT_LEAST_ZERO,
    "fit_errors": _ERRORS,
    "validation_errors": _ERRORS,
    "sources": (lambda value: isinstance(value, tuple) and all(map(_is_text, value)), "a list of texts"),
    "notes": (lambda value: isinstance(value, str), "a text"),
}
