"""Problems: what is allowed, what is minimised, and refusing at once what nothing can meet."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InfeasibleBudgetError, InputError


@pytest.fixture(scope="module")
def cost(small_space: SearchSpace, make_table: Callable[..., Any]) -> CostModel:
    """Two devices that disagree: one pays for MACs, the other is slow at everything."""
    return CostModel(
        small_space, tables={"board": make_table(small_space), "phone": make_table(small_space, ms_per_mac=5e-7)}
    )


@pytest.fixture(scope="module")
def everything(cost: CostModel, every_genome: Callable[..., Genomes]) -> Genomes:
    return every_genome(cost.codec)


def middle(cost: CostModel, share: float = 0.5) -> dict[str, float]:
    ends = {device: (cost.fastest(device)[1], cost.slowest(device)[1]) for device in cost.tables}
    return {device: low + share * (high - low) for device, (low, high) in ends.items()}


def test_violation_is_zero_exactly_where_all_is_kept(cost: CostModel, everything: Genomes) -> None:
    amounts = {name: cost.amounts(everything, name) for name in ("macs", "params", "peak_memory_bytes")}
    limits: dict[str, Any] = {f"max_{name}": np.median(amount) for name, amount in amounts.items()}
    budget_ms = middle(cost)["board"]
    problem = SearchProblem(cost, {"board": budget_ms}, **limits)
    over = [np.maximum(amount / np.median(amount) - 1, 0) for amount in amounts.values()]
    over.append(np.maximum(cost.latency_ms(everything, "board") / budget_ms - 1, 0))
    np.testing.assert_allclose(problem.violation(everything), sum(over))
    assert 0 < (problem.violation(everything) == 0).sum() < len(everything)


def test_a_front_needs_one_device_and_a_shared_subnet_all(cost: CostModel, everything: Genomes) -> None:
    budgets = {"board": middle(cost, 0.3)["board"], "phone": middle(cost, 0.6)["phone"]}
    within = np.stack([cost.latency_ms(everything, device) <= ms for device, ms in budgets.items()], axis=1)
    assert (within.any(axis=1) & ~within.all(axis=1)).any()
    front, shared = SearchProblem(cost, budgets), SearchProblem(cost, budgets, goal="shared")
    np.testing.assert_array_equal(front.violation(everything) == 0, within.any(axis=1))
    np.testing.assert_array_equal(shared.violation(everything) == 0, within.all(axis=1))


@pytest.mark.parametrize("confidence", [0.1, 0.9])
def test_a_confident_budget_counts_the_probability(cost: CostModel, everything: Genomes, confidence: float) -> None:
    budget_ms = middle(cost)["board"]
    problem = SearchProblem(cost, {"board": budget_ms}, confidence=confidence)
    kept = cost.probability_within(everything, "board", budget_ms) >= confidence
    np.testing.assert_array_equal(problem.violation(everything) == 0, kept)
    assert kept.sum() != (cost.latency_ms(everything, "board") <= budget_ms).sum()


def test_each_device_has_its_own_front(cost: CostModel, everything: Genomes) -> None:
    problem = SearchProblem(cost, middle(cost))
    ap = np.random.default_rng(0).random(len(everything))
    history = problem.evaluated(everything, ap)
    for target in problem.targets:
        device, budget_ms = target.device, target.budget_ms
        latency_ms = cost.latency_ms(everything, device)
        front = problem.front(history, target)
        assert (latency_ms[front] <= budget_ms).all()
        assert ap[front].tolist() == sorted(ap[front], reverse=True)
        assert ap[front[0]] == ap[latency_ms <= budget_ms].max()
        for i in front[:5]:
            assert not ((ap > ap[i]) & (latency_ms <= latency_ms[i])).any()
    with pytest.raises(InputError, match="the search is for several devices; name one of board, phone"):
        problem.front(history)


def test_the_shared_subnet_has_the_least_worst_regret(cost: CostModel, everything: Genomes) -> None:
    budgets = {"board": middle(cost, 0.3)["board"], "phone": middle(cost, 0.6)["phone"]}
    problem = SearchProblem(cost, budgets, goal="shared")
    ap = 0.3 + 0.4 * np.random.default_rng(0).random(len(everything))
    history = problem.evaluated(everything, ap)
    within = np.stack([cost.latency_ms(everything, device) <= ms for device, ms in budgets.items()], axis=1)
    best = np.array([ap[kept].max() for kept in within.T])
    worst_regret = np.where(within.all(axis=1), (best - ap[:, None]).max(axis=1), np.inf)
    chosen = problem.views(history)[-1].front[0]
    assert worst_regret[chosen] == worst_regret.min()
    given_up = problem.regrets(history, float(ap[chosen]))
    assert [given_up[device]["best_ap"] for device in budgets] == best.tolist()
    assert max(each["regret"] for each in given_up.values()) == pytest.approx(worst_regret.min())


def test_front_of_a_history_is_feasible_and_has_equal_points_once(problem: SearchProblem) -> None:
    codec = problem.cost.codec
    genomes = codec.encode_many([codec.space.smallest()]).repeat(5, axis=0)
    ap = np.array([0.5, 0.5, 0.6, 0.6, 0.4])
    assert problem.front(problem.evaluated(genomes, ap)).tolist() == [2]
    largest = codec.encode_many([codec.space.largest()])
    assert problem.front(problem.evaluated(largest, np.ones(1))).tolist() == []


def test_hypervolume_is_the_area_above_latency_and_below_ap(problem: SearchProblem) -> None:
    codec = problem.cost.codec
    genome = codec.encode_many([codec.space.smallest()])
    share = 1 - problem.latency_ms(genome)[0] / problem.budgets_ms["board"]
    assert problem.hypervolume(problem.evaluated(genome, np.array([0.4]))) == pytest.approx(0.4 * share)


def test_a_budget_below_the_fastest_subnet_names_the_least_possible_and_what_binds(tiny_cost: CostModel) -> None:
    arch, least_ms = tiny_cost.fastest("board")
    part = tiny_cost.binding_parts("board")[0][0]
    message = rf"on board: the least possible latency is {least_ms:.4g} ms \(subnet {arch.digest}, most of it in {part}"
    with pytest.raises(InfeasibleBudgetError, match=message):
        SearchProblem(tiny_cost, {"board": least_ms * 0.999})


@pytest.mark.parametrize("quantity", ["macs", "params", "peak_memory_bytes"])
def test_a_limit_below_the_least_names_it(tiny_cost: CostModel, quantity: str) -> None:
    least: Any = tiny_cost.least(quantity)[1]
    budget = {"board": tiny_cost.slowest("board")[1]}
    SearchProblem(tiny_cost, budget, **{f"max_{quantity}": least})
    limits = {f"max_{quantity}": least - 1}
    with pytest.raises(InfeasibleBudgetError, match=f"max_{quantity} .* the least possible is {least:,.0f}"):
        SearchProblem(tiny_cost, budget, **limits)


def test_constraints_that_exclude_each_other_are_refused(tiny_cost: CostModel) -> None:
    arch, least_ms = tiny_cost.fastest("board")
    macs = int(tiny_cost.evaluate(tiny_cost.codec.encode_many([arch]))["macs"][0])
    least_macs = tiny_cost.least("macs")[1]
    SearchProblem(tiny_cost, {"board": least_ms}, max_macs=macs)
    assert macs > least_macs
    with pytest.raises(InfeasibleBudgetError, match=r"no subnet of space 'tiny' was found .* together"):
        SearchProblem(tiny_cost, {"board": least_ms}, max_macs=(macs + least_macs) // 2)
    with pytest.raises(InfeasibleBudgetError, match=r"board within .* ms with probability 0\.999"):
        SearchProblem(tiny_cost, {"board": least_ms}, confidence=0.999)


def test_a_witness_between_the_ends_is_found(cost: CostModel, everything: Genomes) -> None:
    """No extreme of one constraint keeps both, yet some genome does."""
    latency_ms, params = cost.latency_ms(everything, "board"), cost.evaluate(everything)["params"]
    ends = [int(latency_ms.argmin()), int(params.argmin())]
    ranks = np.argsort(np.argsort(latency_ms)) + np.argsort(np.argsort(params))
    between = int(np.setdiff1d(np.argsort(ranks)[:20], ends)[0])
    SearchProblem(cost, {"board": float(latency_ms[between])}, max_params=float(params[between]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets_ms": {}}, "budgets_ms is {}"),
        ({"budgets_ms": {"toaster": 3.0}}, "budgets_ms is 'toaster'; it must be a device with a table: .*board"),
        ({"budgets_ms": {"board": float("nan")}}, "the budget of board is nan"),
        ({"budgets_ms": {"board": -1}}, "the budget of board is -1"),
        ({"max_macs": 0}, "max_macs is 0"),
        ({"confidence": 1.5}, r"confidence is 1\.5; it must be between 0 and 1"),
        ({"goal": "all"}, "goal is 'all'; it must be one of front, shared"),
    ],
)
def test_impossible_values_are_named(tiny_cost: CostModel, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SearchProblem(**{"cost": tiny_cost, "budgets_ms": {"board": 100.0}, **changes})


def test_identity_tells_problems_apart(cost: CostModel) -> None:
    budgets = middle(cost)
    identities = [
        SearchProblem(cost, budgets).identity,
        SearchProblem(cost, budgets, goal="shared").identity,
        SearchProblem(cost, budgets, confidence=0.6).identity,
        SearchProblem(cost, budgets, max_macs=1e12).identity,
        SearchProblem(cost, {"board": budgets["board"]}).identity,
    ]
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])
    assert identities[0]["devices"]["board"]["network"]["digest"] == cost.tables["board"].digest
