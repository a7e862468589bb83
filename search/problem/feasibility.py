"""Which architectures are allowed, and the proof that there are any, before a search starts.

Legend: n genomes, G genes, D devices.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes, distinct
from litepose_ofa.search.variation import vary
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InfeasibleBudgetError, require

Quantity = Literal["macs", "params", "peak_memory_bytes"]

BINDING_PARTS = 3
"""Parts of the fastest subnet that an error names."""

WITNESS_POPULATION = 200
WITNESS_GENERATIONS = 50


@dataclass(frozen=True)
class Limits:
    """Constraints on architectures.

    Attributes:
        cost: Cost model of the space and the devices.
        budgets_ms: Greatest latency by device.
        maxima: Greatest MACs, parameters and peak activation memory, None where anything is allowed.
        confidence: Probability with which a budget must be kept; None compares the latency itself.

    Raises:
        InputError: If a number is out of its range.
    """

    cost: CostModel
    budgets_ms: Mapping[str, float]
    maxima: Mapping[Quantity, float | None]
    confidence: float | None = None

    def __post_init__(self) -> None:
        for device, budget_ms in self.budgets_ms.items():
            require(_is_positive(budget_ms), f"the budget of {device}", budget_ms, "milliseconds above 0")
        for name, limit in self.maxima.items():
            require(limit is None or _is_positive(limit), f"max_{name}", limit, "a number above 0, or null")
        if self.confidence is not None:
            require(0 < self.confidence < 1, "confidence", self.confidence, "between 0 and 1, or null")

    def latencies_ms(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the latencies of genomes, shape (n, G), on each device, shape (n, D)."""
        return np.stack([self.cost.latency_ms(genomes, device) for device in self.budgets_ms], axis=1)

    def excess(self, genomes: Genomes, latency_ms: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return by how much genomes exceed what each device allows, 0 where they keep it, shape (n, D).

        The relative excesses of the latency and of all other constraints are added. With a confidence, what the
        probability lacks is added to the relative excess of the latency.

        Args:
            genomes: Shape (n, G).
            latency_ms: Their latencies, shape (n, D), if they are known.
        """
        latency_ms = self.latencies_ms(genomes) if latency_ms is None else latency_ms
        excess: NDArray[np.float64] = np.maximum(latency_ms / np.array(list(self.budgets_ms.values())) - 1, 0)
        if self.confidence is not None:
            for column, (device, budget_ms) in enumerate(self.budgets_ms.items()):
                lacks = self.confidence - self.cost.probability_within(genomes, device, budget_ms)
                excess[:, column] = np.where(lacks > 0, excess[:, column] + lacks, 0)
        for name, limit in self.maxima.items():
            if limit is not None:
                excess += np.maximum(self._amounts(genomes, name) / limit - 1, 0)[:, None]
        return excess

    def _amounts(self, genomes: Genomes, name: Quantity) -> NDArray[Any]:
        is_memory = name == "peak_memory_bytes"
        amounts: NDArray[Any] = self.cost.peak_memory_bytes(genomes) if is_memory else self.cost.evaluate(genomes)[name]
        return amounts


def require_feasible(limits: Limits, *, together: bool) -> None:
    """Refuse constraints that no architecture can keep: each by its exact least, and those together by a short search.

    Args:
        limits: The constraints.
        together: Whether one architecture has to keep all devices' budgets.

    Raises:
        InfeasibleBudgetError: Naming the least possible, and what takes most of it.
    """
    extremes = [_require_latency(limits, device) for device in limits.budgets_ms]
    extremes += [_require_amount(limits, name, limit) for name, limit in limits.maxima.items() if limit is not None]
    together_with = [limits] if together else [replace(limits, budgets_ms={d: b}) for d, b in limits.budgets_ms.items()]
    for each in together_with:
        _require_witness(each, limits.cost.codec.encode_many(extremes))


def _require_latency(limits: Limits, device: str) -> Arch:
    cost, budget_ms = limits.cost, limits.budgets_ms[device]
    arch, least_ms = cost.fastest(device)
    if budget_ms >= least_ms:
        return arch
    frame = f" for a frame with {cost.people:g} people" if device in cost.decoding else ""
    parts = ", ".join(f"{part} {ms:.3g} ms" for part, ms in cost.binding_parts(device)[:BINDING_PARTS])
    raise InfeasibleBudgetError(
        f"the budget of {budget_ms:g} ms is below the fastest subnet of space {cost.space.name!r} on {device}: "
        f"the least possible latency{frame} is {least_ms:.4g} ms (subnet {arch.digest}, most of it in {parts})"
    )


def _require_amount(limits: Limits, name: Quantity, limit: float) -> Arch:
    arch, least = limits.cost.least(name)
    if limit >= least:
        return arch
    raise InfeasibleBudgetError(
        f"max_{name} of {limit:,.0f} is below what any subnet of space {limits.cost.space.name!r} takes: "
        f"the least possible is {least:,.0f} (subnet {arch.digest})"
    )


def _require_witness(limits: Limits, first: Genomes) -> None:
    """Find an architecture that keeps all constraints, by evolution from some genomes, shape (n, G)."""
    cost, rng = limits.cost, np.random.default_rng(0)
    best = np.concatenate([first, cost.codec.sample(WITNESS_POPULATION, rng)])
    for _ in range(WITNESS_GENERATIONS):
        excess = limits.excess(best).sum(axis=1)
        best = best[np.argsort(excess, kind="stable")[:WITNESS_POPULATION]]
        if excess.min() == 0:
            return
        best = distinct(np.concatenate([best, vary(cost.codec, best, rng)]))
    confident = "" if limits.confidence is None else f" with probability {limits.confidence:g}"
    budgets = ", ".join(
        f"{device} within {budget_ms:g} ms{confident}" for device, budget_ms in limits.budgets_ms.items()
    )
    more = [f"{name} within {limit:,.0f}" for name, limit in limits.maxima.items() if limit is not None]
    raise InfeasibleBudgetError(
        f"no subnet of space {cost.space.name!r} was found that keeps {', '.join([budgets, *more])} together"
    )


def _is_positive(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and number > 0
