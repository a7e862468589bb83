"""A measured latency table from what a board sent back."""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from litepose_ofa.latency_tables.metadata import TableMetadata
from litepose_ofa.latency_tables.profiling.fitting import Floats, fit_networks, fit_rows, measured_rows
from litepose_ofa.latency_tables.profiling.measurements import Measurements
from litepose_ofa.latency_tables.rows import OperatorLatency, significant
from litepose_ofa.latency_tables.table import INTERVAL_SHARE, INTERVAL_SIGMAS, LatencyTable
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.errors import InputError, shown

FEWEST_NETWORKS = 4
"""Of fewer, not even the greatest error is one that 80 % of others stay below."""

SAME_IN_ONE_TABLE = ("runtime", "threads", "precision", "processor")


def build_table(
    measurements: Measurements, *, device: str, wanted: Collection[Operator] = (), rng: np.random.Generator
) -> LatencyTable:
    """Return the table of a measured device.

    Args:
        measurements: What a run of a kit brought back, whole networks among it.
        wanted: Operators that the table is to have even if the kit timed only a sample of them; their rows are fitted.
        rng: Divides the timed operators into folds for the error of fitted rows.

    Raises:
        InputError: If too few whole networks were timed, one of them has an operator that was neither timed nor is
            wanted, or too few operators of a kind were timed to fit the others.
    """
    if len(measurements.networks) < FEWEST_NETWORKS:
        raise InputError(
            f"the kit timed {len(measurements.networks)} whole networks; a table needs at least {FEWEST_NETWORKS}"
        )
    timed = measured_rows(measurements)
    fitted, error = fit_rows(timed, wanted, rng)
    sums, variances = _sums(measurements, {**timed, **fitted})
    known = np.array([timing.ms for timing in measurements.networks.values()])
    fit = fit_networks(sums, known)
    estimated = known * (1 + fit.left_out_errors)  # the residual is the least with which enough are in their interval
    needed = ((estimated - known) / INTERVAL_SIGMAS) ** 2
    explained = fit.scale**2 * variances + fit.constant_spread_ms**2
    residual = _conformal(np.sqrt(np.maximum(needed - explained, 0)) / estimated)
    metadata = TableMetadata(
        **_description(measurements),
        device=device,
        made_by="litepose build-table",
        provenance="measured",
        network_constant_ms=round(fit.constant_ms, 4),
        network_constant_spread_ms=round(fit.constant_spread_ms, 4),
        network_scale=round(fit.scale, 4),
        network_residual=round(residual, 4),
        fit_errors=_by_network(measurements, fit.errors),
        validation_errors=_by_network(measurements, fit.left_out_errors),
        fitted_rows_error=error,
        sources=(_source(measurements),),
        notes=(
            f"Constant, scale and residual were fitted on {len(known)} whole networks timed in the same run, named by "
            "the digest of their architecture; validation_errors are of fits that did not see the network."
        ),
    )
    return LatencyTable(metadata, {**timed, **fitted})


def extend_table(
    table: LatencyTable, measurements: Measurements, *, wanted: Collection[Operator] = (), rng: np.random.Generator
) -> LatencyTable:
    """Return a measured table with the operators that another run timed; its network fit stays.

    Timed rows stay, and fitted ones give way to timed ones. Rows that neither run timed err in common, and a table adds
    spreads in squares. So their spread is made so much larger that enough of the run's networks, none of which the
    table was fitted on, are inside their 80 % interval. ``wanted`` and ``rng`` are those of ``build_table``.

    Raises:
        InputError: If the table is an estimate, the run had another runtime, precision, processor or number of threads,
            or too few operators of a kind were timed to fit the others.
    """
    if table.metadata.provenance != "measured":
        raise InputError(f"table {table.metadata.device} is an estimate; measured rows do not belong into it")
    described = _description(measurements)
    for field in SAME_IN_ONE_TABLE:
        before, now = getattr(table.metadata, field), described[field]
        if before != now:
            raise InputError(
                f"table {table.metadata.device} was measured with {field} {shown(before)}, this run with {shown(now)}"
            )
    timed = {operator: row for operator, row in table.rows.items() if row.samples > 0} | measured_rows(measurements)
    fitted, error = fit_rows(timed, {*wanted, *table.rows}, rng)
    sources = (*table.metadata.sources, _source(measurements))
    extended = LatencyTable(table.metadata, {**timed, **fitted}).with_metadata(sources=sources, fitted_rows_error=error)
    factor = _shared_error(extended, measurements)
    wider = {o: replace(row, std_ms=significant(factor * row.std_ms)) for o, row in fitted.items()}
    return LatencyTable(extended.metadata, {**timed, **wider})


def _shared_error(table: LatencyTable, measurements: Measurements) -> float:
    """Return the factor, at least 1, on the spread of fitted rows that a run's networks ask for."""
    meta, needed = table.metadata, []
    for arch, timing in measurements.networks.items():
        rows = [table.lookup(operator) for operator in operators_of(arch, measurements.network_keypoints)]
        shared = meta.network_scale**2 * sum(row.std_ms**2 for row in rows if row.samples == 0)
        if arch.digest in meta.fit_errors or shared == 0:
            continue
        ms = table.network_ms(sum(row.ms for row in rows))
        variance = table.network_spread(ms, sum(row.std_ms**2 for row in rows))[0] ** 2
        wanted = ((ms - timing.ms) / INTERVAL_SIGMAS) ** 2
        needed.append(max(1 + (wanted - variance) / shared, 1.0))
    return math.sqrt(_conformal(np.array(needed))) if len(needed) >= FEWEST_NETWORKS else 1.0


def _sums(measurements: Measurements, rows: dict[Operator, OperatorLatency]) -> tuple[Floats, Floats]:
    """Return the sum of every network's operators in ms and of their variances in ms squared, each of shape (N,)."""
    sums, variances = [], []
    for arch in measurements.networks:
        operators = operators_of(arch, measurements.network_keypoints)
        absent = [operator for operator in operators if operator not in rows]
        if absent:
            raise InputError(
                f"network {arch.digest} of the kit runs {absent[0]}, which was not timed; "
                "name its space in spaces=[...] to have such rows fitted"
            )
        sums.append(sum(rows[operator].ms for operator in operators))
        variances.append(sum(rows[operator].std_ms ** 2 for operator in operators))
    return np.array(sums), np.array(variances)


def _conformal(needed: Floats) -> float:
    """Return what makes an interval hold a network that nobody has seen with 80 %, from what each of N alone needs.

    That is the value at rank 0.8 (N + 1), between two of them in proportion (after Vovk et al., Algorithmic Learning in
    a Random World, 2005, who round up).
    """
    return float(np.quantile(needed, INTERVAL_SHARE, method="weibull"))


def _description(measurements: Measurements) -> dict[str, Any]:
    facts = measurements.facts
    return {
        "processor": str(facts["processor"]),
        "runtime": f"{facts['runtime']} {facts['runtime_version']}",
        "runtime_provenance": "stated",
        "threads": facts["threads"],
        "precision": str(facts["precision"]),
        "clocks": str(facts["clocks"]),
        "date": str(facts["started"])[:10],
    }


def _source(measurements: Measurements) -> str:
    return f"profiling kit {measurements.facts['kit']}, {len(measurements.singles)} operators timed"


def _by_network(measurements: Measurements, errors: Floats) -> dict[str, float]:
    return {arch.digest: round(e, 4) for arch, e in zip(measurements.networks, errors.tolist(), strict=True)}
