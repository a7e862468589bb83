"""The rows that a search space needs of a latency table, and how many of them a table has."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from litepose_ofa.latency_tables.rows import KINDS, describe, operator_order
from litepose_ofa.latency_tables.table import LatencyTable
from litepose_ofa.supernet.archs.operators import Operator, OperatorKind, places_of
from litepose_ofa.supernet.archs.space import SearchSpace

Standing = Literal["measured", "fitted", "interpolated", "missing"]
STANDINGS: tuple[Standing, ...] = get_args(Standing)

SHOWN = 10
"""Missing operators that a report names; the others it counts."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much a table knows of a space's operators.

    Attributes:
        counts: Number of operators by kind and standing: ``measured`` rows, rows ``fitted`` or estimated (0 samples),
            ``interpolated`` between rows, and ``missing``.
        missing: The operators that the table can say nothing of, in the order of rows.
    """

    counts: Mapping[OperatorKind, Mapping[Standing, int]]
    missing: tuple[Operator, ...]

    def total(self, standing: Standing) -> int:
        """Return the number of operators of all kinds with this standing."""
        return sum(by_standing[standing] for by_standing in self.counts.values())

    def __str__(self) -> str:
        """Return a text table of the counts, with the first missing operators below."""
        totals = {standing: self.total(standing) for standing in STANDINGS}
        lines = [f"{'kind':14}" + "".join(f"{standing:>13}" for standing in STANDINGS)]
        for kind, by_standing in (*self.counts.items(), ("all", totals)):
            lines.append(f"{kind:14}" + "".join(f"{by_standing[standing]:13}" for standing in STANDINGS))
        lines += [f"missing: {describe(operator)}" for operator in self.missing[:SHOWN]]
        if len(self.missing) > SHOWN:
            lines.append(f"and {len(self.missing) - SHOWN} more")
        return "\n".join(lines)


def coverage(table: LatencyTable, space: SearchSpace, num_keypoints: int = 14) -> Coverage:
    """Find out how a table stands to every operator of a space.

    An operator without a row that lies between others costs about 3 ms.
    """
    operators = sorted(space_operators(space, num_keypoints), key=operator_order)
    standings: dict[Operator, Standing] = {}
    for operator in operators:
        if row := table.rows.get(operator):
            standings[operator] = "measured" if row.samples else "fitted"
        else:
            standings[operator] = "interpolated" if table.is_interpolated(operator) else "missing"
    tally = Counter((operator.kind, standing) for operator, standing in standings.items())
    counts = {kind: {standing: tally[kind, standing] for standing in STANDINGS} for kind in KINDS}
    return Coverage(counts, tuple(operator for operator, standing in standings.items() if standing == "missing"))


def space_operators(space: SearchSpace, num_keypoints: int = 14) -> set[Operator]:
    """Enumerate the distinct operators of a space without enumerating its architectures."""
    blocks = [min(stage.depths[-1], 2) for stage in space.stages]  # those after a stage's second are like it
    return {
        place.operator(dict(zip(place.choices, values, strict=True)), num_keypoints)
        for place in places_of(tuple(blocks))
        for values in product(*(space.choices[name] for name in place.choices))
    }
