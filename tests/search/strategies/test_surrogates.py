"""Surrogates: fixed, refitted and learned from a search's own evaluations."""

from typing import Any

import numpy as np
import pytest

from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.surrogates import LearnedSurrogate, RefittedSurrogate


def test_a_refitted_one_takes_in_what_was_measured(problem: SearchProblem, predictor: AccuracyPredictor) -> None:
    genomes = problem.cost.codec.sample(20, np.random.default_rng(1))
    before = predictor.predict_ap(genomes)
    model = RefittedSurrogate(predictor).after(problem.evaluated(genomes, before + 0.1))
    assert np.abs(model.predict_ap(genomes) - before - 0.1).mean() < 0.06
    np.testing.assert_array_equal(predictor.predict_ap(genomes), before)


@pytest.mark.parametrize("num_evaluations", [2, 31, 32, 50])
def test_a_learned_one_needs_no_predictor(problem: SearchProblem, tiny_ap: Any, num_evaluations: int) -> None:
    surrogate = LearnedSurrogate(problem.cost.space)
    genomes = problem.cost.codec.sample(num_evaluations, np.random.default_rng(2))
    history = problem.evaluated(genomes, tiny_ap(genomes))
    others = problem.cost.codec.sample(200, np.random.default_rng(3))
    mean, std = surrogate.after(history).predict(others)
    again, _ = LearnedSurrogate(problem.cost.space).after(history).predict(others)
    np.testing.assert_array_equal(mean, again)
    assert (std >= 0).all()
    if num_evaluations >= 31:
        assert np.corrcoef(mean, tiny_ap(others))[0, 1] > 0.9


def test_of_many_evaluations_the_best_and_a_spread_are_learned_from(problem: SearchProblem, tiny_ap: Any) -> None:
    genomes = np.unique(problem.cost.codec.sample(120, np.random.default_rng(4)), axis=0)
    history = problem.evaluated(genomes, tiny_ap(genomes))
    model = LearnedSurrogate(problem.cost.space, most_samples=60).after(history)
    best = np.argsort(-history.ap)[:30]
    assert np.abs(model.predict_ap(genomes[best]) - history.ap[best]).max() < 0.02
