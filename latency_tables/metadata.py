"""What a latency table says of itself: device, runtime, provenance, whole-network fit and its errors."""

import datetime
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, Strict

from litepose_ofa.supernet.errors import InputError, located, require, shown
from litepose_ofa.supernet.files import read_yaml
from litepose_ofa.supernet.validation import Allowed, Checked, Fraction, NonNegative, Positive, Text, validate

SCHEMA_VERSION: Literal[2] = 2
"""The version of the file pair that this program writes, and the only one that it reads."""

CHECKSUM_KEY = "checksum"
Provenance = Literal["measured", "calibrated-estimate"]
Number = Annotated[int, Field(ge=1, le=1_000_000)]
Errors = Annotated[dict[Text, float], Allowed("a mapping of network names to relative errors")]


def _iso_date(text: str) -> str:
    if datetime.date.fromisoformat(text).isoformat() != text:
        raise ValueError(text)
    return text


class TableMetadata(Checked):
    """The metadata of one table, the YAML half of its file pair.

    A network takes ``network_constant_ms + network_scale x (sum of its operators)``; both are fitted on whole networks.

    Attributes:
        device: Name of the board or phone; the shipped tables' file name.
        processor: The unit that computes, as ``Cortex-A72 x 4``.
        runtime: Inference library and version.
        runtime_provenance: Whether the source of the whole-network latencies states the runtime or we infer it.
        threads: CPU threads; None on a GPU.
        date: Of the measurement or of the fit.
        provenance: ``measured`` on the device, or a ``calibrated-estimate`` from published figures.
        network_constant_ms: Milliseconds of a network beyond its operators.
        network_constant_spread_ms: One standard error of that constant.
        network_scale: Milliseconds in a network per millisecond of its operators.
        network_residual: Relative error (one sigma) of whole networks that the fit did not see: of an estimate the root
            mean square of ``validation_errors``, of a measured table so much that the interval holds 80 % of them.
        fit_errors: Relative error, estimated / known - 1, of each network used in the fit.
        validation_errors: The same for networks left out of the fit, each by a fit to the others.
        fitted_rows_error: Cross-validated mean absolute relative error of a measured table's rows that were fitted, not
            measured (those with 0 samples); None where there are none.
        interval_coverage: Share of validation networks whose latency lies in the 80 % interval; None if not counted.
        notes: What a user should know before trusting the table.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    device: Text
    processor: Text
    runtime: Text
    runtime_provenance: Literal["stated", "inferred"]
    threads: Number | None
    precision: Text
    batch: Number = 1
    clocks: Text
    date: Annotated[str, AfterValidator(_iso_date), Allowed("an ISO date in quotes, as '2026-01-31'")]
    made_by: Text
    provenance: Provenance
    network_constant_ms: NonNegative = 0.0
    network_constant_spread_ms: NonNegative = 0.0
    network_scale: Positive = 1.0
    network_residual: NonNegative = 0.0
    fit_errors: Errors
    validation_errors: Errors
    fitted_rows_error: NonNegative | None = None
    interval_coverage: Fraction | None = None
    sources: Annotated[tuple[Text, ...], Strict(False)]
    notes: str = ""

    @property
    def networks(self) -> int:
        """The number of whole networks that the residual rests on; 0 where it was stated, not found on networks."""
        return len(self.validation_errors)

    @property
    def residual_degrees(self) -> float:
        """Degrees of freedom of the residual: infinite where it is no mean square, or was stated.

        The errors of left-out networks have the error of the fit in them. Of n of them, relative to a fitted scale, a
        new network's error over the root mean square is Student's t of n - 1 degrees times sqrt(1 - 1 / n**2).
        """
        return max(self.networks - 1, 1) if self.networks and self.provenance != "measured" else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata as plain values, in the order of the fields; what may be a fraction is a float."""
        return {**self.model_dump(), "sources": list(self.sources)}


def locate(name_or_path: Path | str, folder: Path, what: str, suffixes: tuple[str, ...]) -> Path:
    """Return the path that is given, or that of a shipped file, with the first suffix, whose name is given.

    Raises:
        InputError: If the name is of none of them; the message lists them.
    """
    path = Path(name_or_path)
    if path.suffix in suffixes or len(path.parts) != 1:
        return path
    shipped = sorted(file.stem for file in folder.glob(f"*{suffixes[0]}"))
    if path.name not in shipped:
        another = f"for another give the path of its {' or '.join(suffixes)}"
        raise InputError(f"unknown {what} {path.name!r}; shipped: {', '.join(shipped)}; {another}")
    return folder / f"{path.name}{suffixes[0]}"


def metadata_to_yaml(metadata: TableMetadata, checksum: str) -> str:
    """Return the metadata, and the checksum of the table, as YAML text."""
    value = {**metadata.to_dict(), CHECKSUM_KEY: checksum}
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def read_metadata(path: Path) -> tuple[TableMetadata, str]:
    """Read the metadata and the checksum of a YAML.

    Raises:
        InputError: If the file is missing or no YAML, the schema version is another, or a field is unknown, missing or
            impossible; the message names file and field.
    """
    value = read_yaml(path)
    checksum = value.pop(CHECKSUM_KEY, None) if isinstance(value, dict) else None
    with located(path):
        version = value.get("schema_version") if isinstance(value, dict) else SCHEMA_VERSION
        if version != SCHEMA_VERSION:
            raise InputError(f"schema_version is {shown(version)}; this program reads version {SCHEMA_VERSION}")
        metadata = validate(TableMetadata, value)
        written = "what LatencyTable(metadata, rows).save writes"
        require(isinstance(checksum, str), CHECKSUM_KEY, checksum, written)
    return metadata, str(checksum)
