"""The rows of ``host_cpu`` for a space that nobody timed there: how good they are, and the command that adds them.

    python benchmarks/data/fitted_rows.py                # the errors
    python benchmarks/data/fitted_rows.py --add small    # writes the shipped pair

Rows are fitted to the timed ones (``fit_rows``). The check: all rows of ``tiny`` are left out and fitted to the others,
an extrapolation, and 300 of its networks are estimated with them and with the timed ones. The spread of what is added
is made so much larger that 80 % of those networks are inside their interval.
"""

import argparse
import math
import random

import numpy as np

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.fitting import fit_rows
from litepose_ofa.latency_tables.rows import OperatorLatency, significant
from litepose_ofa.latency_tables.table import INTERVAL_SHARE, INTERVAL_SIGMAS, SHIPPED_DIR
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.archs.space import SearchSpace

NAME, LEFT_OUT, NETWORKS = "host_cpu", SearchSpace.preset("tiny"), 300

Rows = dict[Operator, OperatorLatency]


def operators(space: SearchSpace) -> set[Operator]:
    return space_operators(space, 14) | space_operators(space, 17)


def fitted(timed: Rows, wanted: set[Operator]) -> tuple[Rows, float | None]:
    return fit_rows(timed, sorted(wanted, key=str), np.random.default_rng(0))


def left_out_factor(table: LatencyTable, timed: Rows) -> float:
    """Print the errors on networks with all rows left out; return the factor on the spread that they ask for."""
    held = operators(LEFT_OUT) & timed.keys()
    rows, _ = fitted({operator: row for operator, row in timed.items() if operator not in held}, held)
    rng, errors, needed = random.Random(0), [], []
    for _ in range(NETWORKS):
        used = operators_of(LEFT_OUT.sample(rng))
        known, ms = (table.network_ms(sum(each[operator].ms for operator in used)) for each in (timed, rows))
        shared = table.metadata.network_scale**2 * sum(rows[operator].std_ms ** 2 for operator in used)
        residual = (table.metadata.network_residual * ms) ** 2
        errors.append(ms / known - 1)
        needed.append((((ms - known) / INTERVAL_SIGMAS) ** 2 - residual) / shared)
    single = np.array([rows[operator].ms / timed[operator].ms - 1 for operator in held])
    factor = math.sqrt(max(float(np.quantile(needed, INTERVAL_SHARE, method="weibull")), 1.0))
    print(f"{len(held)} rows of {LEFT_OUT.name} left out: MAPE {np.abs(single).mean():.1%}")
    print(f"{NETWORKS} networks: mean {np.mean(errors):+.1%}, MAPE {np.abs(errors).mean():.1%}, ", end="")
    print(f"worst {np.abs(errors).max():.1%}; spread x {factor:.2f}")
    return factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", metavar="SPACE", help="add the rows that the shipped table lacks for this preset")
    name = parser.parse_args().add
    table = LatencyTable.load(NAME)
    timed = {operator: row for operator, row in table.rows.items() if row.samples > 0}
    factor = left_out_factor(table, timed)
    if name is None:
        return
    wanted = operators(SearchSpace.preset(name)) - table.rows.keys()
    rows, error = fitted(timed, wanted)
    wider = {o: OperatorLatency(row.ms, significant(factor * row.std_ms), 0) for o, row in rows.items()}
    source = f"{len(wider)} operators of the space {name} fitted to the timed ones"
    sources = (*table.metadata.sources, source)
    extended = LatencyTable(table.metadata, table.rows | wider)
    extended.with_metadata(sources=sources, fitted_rows_error=error).save(SHIPPED_DIR / f"{NAME}.csv")
    print(f"{source}; cross-validated error of all fitted kinds {error:.1%}")


if __name__ == "__main__":
    main()
