"""A latency table: what each operator takes on one device, and what a network of them takes."""

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables.interpolation import Interpolator
from litepose_ofa.latency_tables.metadata import Provenance, TableMetadata, locate, metadata_to_yaml, read_metadata
from litepose_ofa.latency_tables.rows import OperatorLatency, describe, parse_rows, read_rows, rows_to_csv
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.files import MARK, naming, write_text

SHIPPED_DIR = Path(__file__).parent / "tables"

INTERVAL_SHARE = 0.8
"""Of new networks, inside their interval."""

INTERVAL_SIGMAS = 1.2815515655446004
"""Half-width of the 80 % interval of a normal distribution, in standard deviations."""

LEAST_STD_MS = 1e-9
"""Stands for no spread at all where a probability divides by it."""

FloatOrArray = TypeVar("FloatOrArray", float, NDArray[np.float64])


@dataclass(frozen=True, slots=True)
class LatencyEstimate:
    """Latency of one network, and what it rests on.

    Attributes:
        ms: Milliseconds, of the statistic that the table's rows are of.
        low_ms: Low end of the 80 % interval.
        high_ms: High end of the 80 % interval.
        provenance: The table's; of a measured table ``fitted`` where an operator of the network was not measured.
        unmeasured: How many of the network's operators have no measurement of their own: their rows were fitted or
            estimated, or the operator was interpolated between rows.
    """

    ms: float
    low_ms: float
    high_ms: float
    provenance: Provenance | Literal["fitted"]
    unmeasured: int


def shipped_tables() -> list[str]:
    """Return the names that ``LatencyTable.load`` knows without a path."""
    return sorted(path.stem for path in SHIPPED_DIR.glob("*.csv"))


class LatencyTable:
    """Latencies of operators on one device; immutable.

    On disk a table is a pair, ``<name>.csv`` (rows) and ``<name>.yaml`` (metadata, and a checksum of both). The YAML is
    written before the rows get their name: until then, its checksum names the file beside that has them. Rows are keyed
    by the operator, not by the space that wanted it, so one table serves every space.

    Example:
        >>> from litepose_ofa.supernet.archs.space import SearchSpace
        >>> table = LatencyTable.load("raspberry_pi_4b")
        >>> table.estimate(SearchSpace.preset("tiny").smallest()).provenance
        'calibrated-estimate'
    """

    def __init__(self, metadata: TableMetadata, rows: Mapping[Operator, OperatorLatency]) -> None:
        self.metadata = metadata
        self._rows = dict(rows)
        self._interpolator = Interpolator(self._rows)

    @classmethod
    def load(cls, name_or_path: Path | str) -> Self:
        """Read a shipped table by its name, or any table by the path of its CSV or YAML.

        Raises:
            InputError: If the name is unknown (the shipped ones are listed), a file is malformed (file, line and field
                are named), or the content is not what the checksum was made of.
        """
        csv_path, yaml_path = _pair(locate(name_or_path, SHIPPED_DIR, "latency table", (".csv", ".yaml")))
        metadata, checksum = read_metadata(yaml_path)
        waiting = _waiting(csv_path, checksum)
        table = cls(metadata, read_rows(waiting if waiting.exists() else csv_path))
        if checksum != table.checksum:
            raise InputError(
                f"{yaml_path}: the checksum does not fit this file and {csv_path.name}: they were changed since they "
                "were written; change a table in Python and write both with LatencyTable(metadata, rows).save(path)"
            )
        return table

    def save(self, path: Path | str) -> None:
        """Write the pair of files, so that at any moment the old table or the new one is there.

        Args:
            path: Either of the files, or both without a suffix.

        Raises:
            InputError: If a row could not be read back; the message names its line and field.
        """
        csv_path, yaml_path = _pair(Path(path))
        parse_rows(self._csv, csv_path)
        waiting = _waiting(csv_path, self.checksum)
        with naming(csv_path, instead_of=waiting):
            write_text(waiting, self._csv)
        try:
            write_text(yaml_path, metadata_to_yaml(self.metadata, self.checksum))
        except BaseException:
            waiting.unlink()
            raise
        os.replace(waiting, csv_path)
        for left in csv_path.parent.glob(_waiting(csv_path, "*").name):
            left.unlink(missing_ok=True)

    def with_metadata(self, **changes: Any) -> Self:
        """Return the table with other values of some fields of its metadata."""
        return type(self)(self.metadata.model_copy(update=changes), self._rows)

    @property
    def rows(self) -> Mapping[Operator, OperatorLatency]:
        """Latency of every operator that the table knows, read-only."""
        return MappingProxyType(self._rows)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of what the table says, whatever its files look like: no number can change behind its back."""
        content = json.dumps(self.metadata.to_dict(), sort_keys=True) + self._csv
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the checksum: a name for caches and records."""
        return self.checksum.removeprefix("sha256:")[:12]

    def lookup(self, operator: Operator) -> OperatorLatency:
        """Return the latency of one operator: its row, or else an interpolation between the rows around it.

        Raises:
            InputError: If it is outside of what the table knows; the message names the operator and how to add it.
        """
        row = self._rows.get(operator) or self._interpolator.interpolate(operator)
        if row is None:
            remedy = f"litepose estimate-tables device={self.metadata.device} space=... num_keypoints=[...] adds it"
            if self.metadata.provenance == "measured":
                remedy = "litepose profile space=... runtime=... table=... measures what is missing"
            raise InputError(
                f"table {self.metadata.device} has no row for {describe(operator)}, nor rows around it to interpolate "
                f"between; {remedy}"
            )
        return row

    def is_interpolated(self, operator: Operator) -> bool:
        """Say whether ``lookup`` answers without a row of the operator's own."""
        return operator not in self._rows and self._interpolator.interpolate(operator) is not None

    def network_ms(self, operator_ms: FloatOrArray) -> FloatOrArray:
        """Turn the sum of a network's operators, in ms, into the network's latency; works on floats and arrays."""
        return self.metadata.network_constant_ms + self.metadata.network_scale * operator_ms

    def network_spread(
        self, network_ms: FloatOrArray, operator_variance: FloatOrArray
    ) -> tuple[FloatOrArray, FloatOrArray]:
        """Return one standard deviation of networks' latencies, in ms, and on how many degrees of freedom it rests.

        The standard deviation is the operators' spread, the error of the network constant and the whole-network
        residual, added in squares. The operators' spread counts as known, the other two as estimated from the networks
        that were left out of the fit in turn; the degrees of their sum are Welch and Satterthwaite's.

        Source: JCGM 100:2008, Guide to the expression of uncertainty in measurement, G.4.1.

        Args:
            network_ms: What ``network_ms`` returned.
            operator_variance: Sum of ``std_ms ** 2`` over the operators that run, in ms squared. Their errors are
                taken as independent, also where one operator runs several times: what operators share is part of the
                whole-network residual.
        """
        meta = self.metadata
        fitted = meta.network_constant_spread_ms**2 + (meta.network_residual * network_ms) ** 2
        variance = meta.network_scale**2 * operator_variance + fitted
        least = LEAST_STD_MS**2
        degrees = meta.residual_degrees * (np.maximum(variance, least) / np.maximum(fitted, least)) ** 2
        return variance**0.5, degrees

    def estimate(self, arch: Arch, num_keypoints: int = 14) -> LatencyEstimate:
        """Estimate the latency of a network at batch 1 and its own square input.

        Raises:
            InputError: If the table can say nothing of an operator of the network.
        """
        ms, variance, unmeasured = self._sums(arch, num_keypoints)
        low_ms, high_ms = map(float, interval(ms, *self.network_spread(ms, variance)))
        known = self.metadata.provenance
        return LatencyEstimate(
            ms, low_ms, high_ms, "fitted" if known == "measured" and unmeasured else known, unmeasured
        )

    def probability_within(self, arch: Arch, budget_ms: float, num_keypoints: int = 14) -> float:
        """Return the probability that a network takes at most ``budget_ms``.

        Raises:
            InputError: If the budget is not positive, or the table can say nothing of an operator of the network.
        """
        require(budget_ms > 0, "budget_ms", budget_ms, "a number above 0")
        ms, variance, _ = self._sums(arch, num_keypoints)
        return float(probability_within(ms, *self.network_spread(ms, variance), budget_ms))

    def _sums(self, arch: Arch, num_keypoints: int) -> tuple[float, float, int]:
        """Return a network's latency in ms, its operators' variance in ms squared, and how many are not measured."""
        operator_ms, variance, unmeasured = 0.0, 0.0, 0
        for row in map(self.lookup, operators_of(arch, num_keypoints)):  # sum() rounds otherwise from Python 3.12 on
            operator_ms, variance = operator_ms + row.ms, variance + row.std_ms**2
            unmeasured += row.samples == 0
        return self.network_ms(operator_ms), variance, unmeasured

    @cached_property
    def _csv(self) -> str:
        return rows_to_csv(self._rows)


def interval(ms: FloatOrArray, std_ms: FloatOrArray, degrees: FloatOrArray) -> tuple[FloatOrArray, FloatOrArray]:
    """Return the low and the high end of the 80 % interval of latencies, in ms, by Student's t distribution.

    The arguments after the first are those that ``LatencyTable.network_spread`` returns.
    """
    from scipy.special import stdtrit  # slow to import

    sigmas: Any = stdtrit(degrees, (1 + INTERVAL_SHARE) / 2)
    half = sigmas * std_ms
    low = ms - half
    return low * (low > 0), ms + half


def probability_within(ms: FloatOrArray, std_ms: FloatOrArray, degrees: FloatOrArray, budget_ms: float) -> FloatOrArray:
    """Return the probability that latencies keep a budget, by the t distribution of the interval.

    The budget that is the interval's high end is kept with probability 0.9.
    """
    from scipy.special import stdtr  # slow to import

    probability: FloatOrArray = stdtr(degrees, (budget_ms - ms) / np.maximum(std_ms, LEAST_STD_MS))
    return probability


def _waiting(csv_path: Path, checksum: str) -> Path:
    """Return where rows are before they have their name: one that tells the table and its checksum."""
    return csv_path.with_name(f"{MARK}{zlib.crc32(csv_path.name.encode()):08x}-{checksum.removeprefix('sha256:')}.rows")


def _pair(path: Path) -> tuple[Path, Path]:
    stem = path.with_suffix("") if path.suffix in {".csv", ".yaml"} else path
    return stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.yaml")
