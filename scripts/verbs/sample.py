"""Measure subnets of the trained supernet for the accuracy predictor; started again, it goes on from where it was."""

import logging
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from pydantic import Field
from tqdm import tqdm

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.scripts.build.data import settings_of, workspace_of
from litepose_ofa.scripts.build.workers import WorkspacePool
from litepose_ofa.scripts.command.app import script, start_run
from litepose_ofa.scripts.settings.fields import PathText, fields_of
from litepose_ofa.scripts.settings.groups import BackendSettings, MeasuringSettings
from litepose_ofa.search.accuracy.active_sampling import RefinementSettings, refine_samples
from litepose_ofa.search.accuracy.evaluators import SupernetEvaluator
from litepose_ofa.search.accuracy.sampling import AccuracySamples, stratified_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.rank_agreement import Estimate, format_estimate

logger = logging.getLogger(__name__)


class SampleVerb(MeasuringSettings):
    backend: BackendSettings
    num_subnets: Annotated[int, Field(ge=2, le=1_000_000)]
    spread_over: PathText
    refine: fields_of(RefinementSettings)  # type: ignore[valid-type]


@script("sample", SampleVerb, locked=True)
def main(cfg: DictConfig) -> None:
    """Choose subnets, measure those that the cache lacks, write ``samples.json``."""
    refinement, path = settings_of(RefinementSettings, cfg.refine, "refine"), workspace_of(cfg).samples
    with ExitStack() as stack:
        pool = WorkspacePool(cfg, stack)
        subnets = pool.subnets
        tables = {} if cfg.spread_over == "macs" else {cfg.spread_over: LatencyTable.load(cfg.spread_over)}
        cost = CostModel(subnets.space, tables=tables, num_keypoints=subnets.num_keypoints)
        spread_over = f"latency_ms/{cfg.spread_over}" if tables else "macs"
        start_run(cfg, artefacts=(path.name,), ignore=("num_subnets", "refine", "backend"))
        genomes = stratified_genomes(cost, cfg.num_subnets, np.random.default_rng(cfg.seed), spread_over=spread_over)
        evaluator = SupernetEvaluator(pool, identity=pool.identity, cache=pool.cache)

        def measure(genomes: Genomes) -> NDArray[np.float64]:
            archs = cost.codec.decode_many(genomes)
            progress = tqdm(evaluator.stream(archs), total=len(archs), unit="subnet", disable=None)
            return np.array([accuracy.ap for accuracy in progress])

        samples = AccuracySamples(subnets.space, subnets.num_keypoints, pool.identity, genomes, measure(genomes))
        samples.save(path)
        if refinement.budget:
            samples = refine_samples(
                samples, cost, measure, refinement, seed=cfg.seed, spread_over=spread_over, on_round=_log_round
            )
            samples.save(path)
    ap = 100 * samples.ap
    logger.info("%s: AP of %d subnets measured on the search split, %.1f to %.1f", path, len(ap), ap.min(), ap.max())


def _log_round(samples: AccuracySamples, tau: Estimate) -> None:
    logger.info(
        "%d subnets, %d of them where regressors disagreed: held-out Kendall tau %s",
        len(samples.ap), samples.num_proposed, format_estimate(asdict(tau)),
    )  # fmt: skip
