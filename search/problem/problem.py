"""The search's question: the best architectures of a space for one device or several, under constraints.

Legend: n genomes, G genes, D devices, T targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes, distinct, vary
from litepose_ofa.search.pareto import Points, hypervolume, non_dominated
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InfeasibleBudgetError, InputError, require

Goal = Literal["front", "shared"]
GOALS: tuple[Goal, ...] = ("front", "shared")

BINDING_PARTS = 3
"""Parts of the fastest subnet that an error names."""

FEASIBLE_POPULATION = 200
FEASIBLE_GENERATIONS = 50


@dataclass(frozen=True)
class History:
    """Evaluated genomes in the order they were evaluated: what a strategy learns from.

    Attributes:
        genomes: Canonical and distinct, shape (n, G).
        ap: Their AP, shape (n,).
        ap_std: Standard deviation of a predicted AP, zero of a measured one, shape (n,).
        latency_ms: Their latencies, shape (n, D).
        excess: By how much they break a target's constraints, 0 where they keep them, shape (n, T).
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


@dataclass(frozen=True, slots=True)
class Target:
    """A device and the greatest latency allowed there; ``tier`` names it where the search has several of the device."""

    device: str
    budget_ms: float
    tier: str = ""


@dataclass(frozen=True)
class View:
    """One of the fronts that a search is after, as points (-AP, cost) that are both minimised.

    Attributes:
        points: Shape (n, 2).
        excess: By how much each breaks the constraints of this front, 0 where it keeps them, shape (n,).
        reference: Corner up to which the front's hypervolume counts: AP 0 and the greatest cost allowed.
    """

    points: Points
    excess: NDArray[np.float64]
    reference: tuple[float, float]

    @property
    def front(self) -> NDArray[np.intp]:
        """Indices of the non-dominated points that keep the constraints, the greatest AP first.

        Of equal points, the first stands for all.
        """
        feasible = np.flatnonzero(self.excess == 0)
        front = feasible[non_dominated(self.points[feasible])]
        _, first = np.unique(self.points[front], axis=0, return_index=True)
        return front[first]

    @property
    def volume(self) -> float:
        """Share of the area from AP 0 to 1 and cost 0 to the reference that the front dominates."""
        return hypervolume(self.points[self.excess == 0], self.reference) / self.reference[1]


@dataclass(frozen=True)
class SearchProblem:
    """Maximise AP and minimise latency, among the architectures that keep the constraints.

    With ``goal="front"`` the search is after one front a target, a device and a budget: an architecture belongs to it
    if it keeps that budget and the limits, whatever it takes elsewhere. With ``goal="shared"`` it is after one
    architecture for all devices, the one with the least worst-case regret. The regret on a device is the best AP within
    that device's budget less the architecture's own. An AP does not depend on the device, so the least worst-case
    regret is that of the greatest AP within all budgets; the search looks for the devices' own bests as well, in the
    same study, for without them nobody could say how great the regret is.

    Attributes:
        cost: Cost model with the devices' latency tables; its space is the one searched.
        budgets_ms: Greatest latency allowed, by device, or several by tier; of a whole frame where the cost model has
            the decoding cost.
        confidence: Probability in (0, 1) with which a budget must be kept, by the tables' spreads; None compares the
            latency itself.

    Raises:
        InfeasibleBudgetError: If no architecture of the space keeps a constraint; the message names the least possible.
        InputError: If a device has no table, or a number is out of its range.
    """

    cost: CostModel
    budgets_ms: Mapping[str, float | Mapping[str, float]]
    max_macs: float | None = None
    max_params: float | None = None
    max_peak_memory_bytes: float | None = None
    confidence: float | None = None
    goal: Goal = "front"

    def __post_init__(self) -> None:
        require(len(self.budgets_ms) > 0, "budgets_ms", dict(self.budgets_ms), "of at least one device")
        tables = self.cost.tables
        for device in self.budgets_ms:
            require(device in tables, "budgets_ms", device, f"a device with a table: {list(tables)}")
        for target in self.targets:
            require(target.budget_ms > 0, f"the budget of {target.device}", target.budget_ms, "milliseconds above 0")
        require(self.goal in GOALS, "goal", self.goal, f"one of {', '.join(GOALS)}")
        is_single = self.goal == "front" or len(self.targets) == len(self.devices)
        require(is_single, "goal", self.goal, "front where a device has several tiers")
        for name, limit in self.maxima.items():
            require(limit > 0, f"max_{name}", limit, "a number above 0, or null")
        if self.confidence is not None:
            require(0 < self.confidence < 1, "confidence", self.confidence, "between 0 and 1, or null")
        _require_feasible(self)

    @property
    def maxima(self) -> dict[str, float]:
        """Greatest amounts allowed, by the cost model's name of the quantity, where there are any."""
        limits = {"macs": self.max_macs, "params": self.max_params, "peak_memory_bytes": self.max_peak_memory_bytes}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices, in order."""
        return tuple(self.budgets_ms)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Devices and budgets, one front of the search each, in order."""
        return tuple(
            Target(device, budget_ms, tier)
            for device, budgets in self.budgets_ms.items()
            for tier, budget_ms in (budgets.items() if isinstance(budgets, Mapping) else [("", budgets)])
        )

    @property
    def device(self) -> str:
        """The only device; ``InputError`` if there are several."""
        if len(self.devices) > 1:
            raise InputError(f"the search is for several devices; name one of {', '.join(self.devices)}")
        return self.devices[0]

    def latencies_ms(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the latencies of genomes, shape (n, G), on each device, shape (n, D)."""
        return np.stack([self.cost.latency_ms(genomes, device) for device in self.budgets_ms], axis=1)

    def excess(self, genomes: Genomes, latency_ms: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return by how much genomes exceed what each target allows, 0 where they keep it, shape (n, T).

        The relative excesses of the latency and of all other constraints are added. With a confidence, what the
        probability lacks is added to the relative excess of the latency. Latencies, shape (n, D), may be known already.
        """
        latency_ms = self.latencies_ms(genomes) if latency_ms is None else latency_ms
        excess: NDArray[np.float64] = np.maximum(latency_ms[:, self._columns] / self._budgets - 1, 0)
        if self.confidence is not None:
            for column, target in enumerate(self.targets):
                lacks = self.confidence - self.cost.probability_within(genomes, target.device, target.budget_ms)
                excess[:, column] = np.where(lacks > 0, excess[:, column] + lacks, 0)
        for name, limit in self.maxima.items():
            excess += np.maximum(self.cost.amounts(genomes, name) / limit - 1, 0)[:, None]
        return excess

    def violation(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return by how much genomes, shape (n, G), break the constraints, 0 where they keep them, shape (n,).

        It adds up what each constraint is exceeded by, relative to what is allowed: of the target that the genome suits
        best with ``goal="front"``, and of all targets with ``goal="shared"``.
        """
        return self.combined(self.excess(genomes))

    def combined(self, excess: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the violation (n,) of the targets' excesses (n, T)."""
        violation: NDArray[np.float64] = excess.sum(axis=1) if self.goal == "shared" else excess.min(axis=1)
        return violation

    def latency_ms(self, genomes: Genomes, device: str | None = None) -> NDArray[np.float64]:
        """Return the latencies of genomes, shape (n, G), on a device, or on the only one, shape (n,)."""
        return self.cost.latency_ms(genomes, device or self.device)

    def evaluated(
        self, genomes: Genomes, ap: NDArray[np.float64], ap_std: NDArray[np.float64] | None = None
    ) -> History:
        """Return genomes, shape (n, G), and their AP, shape (n,), with all that they cost."""
        latency_ms = self.latencies_ms(genomes)
        std = np.zeros(len(ap)) if ap_std is None else ap_std
        return History(genomes, ap, std, latency_ms, self.excess(genomes, latency_ms))

    def views(self, history: History) -> list[View]:
        """Return the fronts that the search is after: one a target, and that of all together if the goal is shared.

        The cost of the latter is the greatest share of a budget that is used.
        """
        views = [
            View(np.column_stack([-history.ap, history.latency_ms[:, d]]), history.excess[:, t], (0, target.budget_ms))
            for t, (d, target) in enumerate(zip(self._columns, self.targets, strict=True))
        ]
        if self.goal == "shared":
            used = (history.latency_ms[:, self._columns] / self._budgets).max(axis=1)
            views.append(View(np.column_stack([-history.ap, used]), history.excess.sum(axis=1), (0, 1)))
        return views

    def best(self, history: History) -> list[int | None]:
        """Return the index of each front's greatest AP, None where nothing keeps its constraints."""
        fronts = [view.front for view in self.views(history)]
        return [int(front[0]) if len(front) else None for front in fronts]

    def regrets(self, history: History, ap: float) -> dict[str, dict[str, float]]:
        """Return what each device gives up for a shared subnet of this AP, by the evaluator of the history.

        Returns:
            By device ``best_ap``, the greatest known within its budget, and ``regret``, that less the subnet's.
        """
        best = [float(history.ap[excess == 0].max()) for excess in history.excess.T]
        return {
            device: {"best_ap": max(most, ap), "regret": max(most - ap, 0)}
            for device, most in zip(self.devices, best, strict=True)
        }

    def front(self, history: History, target: Target | None = None) -> NDArray[np.intp]:
        """Return the indices of a target's front (default: the only device's first), the greatest AP first."""
        column = self.devices.index(self.device) if target is None else self.targets.index(target)
        return self.views(history)[column].front

    def hypervolume(self, history: History) -> float:
        """Return the mean of the dominated shares of all fronts, in [0, 1]."""
        return float(np.mean([view.volume for view in self.views(history)]))

    @property
    def identity(self) -> dict[str, Any]:
        """What the problem's answers depend on, as plain values."""
        return {
            "space": self.cost.space.to_dict(),
            "num_keypoints": self.cost.num_keypoints,
            "goal": self.goal,
            "devices": {
                device: {"budget_ms": budgets, **self.latency_sources(device)}
                for device, budgets in self.budgets_ms.items()
            },
            "confidence": self.confidence,
            "limits": self.maxima,
        }

    def latency_sources(self, device: str | None = None) -> dict[str, Any]:
        """Return what a device's latencies rest on: the table, and the decoding cost or None without one.

        A decoding cost that was measured on another machine than the table's device is an assumption for this one.
        """
        name = device or self.device
        table, decoding = self.cost.tables[name], self.cost.decoding.get(name)
        known, network = table.metadata, {"digest": table.digest, "provenance": table.metadata.provenance}
        sources: dict[str, Any] = {"network": {"table": known.device, **network}, "decoding": None}
        if decoding is not None:
            sources["decoding"] = {
                "measured_on": decoding.name,
                "digest": decoding.digest,
                "people": self.cost.people,
                "provenance": "measured" if decoding.name == known.device else "assumed",
            }
        return sources

    @cached_property
    def _budgets(self) -> NDArray[np.float64]:
        return np.array([target.budget_ms for target in self.targets])

    @cached_property
    def _columns(self) -> list[int]:
        """The devices' columns of the targets."""
        return [self.devices.index(target.device) for target in self.targets]


def _require_feasible(problem: SearchProblem) -> None:
    """Refuse constraints that no architecture can keep, each by its exact least, and together by a short search."""
    extremes = [_require_latency(problem, target) for target in problem.targets]
    for name, limit in problem.maxima.items():
        arch, least = problem.cost.least(name)
        if limit < least:
            raise InfeasibleBudgetError(
                f"max_{name} of {limit:,.0f} is below what any subnet of space {problem.cost.space.name!r} takes: "
                f"the least possible is {least:,.0f} (subnet {arch.digest})"
            )
        extremes.append(arch)
    first = problem.cost.codec.encode_many(extremes)
    together = [problem.targets] if problem.goal == "shared" else [(target,) for target in problem.targets]
    for targets in together:
        _require_feasible_point(problem, targets, first)


def _require_latency(problem: SearchProblem, target: Target) -> Arch:
    cost, device, budget_ms = problem.cost, target.device, target.budget_ms
    arch, least_ms = cost.fastest(device)
    if budget_ms >= least_ms:
        return arch
    frame = f" for a frame with {cost.people:g} people" if device in cost.decoding else ""
    parts = ", ".join(f"{part} {ms:.3g} ms" for part, ms in cost.binding_parts(device)[:BINDING_PARTS])
    raise InfeasibleBudgetError(
        f"the budget of {budget_ms:g} ms is below the fastest subnet of space {cost.space.name!r} on {device}: "
        f"the least possible latency{frame} is {least_ms:.4g} ms (subnet {arch.digest}, most of it in {parts})"
    )


def _require_feasible_point(problem: SearchProblem, targets: Sequence[Target], first: Genomes) -> None:
    """Find an architecture that keeps all constraints of some targets, by evolution from genomes, shape (n, G)."""
    codec, rng = problem.cost.codec, np.random.default_rng(0)
    columns = [problem.targets.index(target) for target in targets]
    best = np.concatenate([first, codec.sample(FEASIBLE_POPULATION, rng)])
    for _ in range(FEASIBLE_GENERATIONS):
        excess = problem.excess(best)[:, columns].sum(axis=1)
        best = best[np.argsort(excess, kind="stable")[:FEASIBLE_POPULATION]]
        if excess.min() == 0:
            return
        best = distinct(np.concatenate([best, vary(codec, best, rng)]))
    confident = "" if problem.confidence is None else f" with probability {problem.confidence:g}"
    kept = [f"{target.device} within {target.budget_ms:g} ms{confident}" for target in targets]
    kept += [f"{name} within {limit:,.0f}" for name, limit in problem.maxima.items()]
    raise InfeasibleBudgetError(
        f"no subnet of space {problem.cost.space.name!r} was found that keeps {', '.join(kept)} together"
    )
