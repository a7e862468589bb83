"""What a search has evaluated so far.

Legend: n genomes, G genes, D devices in the problem's order.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.genome import Genomes


@dataclass(frozen=True)
class History:
    """Evaluated genomes in the order they were evaluated: what a strategy learns from.

    Attributes:
        genomes: Canonical and distinct, shape (n, G).
        ap: Their AP, shape (n,).
        ap_std: Standard deviation of a predicted AP, zero of a measured one, shape (n,).
        latency_ms: Their latencies, shape (n, D).
        excess: By how much they break a device's constraints, 0 where they keep them, shape (n, D).
    """

    genomes: Genomes
    ap: NDArray[np.float64]
    ap_std: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    excess: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.genomes)

    def extended(self, more: "History") -> "History":
        """Return this history followed by another."""
        names = [field.name for field in fields(self)]
        return History(**{name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in names})

    def rows(self, indices: NDArray[np.intp]) -> "History":
        """Return the evaluations at some indices, in their order."""
        return History(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})
