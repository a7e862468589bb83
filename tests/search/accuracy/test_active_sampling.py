"""Further samples: where regressors disagree, until tau is known or the budget is spent; the same ones again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from litepose_ofa.search.accuracy import active_sampling
from litepose_ofa.search.accuracy.active_sampling import RefinementSettings, propose_genomes, refine_samples
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import AccuracySamples, stratified_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes, distinct
from litepose_ofa.search.rank_agreement import Estimate

Accuracies = Callable[[Genomes], NDArray[np.float64]]


@pytest.fixture(autouse=True)
def _fast_regressors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_sampling, "KINDS", ("ridge", "gaussian_process"))
    monkeypatch.setattr(active_sampling, "POOL", 512)


@pytest.fixture
def samples(tiny_cost: CostModel, tiny_ap: Accuracies) -> AccuracySamples:
    genomes = stratified_genomes(tiny_cost, 24, np.random.default_rng(0))
    return AccuracySamples(tiny_cost.space, 14, {"weights": "w"}, genomes, tiny_ap(genomes))


def test_the_budget_is_spent_on_new_subnets_of_both_sorts(
    samples: AccuracySamples, tiny_cost: CostModel, tiny_ap: Accuracies, tmp_path: Path
) -> None:
    settings = RefinementSettings(budget=11, batch=6, tau_width=1e-9)
    rounds: list[tuple[int, Estimate]] = []
    refined = refine_samples(
        samples, tiny_cost, tiny_ap, settings, seed=0, on_round=lambda s, tau: rounds.append((len(s.ap), tau))
    )
    assert [size for size, _ in rounds] == [24, 30, 35]
    assert refined.num_proposed == 3 + 2
    assert len(distinct(refined.genomes)) == len(refined.ap) == 35
    np.testing.assert_array_equal(refined.ap, tiny_ap(refined.genomes))
    np.testing.assert_array_equal(refined.genomes[:24], samples.genomes)
    drawn = refined.genomes[refined.is_drawn]
    assert len(drawn) == 30
    assert {row.tobytes() for row in drawn} <= {
        row.tobytes() for row in stratified_genomes(tiny_cost, 36, np.random.default_rng(0))
    }
    refined.save(tmp_path / "samples.json")
    assert AccuracySamples.load(tmp_path / "samples.json").num_proposed == 5


def test_a_second_run_asks_for_the_same(samples: AccuracySamples, tiny_cost: CostModel, tiny_ap: Accuracies) -> None:
    settings = RefinementSettings(budget=8, batch=4, tau_width=1e-9)
    first, second = (refine_samples(samples, tiny_cost, tiny_ap, settings, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.genomes, second.genomes)


def test_a_known_tau_needs_no_more(samples: AccuracySamples, tiny_cost: CostModel) -> None:
    def measure(genomes: Genomes) -> NDArray[np.float64]:
        raise AssertionError("nothing is to be measured")

    wide = RefinementSettings(budget=100, batch=4, tau_width=2.0, held_out=0.5)  # of 6, tau has no interval
    assert refine_samples(samples, tiny_cost, measure, wide, seed=0) is samples


def test_proposals_are_uncertain_and_spread(samples: AccuracySamples, tiny_cost: CostModel) -> None:
    few = AccuracySamples(samples.space, 14, samples.identity, samples.genomes, samples.ap)
    proposed = propose_genomes(few, tiny_cost, 8, np.random.default_rng(0))
    assert len(distinct(proposed, seen=samples.genomes)) == 8
    macs = tiny_cost.evaluate(proposed)["macs"]
    assert (np.diff(macs) > 0).all()
    predictor = AccuracyPredictor(few.space, few.genomes, few.ap, identity={})
    ordinary = tiny_cost.codec.sample(200, np.random.default_rng(1))
    assert predictor.predict(proposed)[1].mean() > predictor.predict(ordinary)[1].mean()
