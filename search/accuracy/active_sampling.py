"""Which further subnets to measure: where regressors disagree, until a predictor's ranking is known well enough.

Legend: n genomes, G genes, m samples.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from litepose_ofa.search.accuracy.features import GenomeFeatures
from litepose_ofa.search.accuracy.predictor_quality import compare_regressors, hold_out
from litepose_ofa.search.accuracy.regressors import REGRESSORS, Kind
from litepose_ofa.search.accuracy.sampling import AccuracySamples, spread_pool, stratified_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes, distinct
from litepose_ofa.search.rank_agreement import Estimate
from litepose_ofa.supernet.validation import settings

POOL = 4096
KINDS: tuple[Kind, ...] = ("ridge", "gaussian_process", "mlp_ensemble")
"""Regressors whose disagreement counts: they say different things far from the samples, and predict fast."""

MeasureGenomes = Callable[[Genomes], NDArray[np.float64]]
"""Measures the AP of genomes, shape (n, G), in [0, 1], shape (n,)."""


@settings
class RefinementSettings:
    """When to stop asking for samples.

    Attributes:
        budget: Further subnets to measure at most; 0 asks for none.
        batch: Subnets of a round: one half where the regressors disagree, one half drawn without a model.
        tau_width: The goal: the interval of Kendall's tau on held-out subnets is no wider.
        held_out: Share of the subnets drawn without a model that tau is taken on.
    """

    budget: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    batch: Annotated[int, Field(ge=2)] = 20
    tau_width: Annotated[float, Field(gt=0, le=2)] = 0.15
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.25


def refine_samples(
    samples: AccuracySamples,
    cost: CostModel,
    measure: MeasureGenomes,
    refinement: RefinementSettings,
    *,
    seed: int,
    spread_over: str = "macs",
    on_round: Callable[[AccuracySamples, Estimate], None] = lambda samples, tau: None,
) -> AccuracySamples:
    """Measure further subnets until tau on held-out ones is known to the wanted width or the budget is spent.

    Tau is that of the regressor of the best cross-validation on subnets drawn without a model, which it did not see; in
    every round some are added to these, so that their number grows with that of the others. What a model asked for
    comes last in the samples. With equal arguments the same subnets are asked for, so that a killed run goes on from
    its cache. ``on_round`` is called with the samples and tau before each round and at the end.
    """
    most = len(samples.ap) + refinement.budget
    while True:
        draw = np.random.default_rng(seed)
        held_out = hold_out(samples.is_drawn, refinement.held_out, draw)
        macs = cost.evaluate(samples.genomes)["macs"]
        comparison = compare_regressors(
            samples.training_set, held_out, macs=macs, kinds=KINDS, top_k=1, repeats=1, rng=draw
        )
        tau = comparison.held_out[comparison.chosen].agreement.kendall_tau
        on_round(samples, tau)
        n = min(refinement.batch, most - len(samples.ap))
        if n <= 0 or (tau.low is not None and tau.high is not None and tau.high - tau.low <= refinement.tau_width):
            return samples
        proposed = propose_genomes(samples, cost, n // 2, np.random.default_rng([seed, len(samples.ap)]))
        known = np.concatenate([samples.genomes, proposed])
        candidates = stratified_genomes(cost, len(samples.ap) + n, np.random.default_rng(seed), spread_over=spread_over)
        drawn = distinct(candidates, seen=known)[: n - len(proposed)]
        if len(drawn) + len(proposed) == 0:
            return samples
        samples = _extended(samples, drawn, proposed, measure)


def propose_genomes(samples: AccuracySamples, cost: CostModel, n: int, rng: np.random.Generator) -> Genomes:
    """Return the n genomes, spread over MACs, whose accuracy regressors are least sure of, shape (n, G).

    Uncertainty is the spread between kinds of regressors together with what each says of itself.
    """
    if n == 0:
        return samples.genomes[:0]
    pool = distinct(spread_pool(cost.codec, POOL, rng), seen=samples.genomes)
    features = GenomeFeatures(samples.space, num_keypoints=samples.num_keypoints)(pool)
    known = samples.training_set
    regressors = [REGRESSORS[kind](known) for kind in KINDS]
    means = np.array([regressor.predict_mean(features) for regressor in regressors])
    variances = np.array([regressor.predict_std(features) ** 2 for regressor in regressors])
    uncertainty = means.var(axis=0) + variances.mean(axis=0)
    by_macs = np.argsort(cost.evaluate(pool)["macs"], kind="stable")
    strata = [stratum for stratum in np.array_split(by_macs, n) if len(stratum)]
    return pool[[stratum[np.argmax(uncertainty[stratum])] for stratum in strata]]


def _extended(samples: AccuracySamples, drawn: Genomes, proposed: Genomes, measure: MeasureGenomes) -> AccuracySamples:
    """Return the samples with measured ones of both sorts put in at the end of their sort."""
    ap = measure(np.concatenate([drawn, proposed]))
    end = len(samples.ap) - samples.num_proposed
    genomes = np.concatenate([samples.genomes[:end], drawn, samples.genomes[end:], proposed])
    values = np.concatenate([samples.ap[:end], ap[: len(drawn)], samples.ap[end:], ap[len(drawn) :]])
    return replace(samples, genomes=genomes, ap=values, num_proposed=samples.num_proposed + len(proposed))
