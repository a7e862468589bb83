"""Search the best subnet for one device and tier (with -m for several); started again, it goes on from where it was."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from scripts.cli import run_folder, script, start_run
from scripts.search_builders import (
    WorkspaceMeasure,
    build_evolution_settings,
    build_problem,
    build_study_settings,
    load_predictor,
    load_samples,
    open_accuracy_cache,
)
from search.evaluators import Evaluator, PredictorEvaluator, SupernetEvaluator
from search.evolution import SurrogateEvolution
from search.results import (
    CHOSEN_FILE,
    FRONT_FILE,
    Candidate,
    choose,
    front_candidates,
    sampled_candidates,
    verify,
    write_chosen,
    write_front,
)
from search.study import JOURNAL_FILE, SearchStudy
from supernet.errors import InputError, require
from supernet.files import read_json

logger = logging.getLogger(__name__)


@script("run_search")
def main(cfg: DictConfig) -> None:
    """Search, verify the best, write ``front.csv`` and ``chosen.json``."""
    verify_top = cfg.search.verify_top
    require(type(verify_top) is int and verify_top >= 0, "search.verify_top", verify_top, "an integer of at least 0")
    predictor = load_predictor(cfg)
    problem = build_problem(cfg, predictor.num_keypoints)
    measure = WorkspaceMeasure(cfg, predictor)
    truth = SupernetEvaluator(measure, identity=predictor.identity, cache=open_accuracy_cache(cfg))
    evaluators: dict[str, Evaluator] = {"predictor": PredictorEvaluator(predictor), "supernet": truth}
    if cfg.search.evaluator not in evaluators:
        raise InputError(f"search.evaluator is {cfg.search.evaluator!r}; known: {', '.join(evaluators)}")
    evaluator = evaluators[cfg.search.evaluator]
    folder = run_folder()
    study = SearchStudy(
        problem,
        evaluator,
        SurrogateEvolution(problem, predictor, build_evolution_settings(cfg)),
        path=folder / JOURNAL_FILE,
        name=f"{cfg.device.name}-{cfg.tier}",
        seed=cfg.seed,
        settings=build_study_settings(cfg),
    )
    finished = _is_finished(folder / CHOSEN_FILE, study.identity)
    if not finished and (cfg.search.verify_top or evaluator is truth):
        measure.load()
    start_run(cfg, artefacts=(JOURNAL_FILE,), ignore=("threads",))
    if finished:
        logger.info("%s: already searched", folder)
        return
    decoding = problem.latency_sources["decoding"]
    if decoding is not None and decoding["provenance"] == "assumed":
        logger.warning(
            "%s: budgets are a whole frame's, with the decoding cost of %s: an assumption for this device",
            cfg.device.name,
            decoding["measured_on"],
        )
    candidates = front_candidates(problem, study.run(), evaluator.source)
    top = min(verify_top, len(candidates))
    candidates[:top] = tqdm(verify(candidates[:top], truth), total=top, desc="verify", unit="subnet", disable=None)
    sampled = sampled_candidates(problem, load_samples(cfg, predictor), evaluator) if top else []
    chosen = choose([*candidates, *sampled])
    on_front = any(candidate.arch == chosen.arch for candidate in candidates)
    write_front(folder / FRONT_FILE, candidates if on_front else [chosen, *candidates])
    record = {
        "device": cfg.device.name,
        "table": cfg.device.table,
        "tier": cfg.tier,
        "budget_ms": problem.budget_ms,
        "latency_sources": problem.latency_sources,
        "search": study.identity,
    }
    write_chosen(folder / CHOSEN_FILE, chosen, record)
    logger.info("%s %s: %s", cfg.device.name, cfg.tier, _summary(chosen, problem.budget_ms, len(candidates)))


def _is_finished(path: Path, identity: dict[str, Any]) -> bool:
    return path.exists() and read_json(path).get("search") == identity


def _summary(chosen: Candidate, budget_ms: float, front_size: int) -> str:
    kind = "measured" if chosen.latency_provenance == "measured" else "estimated"
    known = [f"{chosen.accuracy.source} AP {100 * chosen.accuracy.ap:.1f}"]
    if chosen.verified is not None and chosen.verified != chosen.accuracy:
        known.append(f"{chosen.verified.source} AP {100 * chosen.verified.ap:.1f}")
    return (
        f"{chosen.arch.digest}, {', '.join(known)}, {kind} {chosen.latency_ms:.4g} ms "
        f"({chosen.latency_low_ms:.4g} to {chosen.latency_high_ms:.4g}) of {budget_ms:g} ms, "
        f"{chosen.macs / 1e6:.1f} MMACs, {chosen.params:,} parameters, front of {front_size}"
    )


if __name__ == "__main__":
    main()
