"""Fit the accuracy predictor to the measured subnets, and say how well it ranks subnets it has not seen."""

import logging
from typing import Annotated, get_args

import numpy as np
from omegaconf import DictConfig
from pydantic import Field

from litepose_ofa.scripts.build.data import build_space, workspace_of
from litepose_ofa.scripts.command.app import script, start_run
from litepose_ofa.scripts.settings.fields import Choice
from litepose_ofa.scripts.settings.groups import RunSettings
from litepose_ofa.search.accuracy import predictor_quality
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.regressors import Kind
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.reporting.page.drawing import save_png
from litepose_ofa.search.reporting.page.predictor_section import predictor_blocks
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.files import write_json
from litepose_ofa.supernet.validation import Count

logger = logging.getLogger(__name__)

PLOT_FILE = "predictor.png"


class FitVerb(RunSettings):
    predictor: Choice
    held_out: Annotated[float, Field(gt=0, lt=1)]
    folds: Annotated[int, Field(ge=2, le=1_000)]
    repeats: Annotated[int, Field(ge=1, le=1_000)]
    top_k: Count


@script("fit", FitVerb, locked=True)
def main(cfg: DictConfig) -> None:
    """Read ``samples.json``, compare, fit; write ``predictor.safetensors``, ``quality.json``, ``predictor.png``."""
    kinds = get_args(Kind)
    require(cfg.predictor in ("auto", *kinds), "predictor", cfg.predictor, f"one of auto, {', '.join(kinds)}")
    workspace = workspace_of(cfg)
    samples = AccuracySamples.load(workspace.samples)
    if samples.space != build_space(cfg):
        raise InputError(f"{workspace.samples}: is of the space {samples.space.name!r}, not {cfg.space.name!r}")
    predictor_quality.require_samples(samples.ap)
    folder = start_run(cfg)
    rng = np.random.default_rng(cfg.seed)
    held_out = predictor_quality.hold_out(samples.is_drawn, cfg.held_out, rng)
    comparison = predictor_quality.compare_regressors(
        samples.training_set,
        held_out,
        macs=CostModel(samples.space, num_keypoints=samples.num_keypoints).evaluate(samples.genomes)["macs"],
        kinds=kinds if cfg.predictor == "auto" else (cfg.predictor,),
        top_k=min(cfg.top_k, len(held_out)),
        folds=cfg.folds,
        repeats=cfg.repeats,
        rng=rng,
    )
    predictor = AccuracyPredictor(
        samples.space,
        samples.genomes,
        samples.ap,
        identity=samples.identity,
        kind=comparison.chosen,
        num_keypoints=samples.num_keypoints,
    )
    quality = {**comparison.to_dict(), "predictions": comparison.predictions(samples.ap)}
    write_json(folder / predictor_quality.QUALITY_FILE, quality)
    save_png(folder / PLOT_FILE, predictor_blocks(quality), "Accuracy predictor")
    predictor.save(workspace.predictor)
    logger.info("%s", predictor_quality.format_comparison(comparison))
    logger.info(
        "%s: %s, fitted to %d subnets; %s, %s",
        workspace.predictor, comparison.chosen, len(samples.ap), predictor_quality.QUALITY_FILE, folder / PLOT_FILE,
    )  # fmt: skip
