"""Measure subnets of the trained supernet for the accuracy predictor; started again, it goes on from where it was."""

import logging

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from tqdm import tqdm

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.scripts.build.data import plain
from litepose_ofa.scripts.build.networks import build_subnet_evaluator
from litepose_ofa.scripts.build.search import open_accuracy_cache, samples_path
from litepose_ofa.scripts.build.workers import BACKEND_KEYS, open_subnet_pool
from litepose_ofa.scripts.command.app import run_folder, script, start_run
from litepose_ofa.scripts.settings.searching import SampleVerb
from litepose_ofa.search.accuracy.active_sampling import RefinementSettings, refine_samples
from litepose_ofa.search.accuracy.evaluators import SupernetEvaluator
from litepose_ofa.search.accuracy.sampling import AccuracySamples, stratified_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.rank_agreement import Estimate
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator
from litepose_ofa.supernet.files import locked_folder
from litepose_ofa.supernet.validation import validate

logger = logging.getLogger(__name__)

REFINE_KEYS = tuple(f"refine.{key}" for key in ("budget", "batch", "tau_width", "held_out"))


@script("sample", SampleVerb)
def main(cfg: DictConfig) -> None:
    """Choose subnets, measure those that the cache lacks, write ``samples.json``."""
    with locked_folder(run_folder()):
        _sample(cfg)


def _sample(cfg: DictConfig) -> None:
    refinement = validate(RefinementSettings, plain(cfg.refine), key="refine")
    subnets = build_subnet_evaluator(cfg, "search")
    cost, spread_over = _build_cost(cfg, subnets)
    start_run(cfg, artefacts=(samples_path(cfg).name,), ignore=("num_subnets", "threads", *REFINE_KEYS, *BACKEND_KEYS))
    genomes = stratified_genomes(cost, cfg.num_subnets, np.random.default_rng(cfg.seed), spread_over=spread_over)
    with open_subnet_pool(cfg, subnets) as (pool, identity):
        evaluator = SupernetEvaluator(pool, identity=identity, cache=open_accuracy_cache(cfg))

        def measure(genomes: Genomes) -> NDArray[np.float64]:
            archs = cost.codec.decode_many(genomes)
            progress = tqdm(evaluator.stream(archs), total=len(archs), unit="subnet", disable=None)
            return np.array([accuracy.ap for accuracy in progress])

        samples = AccuracySamples(subnets.space, subnets.num_keypoints, identity, genomes, measure(genomes))
        samples.save(samples_path(cfg))
        if refinement.budget:
            samples = refine_samples(
                samples, cost, measure, refinement, seed=cfg.seed, spread_over=spread_over, on_round=_log_round
            )
            samples.save(samples_path(cfg))
    ap = 100 * samples.ap
    logger.info(
        "%s: AP of %d subnets measured on the search split, %.1f to %.1f",
        samples_path(cfg),
        len(ap),
        ap.min(),
        ap.max(),
    )


def _build_cost(cfg: DictConfig, subnets: SubnetEvaluator) -> tuple[CostModel, str]:
    """Return the cost model, and the name of the cost that subnets are spread over."""
    if cfg.spread_over == "macs":
        return CostModel(subnets.space, num_keypoints=subnets.num_keypoints), "macs"
    tables = {cfg.spread_over: LatencyTable.load(cfg.spread_over)}
    cost = CostModel(subnets.space, tables=tables, num_keypoints=subnets.num_keypoints)
    return cost, f"latency_ms/{cfg.spread_over}"


def _log_round(samples: AccuracySamples, tau: Estimate) -> None:
    logger.info(
        "%d subnets, %d of them where regressors disagreed: held-out Kendall tau %.2f (%.2f, %.2f)",
        len(samples.ap), samples.num_proposed, tau.value, tau.low, tau.high,
    )  # fmt: skip
