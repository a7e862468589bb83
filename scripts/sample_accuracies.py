"""Measure subnets of the trained supernet for the accuracy predictor; started again, it goes on from where it was."""

import logging

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from scripts.builders import build_subnet_evaluator
from scripts.cli import script, start_run
from scripts.search_builders import open_accuracy_cache, samples_path
from search.cost import CostModel
from search.evaluators import SupernetEvaluator
from search.sampling import AccuracySamples, stratified_genomes
from supernet.errors import InputError

logger = logging.getLogger(__name__)


@script("sample_accuracies")
def main(cfg: DictConfig) -> None:
    """Choose subnets, measure those that the cache lacks, write ``samples.json``."""
    start_run(cfg, artefacts=(samples_path(cfg).name,), ignore=("num_subnets", "threads"))
    if type(cfg.num_subnets) is not int or cfg.num_subnets < 2:
        raise InputError(f"num_subnets is {cfg.num_subnets!r}; it must be an integer of at least 2")
    subnets = build_subnet_evaluator(cfg, "search")
    cost = CostModel(subnets.space, num_keypoints=subnets.num_keypoints)
    genomes = stratified_genomes(cost, cfg.num_subnets, np.random.default_rng(cfg.seed))
    evaluator = SupernetEvaluator(subnets.measure, identity=subnets.identity, cache=open_accuracy_cache(cfg))
    archs = cost.codec.decode_many(genomes)
    ap = np.array([evaluator.evaluate([arch])[0].ap for arch in tqdm(archs, unit="subnet", disable=None)])
    path = samples_path(cfg)
    AccuracySamples(subnets.space, subnets.num_keypoints, subnets.identity, genomes, ap).save(path)
    logger.info(
        "%s: AP of %d subnets measured on the search split, %.1f to %.1f", path, len(ap), 100 * ap.min(), 100 * ap.max()
    )


if __name__ == "__main__":
    main()
