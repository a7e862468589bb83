"""What a search is asked: the best architectures of a space for one device under a latency budget.

Legend: n genomes, G genes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.cost import CostModel
from search.genome import Genomes
from search.pareto import non_dominated
from supernet.errors import InfeasibleBudgetError


@dataclass(frozen=True)
class SearchProblem:
    """Maximise AP and minimise latency, among the architectures whose latency is within the budget.

    Attributes:
        cost: Cost model with the device's latency table; its space is the one searched.
        device: Name of the device in the cost model.
        budget_ms: Greatest latency allowed; that of a whole frame where the cost model has the device's decoding cost.

    Raises:
        InfeasibleBudgetError: If no architecture of the space is that fast; the message names the least latency.
    """

    cost: CostModel
    device: str
    budget_ms: float

    def __post_init__(self) -> None:
        _, least_ms = self.cost.fastest(self.device)
        if not self.budget_ms >= least_ms:
            frame = f" for a frame with {self.cost.people:g} people" if self.device in self.cost.decoding else ""
            raise InfeasibleBudgetError(
                f"the budget of {self.budget_ms:g} ms is below the fastest subnet of space {self.cost.space.name!r} "
                f"on {self.device}: the least possible latency{frame} is {least_ms:.4g} ms"
            )

    @property
    def latency_sources(self) -> dict[str, Any]:
        """What the latencies rest on, as plain values: the table, and the decoding cost or None without one.

        A decoding cost that was measured on another machine than the table's device is an assumption for this one.
        """
        table, decoding = self.cost.tables[self.device], self.cost.decoding.get(self.device)
        sources: dict[str, Any] = {
            "network": {
                "table": table.metadata.device,
                "digest": table.digest,
                "provenance": table.metadata.provenance,
            },
            "decoding": None,
        }
        if decoding is not None:
            sources["decoding"] = {
                "measured_on": decoding.name,
                "digest": decoding.digest,
                "people": self.cost.people,
                "provenance": "measured" if decoding.name == table.metadata.device else "assumed",
            }
        return sources

    def latency_ms(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the latencies of genomes, shape (n, G), on the device, shape (n,)."""
        return self.cost.latency_ms(genomes, self.device)


@dataclass(frozen=True)
class History:
    """Evaluated genomes in the order they were evaluated: what a strategy learns from.

    Attributes:
        genomes: Canonical and distinct, shape (n, G).
        ap: Their AP, shape (n,).
        ap_std: Standard deviation of a predicted AP, zero of a measured one, shape (n,).
        latency_ms: Their latency on the problem's device, shape (n,).
    """

    genomes: Genomes
    ap: NDArray[np.float64]
    ap_std: NDArray[np.float64]
    latency_ms: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.genomes)

    def extended(self, more: "History") -> "History":
        """Return this history followed by another."""
        return History(
            np.concatenate([self.genomes, more.genomes]),
            np.concatenate([self.ap, more.ap]),
            np.concatenate([self.ap_std, more.ap_std]),
            np.concatenate([self.latency_ms, more.latency_ms]),
        )

    def rows(self, indices: NDArray[np.intp]) -> "History":
        """Return the evaluations at some indices, in their order."""
        return History(self.genomes[indices], self.ap[indices], self.ap_std[indices], self.latency_ms[indices])

    def front(self, budget_ms: float) -> NDArray[np.intp]:
        """Return the indices of the non-dominated evaluations within the budget, the greatest AP first.

        Of equal AP and latency, the one that was evaluated first stands for all.
        """
        feasible = np.flatnonzero(self.latency_ms <= budget_ms)
        points = np.stack([-self.ap[feasible], self.latency_ms[feasible]], axis=1)
        front = feasible[non_dominated(points)]
        _, first = np.unique(np.stack([-self.ap[front], self.latency_ms[front]], axis=1), axis=0, return_index=True)
        return front[first]
