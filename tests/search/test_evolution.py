"""Evolution: it stays in the space, repeats nothing, respects the budget, and finds what enumeration finds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.cost import CostModel
from search.evolution import (
    EvolutionSettings,
    SurrogateEvolution,
    cross,
    first_genomes,
    mutate,
    selection_order,
    vary,
)
from search.genome import GenomeCodec, Genomes, distinct, genome_keys
from search.pareto import hypervolume
from search.predictor import AccuracyPredictor
from search.problem import History, SearchProblem
from supernet.errors import InfeasibleBudgetError
from supernet.space import SearchSpace

QUICK = EvolutionSettings(population=60, generations=8)
TINY = GenomeCodec(SearchSpace.preset("tiny"))


def no_history(codec: GenomeCodec) -> History:
    return History(np.zeros((0, codec.length), np.int8), np.zeros(0), np.zeros(0), np.zeros(0))


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_children_are_genomes_of_the_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    children = vary(TINY, TINY.sample(20, rng), EvolutionSettings(mutations=4), rng)
    assert children.dtype == np.int8
    assert TINY.is_valid(children).all()


def test_crossover_takes_every_gene_from_a_parent() -> None:
    rng = np.random.default_rng(0)
    mothers, fathers = TINY.sample(300, rng), TINY.sample(300, rng)
    children = cross(TINY, mothers, fathers, rng)
    present = TINY.present(children)
    assert ((children == mothers) | (children == fathers))[present].all()
    np.testing.assert_array_equal(cross(TINY, mothers, mothers, rng), mothers)


def test_crossover_often_keeps_a_whole_part() -> None:
    """Of two extreme parents a stage is often one parent's; independent genes would seldom do that."""
    rng = np.random.default_rng(0)
    ends = TINY.encode_many([TINY.space.smallest(), TINY.space.largest()])
    children = cross(TINY, ends[:1].repeat(500, axis=0), ends[1:].repeat(500, axis=0), rng)
    for part in range(1, 5):
        genes = children[:, part == TINY.parts]
        whole = (genes == ends[1][part == TINY.parts]).all(axis=1).mean()
        assert 0.15 < whole < 0.35


def test_mutation_changes_about_as_many_genes_as_asked() -> None:
    rng = np.random.default_rng(0)
    genomes = TINY.encode_many([TINY.space.largest()]).repeat(2000, axis=0)
    changed = (mutate(TINY, genomes, 3.0, rng) != genomes) & TINY.present(mutate(TINY, genomes, 0.0, rng))
    # Half of the values drawn equal the old one for a gene of two choices, and a step beyond the end is none.
    assert 0.8 < changed.sum(axis=1).mean() < 3.5
    np.testing.assert_array_equal(mutate(TINY, genomes, 0.0, rng), genomes)


def test_blocks_that_a_depth_adds_are_not_all_the_smallest() -> None:
    rng = np.random.default_rng(0)
    genomes = TINY.encode_many([TINY.space.smallest()]).repeat(2000, axis=0)
    stage = TINY.stages[1]
    children = mutate(TINY, genomes, 3.0, rng)
    deeper = children[children[:, stage.depth] == 1]
    assert len(np.unique(deeper[:, stage.kernels[1]])) == 3


def test_selection_prefers_feasible_then_fronts_then_room_then_small_excess() -> None:
    ap = np.array([0.5, 0.6, 0.4, 0.55, 0.9, 0.9])
    latency_ms = np.array([5.0, 8.0, 9.0, 6.0, 20.0, 11.0])
    order = selection_order(ap, latency_ms, budget_ms=10.0)
    assert order.tolist() == [1, 0, 3, 2, 5, 4]


def test_selection_of_infeasible_genomes_alone() -> None:
    assert selection_order(np.ones(3), np.array([13.0, 11.0, 12.0]), 10.0).tolist() == [1, 2, 0]


def test_first_genomes_have_the_extremes_and_uniform_networks() -> None:
    genomes = first_genomes(TINY, 12, np.random.default_rng(0))
    archs = TINY.decode_many(genomes)
    assert archs[:2] == [TINY.space.smallest(), TINY.space.largest()]
    assert len(set(archs)) == 12


def test_proposals_are_new_distinct_and_repeatable(problem: SearchProblem, predictor: AccuracyPredictor) -> None:
    strategy = SurrogateEvolution(problem, predictor, QUICK)
    history = no_history(TINY)
    seen: Genomes = history.genomes
    for generation in range(3):
        proposed = strategy.propose(history, 20, np.random.default_rng(generation))
        again = strategy.propose(history, 20, np.random.default_rng(generation))
        np.testing.assert_array_equal(proposed, again)
        assert len(proposed) == len(distinct(proposed, seen=seen)) == 20
        assert (problem.latency_ms(proposed) <= problem.budget_ms).all()
        more = History(proposed, predictor.predict_ap(proposed), np.zeros(20), problem.latency_ms(proposed))
        history = history.extended(more)
        seen = history.genomes


class FormulaPredictor:
    """Predicts exactly: its AP is a formula of the genes with interactions, known for every genome of a small space."""

    digest = "formula"

    def __init__(self, codec: GenomeCodec) -> None:
        rng = np.random.default_rng(3)
        self._linear = rng.uniform(0, 0.03, codec.length)
        self._pairs = np.triu(rng.normal(0, 0.01, (codec.length, codec.length)))

    def predict_ap(self, genomes: Genomes) -> NDArray[np.float64]:
        genes = genomes.astype(float)
        ap: NDArray[np.float64] = 0.4 + genes @ self._linear + np.einsum("ni,ij,nj->n", genes, self._pairs, genes)
        return ap


def test_it_finds_the_front_that_enumeration_finds(small_cost: CostModel) -> None:
    codec = small_cost.codec
    grid = np.stack(np.meshgrid(*map(np.arange, codec.cardinalities), indexing="ij"), axis=-1)
    everything = distinct(codec.canonicalise(grid.reshape(-1, codec.length).astype(np.int8)))
    exact: Any = FormulaPredictor(codec)
    low, high = small_cost.fastest("board")[1], small_cost.slowest("board")[1]
    problem = SearchProblem(small_cost, "board", (low + high) / 2)

    def evaluated(genomes: Genomes) -> History:
        return History(genomes, exact.predict_ap(genomes), np.zeros(len(genomes)), problem.latency_ms(genomes))

    def volume(history: History) -> float:
        front = history.rows(history.front(problem.budget_ms))
        return hypervolume(np.stack([1 - front.ap, front.latency_ms], axis=1), (1.0, problem.budget_ms))

    oracle = evaluated(everything)
    proposed = SurrogateEvolution(problem, exact, QUICK).propose(no_history(codec), 60, np.random.default_rng(0))
    found = evaluated(proposed)
    assert volume(found) > 0.99 * volume(oracle)
    assert found.ap.max() == pytest.approx(oracle.ap[oracle.latency_ms <= problem.budget_ms].max())


def test_an_exhausted_space_proposes_nothing(small_space: SearchSpace, small_cost: CostModel) -> None:
    codec = small_cost.codec
    grid = np.stack(np.meshgrid(*map(np.arange, codec.cardinalities), indexing="ij"), axis=-1)
    everything = distinct(codec.canonicalise(grid.reshape(-1, codec.length).astype(np.int8)))
    exact: Any = FormulaPredictor(codec)
    problem = SearchProblem(small_cost, "board", 1e9)
    ap = exact.predict_ap(everything)
    history = History(everything, ap, 0 * ap, problem.latency_ms(everything))
    assert len(SurrogateEvolution(problem, exact, QUICK).propose(history, 5, np.random.default_rng(0))) == 0


def test_front_of_a_history_is_feasible_and_has_equal_points_once() -> None:
    genomes = np.arange(5, dtype=np.int8)[:, None]
    history = History(genomes, np.array([0.5, 0.5, 0.6, 0.9, 0.4]), np.zeros(5), np.array([5.0, 5.0, 7.0, 11.0, 6.0]))
    assert history.front(budget_ms=10.0).tolist() == [2, 0]
    assert history.front(budget_ms=1.0).tolist() == []
    assert genome_keys(genomes).shape == (5,)


def test_a_budget_below_the_fastest_subnet_names_the_least_possible(tiny_cost: CostModel) -> None:
    least_ms = tiny_cost.fastest("board")[1]
    SearchProblem(tiny_cost, "board", least_ms)
    for budget_ms in (least_ms * 0.999, float("nan")):
        with pytest.raises(InfeasibleBudgetError, match=f"on board: the least possible latency is {least_ms:.4g} ms"):
            SearchProblem(tiny_cost, "board", budget_ms)
