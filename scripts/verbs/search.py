"""Search the best subnet for a device and tier (with -m for several); started again, it goes on from where it was."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from litepose_ofa.scripts.build.data import workspace_of
from litepose_ofa.scripts.build.search import (
    SearchAccuracy,
    build_accuracy,
    build_course,
    build_problem,
    build_strategy,
    find_devices,
)
from litepose_ofa.scripts.build.search_progress import SearchProgress, stop_line
from litepose_ofa.scripts.command.app import run_folder, script, start_run
from litepose_ofa.scripts.settings.fields import Name, OneOrSeveral, PathText
from litepose_ofa.scripts.settings.groups import BackendSettings, DeviceSettings, MeasuringSettings, SearchSettings
from litepose_ofa.search.accuracy.evaluators import Source, identity_digest
from litepose_ofa.search.problem.problem import History, Target
from litepose_ofa.search.study import results
from litepose_ofa.search.study.generations import Generations
from litepose_ofa.search.study.storages import JOURNAL_FILE
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.search.workspace import RUN_RECORD
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.shipped import tell_shipped
from litepose_ofa.supernet.validation import NonNegative, Positive

logger = logging.getLogger(__name__)

PREDICTOR: Source = "predictor"

FREE_SETTINGS = ("search.seconds", "storage", "device.table", "device.decoding", "warm_start", "backend")
"""Settings that may change between two starts; what files hold, wherever they are, the study has a digest of."""


class SearchVerb(MeasuringSettings):
    supernet: PathText | None
    device: DeviceSettings
    search: SearchSettings
    backend: BackendSettings
    evaluator: Literal["supernet", "published"]
    published: Literal["crowdpose", "coco"]
    devices: Annotated[list[Name], OneOrSeveral, Field(min_length=1)] | None
    goal: Literal["front", "shared"]
    tier: Name
    tiers: Annotated[list[Name], OneOrSeveral, Field(min_length=1)] | None
    budget_ms: Positive | Literal["none"] | dict[Name, Positive | Literal["none"]] | None
    fps: Positive | None
    max_macs: Positive | None
    max_params: Positive | None
    max_peak_memory_bytes: Positive | None
    confidence: Annotated[float, Field(gt=0, lt=1)] | None
    people_per_frame: NonNegative
    warm_start: PathText | None
    storage: PathText | None


@script("search", SearchVerb, locked=True)
def main(cfg: DictConfig) -> None:
    """Search, write ``front.csv`` and ``chosen.json`` for each device and tier, ``progress.csv`` for all."""
    devices = find_devices(cfg)
    with ExitStack() as stack:
        accuracy = build_accuracy(cfg, stack)
        problem = build_problem(cfg, devices, accuracy.num_keypoints)
        strategy = build_strategy(cfg, problem, accuracy.surrogate)
        generations = Generations(problem, strategy, known=accuracy.known(problem), **build_course(cfg))
        name = str(cfg.run_folder)
        if cfg.storage is not None:  # a database may have studies of other workspaces, wherever these are
            name = f"{name}/{identity_digest({**problem.identity, **accuracy.evaluator.describe()})}"
        storage = cfg.storage or run_folder() / JOURNAL_FILE
        study = SearchStudy(generations, accuracy.evaluator, storage=storage, name=name)
        tables = {device.name: device.table for device in devices}
        outputs = [_Output(cfg, target, tables[target.device], study) for target in problem.targets]
        finished = all(output.is_finished for output in outputs)
        pool = accuracy.pool
        if not finished and pool is not None:
            _ = pool.opened  # what it refuses leaves no record of a run
        start_run(cfg, artefacts=(JOURNAL_FILE,), ignore=FREE_SETTINGS)
        tell_shipped(cfg.supernet)
        if finished:
            logger.info("%s: already searched", run_folder())
            return
        searched = None
        if pool is not None and cfg.backend.name == "ray_tune":
            searched = pool.search_in_tune(replace(generations), run_folder())
        with SearchProgress(generations) as progress:
            if pool is not None:
                pool.on_measured = progress.on_measured
            run = study.run(progress.on_generation, searched=searched)
        expected = _expected(run, accuracy)
        results.write_progress(run_folder() / results.PROGRESS_FILE, run.progress, accuracy.evaluator.source)
        for output, front in zip(outputs, _fronts(run, expected, accuracy), strict=True):
            output.write(front, run, expected)
        logger.info(stop_line(run))


def _expected(run: Generations, accuracy: SearchAccuracy) -> History:
    """Return the subnets evaluated, with the AP that all evaluations together let expect: good luck is taken off."""
    genomes = run.history.genomes
    return run.problem.evaluated(genomes, *accuracy.surrogate.after(run.history).predict(genomes))


def _fronts(run: Generations, expected: History, accuracy: SearchAccuracy) -> Iterator[list[results.Candidate]]:
    """Yield each target's front, the chosen subnet first."""
    problem, source = run.problem, accuracy.evaluator.source if accuracy.pool is None else PREDICTOR
    views = problem.views(expected)
    for target, view in zip(problem.targets, views, strict=False):
        rows = views[-1].front if problem.goal == "shared" else view.front
        if not len(rows):
            raise InputError(
                f"none of the {len(run.history)} subnets evaluated keeps the constraints on {target.device}; "
                f"search longer (search.generations, search.evaluations) or allow more"
            )
        measured = None if accuracy.pool is None else run.history.ap[rows]
        yield results.front_candidates(problem, expected.rows(rows), source, measured, device=target.device)


class _Output:
    """The files of a search for one of its targets: beside the other searches of that device in the workspace."""

    def __init__(self, cfg: DictConfig, target: Target, table: str, study: SearchStudy) -> None:
        self._target = target
        self._table = table
        self._tier = target.tier or cfg.tier
        self._problem = study.problem
        self._search = {**study.identity, "table": study.problem.cost.tables[target.device].digest}
        self.folder = workspace_of(cfg).search(target.device, self._tier, cfg.goal)
        if len(study.problem.targets) == 1:
            self.folder = run_folder()
        elif (self.folder / RUN_RECORD).exists():
            raise InputError(f"{self.folder}: has a search of its own; remove it, or give this one another tier's name")

    @property
    def is_finished(self) -> bool:
        try:
            outcome = results.SearchOutcome.load(self.folder)
        except InputError:  # not there, or not whole
            return False
        is_same = outcome.record.get("search") == self._search and outcome.record.get("stopped_by") != "seconds"
        return is_same and outcome.is_complete(run_folder())

    def write(self, front: list[results.Candidate], run: Generations, expected: History) -> None:
        chosen, problem, device = front[0], self._problem, self._target.device
        results.write_front(self.folder / results.FRONT_FILE, front)
        record: dict[str, Any] = {
            "device": device,
            "table": self._table,
            "tier": self._tier,
            "budget_ms": self._target.budget_ms,
            "goal": problem.goal,
            "evaluations": run.evaluated,
            "stopped_by": run.stopped_by,
            "front_size": len(front),
            "search": self._search,
        }
        if problem.goal == "shared":
            record["regrets"] = problem.regrets(expected, chosen.accuracy.ap)
        results.write_chosen(self.folder / results.CHOSEN_FILE, chosen, record)
        logger.info("%s %s: %s", device, self.folder.name, _summary(chosen, self._target.budget_ms))


def _summary(chosen: results.Candidate, budget_ms: float) -> str:
    mark = "" if chosen.latency_provenance == "measured" else "~"
    ap = f"{100 * chosen.accuracy.ap:.1f}"
    known = f"{chosen.accuracy.source} AP {ap}"
    if chosen.verified_ap is not None:
        known = f"AP {ap} expected, {100 * chosen.verified_ap:.1f} measured"
    return (
        f"{known}; {mark}{chosen.latency_ms:.4g} of {budget_ms:.4g} ms, {chosen.arch.image_size} px, "
        f"{chosen.macs / 1e6:,.1f} MMACs, {chosen.arch.digest}"
    )
