"""Fit the accuracy predictor to the measured subnets, and say how well it ranks subnets it has not seen."""

import logging
from typing import get_args

import numpy as np
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_space
from litepose_ofa.scripts.build.search import predictor_path, samples_path
from litepose_ofa.scripts.command.app import run_folder, script, start_run
from litepose_ofa.scripts.settings.searching import FitVerb
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor, training_set
from litepose_ofa.search.accuracy.predictor_quality import (
    QUALITY_FILE,
    PredictorComparison,
    compare_regressors,
    hold_out,
    require_samples,
)
from litepose_ofa.search.accuracy.regressors import Kind
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.rank_agreement import CONFIDENCE, Estimate
from litepose_ofa.search.reporting.page.drawing import save_png
from litepose_ofa.search.reporting.page.predictor_section import predictor_blocks
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.files import locked_folder, write_json

logger = logging.getLogger(__name__)

PLOT_FILE = "predictor.png"


@script("fit", FitVerb)
def main(cfg: DictConfig) -> None:
    """Read ``samples.json``, compare, fit; write ``predictor.safetensors``, ``quality.json``, ``predictor.png``."""
    with locked_folder(run_folder()):
        _fit(cfg)


def _fit(cfg: DictConfig) -> None:
    kinds = get_args(Kind)
    require(cfg.predictor in ("auto", *kinds), "predictor", cfg.predictor, f"one of auto, {', '.join(kinds)}")
    samples = AccuracySamples.load(samples_path(cfg))
    if samples.space != build_space(cfg):
        raise InputError(f"{samples_path(cfg)}: is of the space {samples.space.name!r}, not {cfg.space.name!r}")
    require_samples(samples.ap)
    folder = start_run(cfg)
    rng = np.random.default_rng(cfg.seed)
    held_out = hold_out(samples.is_drawn, cfg.held_out, rng)
    known = training_set(samples.space, samples.genomes, samples.ap, num_keypoints=samples.num_keypoints)
    comparison = compare_regressors(
        known,
        held_out,
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
    write_json(folder / QUALITY_FILE, quality)
    save_png(folder / PLOT_FILE, predictor_blocks(quality), "Accuracy predictor")
    predictor.save(predictor_path(cfg))
    logger.info("%s", _table(comparison))
    logger.info(
        "%s: %s, fitted to %d subnets; %s, %s",
        predictor_path(cfg), comparison.chosen, len(samples.ap), QUALITY_FILE, run_folder() / PLOT_FILE,
    )  # fmt: skip


def _table(comparison: PredictorComparison) -> str:
    """Return one line a kind, best first."""
    num_held_out, top_k = len(comparison.measured), next(iter(comparison.held_out.values())).agreement.top_k
    regret = f"top-{top_k} regret"
    intervals = f"in brackets {100 * CONFIDENCE:g} % bootstrap intervals"
    lines = [
        f"{len(comparison.rows)} subnets to choose on, {num_held_out} held out; {intervals}",
        f"{'':20}{'tau, cross-val.':17}{'tau, held out':19}{'MAE, AP':17}{regret + ', AP'}",
    ]
    ranked = sorted(comparison.held_out, key=lambda kind: -comparison.cross_validation[kind].kendall_tau)
    for kind in ranked:
        quality = comparison.held_out[kind]
        tau = _format(quality.agreement.kendall_tau, 1, ".2f")
        errors = _format(quality.mae, 100, ".1f"), _format(quality.agreement.regret, 100, ".1f")
        mark = " *" if kind == comparison.chosen else ""
        validated = f"{comparison.cross_validation[kind].kendall_tau:.2f}"
        lines.append(f"{kind + mark:20}{validated:17}{tau:19}{errors[0]:17}{errors[1]}")
    return "\n".join(lines)


def _format(estimate: Estimate, scale: float, form: str) -> str:
    value, low, high = (f"{scale * number:{form}}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low}, {high})"
