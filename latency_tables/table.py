"""A latency table: what each operator takes on one device, and what a network of them takes."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Self, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from latency_tables.metadata import Provenance, TableMetadata
from latency_tables.rows import OperatorLatency, read_rows, rows_to_csv
from supernet.arch import Arch
from supernet.errors import InputError
from supernet.files import read_yaml, replacing
from supernet.operators import Operator, operators_of

SHIPPED_DIR = Path(__file__).parent / "tables"

INTERVAL_SIGMAS = 1.2815515655446004
"""Half-width of the 80 % interval of a normal distribution, in standard deviations."""

FloatOrArray = TypeVar("FloatOrArray", float, NDArray[np.float64])


@dataclass(frozen=True, slots=True)
class LatencyEstimate:
    """Latency of one network in ms with its 80 % interval, and whether it rests on measurements or on estimates."""

    ms: float
    low_ms: float
    high_ms: float
    provenance: Provenance


def shipped_tables() -> list[str]:
    """Return the names that ``LatencyTable.load`` knows without a path."""
    return sorted(path.stem for path in SHIPPED_DIR.glob("*.csv"))


class LatencyTable:
    """Latencies of operators on one device; immutable.

    On disk a table is a pair, ``<name>.csv`` (rows) and ``<name>.yaml`` (metadata). Rows are keyed by the operator, not
    by the space that wanted it, so one table serves every space.

    Args:
        metadata: Device, runtime, provenance, whole-network fit.
        rows: Latency of every operator that the table knows.

    Example:
        >>> from supernet.space import SearchSpace
        >>> table = LatencyTable.load("raspberry_pi_4b")
        >>> table.estimate(SearchSpace.preset("tiny").smallest()).provenance
        'calibrated-estimate'
    """

    def __init__(self, metadata: TableMetadata, rows: Mapping[Operator, OperatorLatency]) -> None:
        self.metadata = metadata
        self._rows = dict(rows)

    @classmethod
    def load(cls, name_or_path: Path | str) -> Self:
        """Read a shipped table by its name, or any table by the path of its CSV or YAML.

        Raises:
            InputError: If the name is unknown (the shipped ones are listed) or a file is malformed (file, line and
                field are named).
        """
        csv_path, yaml_path = _pair(_locate(name_or_path))
        value = read_yaml(yaml_path)
        try:
            metadata = TableMetadata.from_dict(value)
        except InputError as error:
            raise InputError(f"{yaml_path}: {error}") from None
        return cls(metadata, read_rows(csv_path))

    def save(self, path: Path | str) -> None:
        """Write the pair of files; ``path`` names either of them or has no suffix."""
        csv_path, yaml_path = _pair(Path(path))
        with replacing(csv_path) as rows_file, replacing(yaml_path) as metadata_file:
            rows_file.write_text(self._csv, encoding="utf-8")
            metadata_file.write_text(self._yaml, encoding="utf-8")

    @property
    def rows(self) -> Mapping[Operator, OperatorLatency]:
        """Latency of every operator that the table knows, read-only."""
        return MappingProxyType(self._rows)

    @cached_property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of both files' text: a name for caches and records."""
        return hashlib.sha256(f"{self._yaml}\0{self._csv}".encode()).hexdigest()[:12]

    def lookup(self, operator: Operator) -> OperatorLatency:
        """Return the latency of one operator.

        Raises:
            InputError: If the table has no such row; the message names the operator and how to add it.
        """
        row = self._rows.get(operator)
        if row is None:
            raise InputError(f"table {self.metadata.device} has no row for {_describe(operator)}; {self._how_to_add()}")
        return row

    def missing(self, operators: Iterable[Operator]) -> list[Operator]:
        """Return those of the operators that the table has no row for, each once, in the given order."""
        return [operator for operator in dict.fromkeys(operators) if operator not in self._rows]

    def network_ms(self, operator_ms: FloatOrArray) -> FloatOrArray:
        """Turn the sum of a network's operators, in ms, into the network's latency; works on floats and arrays."""
        return self.metadata.network_constant_ms + self.metadata.network_scale * operator_ms

    def network_spread_ms(self, network_ms: FloatOrArray, operator_variance: FloatOrArray) -> FloatOrArray:
        """Return one standard deviation of networks' latencies, in ms.

        Args:
            network_ms: What ``network_ms`` returned.
            operator_variance: Sum of ``spread_ms ** 2`` over the operators that run, in ms squared: their errors are
                taken as independent.

        Returns:
            The operators' spread, the error of the network constant and the whole-network residual, added in squares.
        """
        meta = self.metadata
        variance = (
            meta.network_scale**2 * operator_variance
            + meta.network_constant_spread_ms**2
            + (meta.network_residual * network_ms) ** 2
        )
        spread: FloatOrArray = variance**0.5
        return spread

    def network_interval(
        self, network_ms: FloatOrArray, operator_variance: FloatOrArray
    ) -> tuple[FloatOrArray, FloatOrArray]:
        """Return the low and the high end of the 80 % interval in ms; the arguments are those of the spread."""
        half = INTERVAL_SIGMAS * self.network_spread_ms(network_ms, operator_variance)
        low = network_ms - half
        return low * (low > 0), network_ms + half

    def estimate(self, arch: Arch, num_keypoints: int = 14) -> LatencyEstimate:
        """Estimate the latency of a network at batch 1 and its own square input.

        Raises:
            InputError: If an operator of the network is not in the table.
        """
        rows = [self.lookup(operator) for operator in operators_of(arch, num_keypoints)]
        ms = self.network_ms(sum(row.ms for row in rows))
        low_ms, high_ms = self.network_interval(ms, sum(row.spread_ms**2 for row in rows))
        return LatencyEstimate(ms, low_ms, high_ms, self.metadata.provenance)

    @cached_property
    def _csv(self) -> str:
        return rows_to_csv(self._rows)

    @cached_property
    def _yaml(self) -> str:
        return yaml.safe_dump(self.metadata.to_dict(), sort_keys=False, allow_unicode=True, width=120)

    def _how_to_add(self) -> str:
        if self.metadata.provenance == "measured":
            return f"measure it on the {self.metadata.device} and add its row to the table"
        command = f"python scripts/build_latency_table.py device={self.metadata.device}"
        return f"{command} space=... num_keypoints=[...] adds it"


def _locate(name_or_path: Path | str) -> Path:
    path = Path(name_or_path)
    if path.suffix in {".csv", ".yaml"} or len(path.parts) != 1:
        return path
    if path.name not in shipped_tables():
        raise InputError(
            f"unknown latency table {path.name!r}; shipped: {', '.join(shipped_tables())}; "
            "for another give the path of its .csv or .yaml"
        )
    return SHIPPED_DIR / path.name


def _pair(path: Path) -> tuple[Path, Path]:
    stem = path.with_suffix("") if path.suffix in {".csv", ".yaml"} else path
    return stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.yaml")


def _describe(operator: Operator) -> str:
    o = operator
    channels = f"{o.in_channels}/{o.mid_channels}/{o.out_channels}"
    shape = f"resolution {o.resolution}, channels {channels}, kernel {o.kernel}, stride {o.stride}"
    return f"{o.kind} ({shape}, expansion {o.expansion})"
