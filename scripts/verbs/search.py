"""Search the best subnet for a device and tier (with -m for several); started again, it goes on from where it was."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field
from tqdm import tqdm

from litepose_ofa.scripts.build.data import workspace_of
from litepose_ofa.scripts.build.search import (
    SearchAccuracy,
    build_accuracy,
    build_course,
    build_problem,
    build_strategy,
    find_devices,
)
from litepose_ofa.scripts.command.app import run_folder, script, start_run
from litepose_ofa.scripts.settings.fields import Name, OneOrSeveral, PathText
from litepose_ofa.scripts.settings.groups import BackendSettings, DeviceSettings, MeasuringSettings, SearchSettings
from litepose_ofa.search.accuracy.evaluators import identity_digest
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.study import results
from litepose_ofa.search.study.generations import Generations
from litepose_ofa.search.study.storages import JOURNAL_FILE
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.search.workspace import RUN_RECORD
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import NonNegative, Positive

logger = logging.getLogger(__name__)

FREE_SETTINGS = ("threads", "search.seconds", "storage", "device.table", "device.decoding", "warm_start", "backend")
"""Settings that may change between two starts; what files hold, wherever they are, the study has a digest of."""


class SearchVerb(MeasuringSettings):
    device: DeviceSettings
    search: SearchSettings
    backend: BackendSettings
    evaluator: Literal["predictor", "supernet", "published"]
    published: Literal["crowdpose", "coco"]
    devices: Annotated[list[Name], OneOrSeveral, Field(min_length=1)] | None
    goal: Literal["front", "shared"]
    tier: Name
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
    """Search, verify the best, write ``front.csv`` and ``chosen.json`` for each device, ``progress.csv`` for all."""
    devices = find_devices(cfg)
    with ExitStack() as stack:
        accuracy = build_accuracy(cfg, stack)
        problem = build_problem(cfg, devices, accuracy.num_keypoints)
        strategy = build_strategy(cfg, problem, accuracy.surrogate)
        generations = Generations(problem, strategy, **build_course(cfg))
        name = str(cfg.run_folder)
        if cfg.storage is not None:  # a database may have studies of other workspaces, wherever these are
            name = f"{name}/{identity_digest({**problem.identity, **accuracy.evaluator.describe()})}"
        storage = cfg.storage or run_folder() / JOURNAL_FILE
        study = SearchStudy(generations, accuracy.evaluator, storage=storage, name=name)
        outputs = [_Output(cfg, device, study) for device in devices]
        finished = all(output.is_finished for output in outputs)
        pool = accuracy.pool
        is_measuring = accuracy.evaluator is accuracy.truth
        if not finished and pool is not None and (cfg.search.verify_top or is_measuring):
            _ = pool.opened  # what it refuses leaves no record of a run
        start_run(cfg, artefacts=(JOURNAL_FILE,), ignore=FREE_SETTINGS)
        if finished:
            logger.info("%s: already searched", run_folder())
            return
        searched = None
        if pool is not None and is_measuring and cfg.backend.name == "ray_tune":
            searched = pool.search_in_tune(replace(generations), run_folder())
        run = study.run(searched=searched)
        results.write_progress(run_folder() / results.PROGRESS_FILE, run.progress, accuracy.evaluator.source)
        for output, (front, chosen) in zip(outputs, _fronts(cfg, problem, run, accuracy), strict=True):
            output.write(front, chosen, run)


def _fronts(
    cfg: DictConfig, problem: SearchProblem, run: Generations, accuracy: SearchAccuracy
) -> Iterator[tuple[list[results.Candidate], results.Candidate]]:
    """Yield each device's front, the best of it verified, and what is chosen from it or from the measured samples."""
    shared: results.Candidate | None = None
    for device in problem.devices:
        rows = problem.shared_front(run.history) if problem.goal == "shared" else problem.front(run.history, device)
        if not len(rows):
            raise InputError(
                f"none of the {len(run.history)} subnets evaluated keeps the constraints on {device}; "
                f"search longer (search.generations, search.first) or allow more"
            )
        front = results.front_candidates(problem, run.history.rows(rows), accuracy.evaluator.source, device=device)
        sampled: list[results.Candidate] = []
        if accuracy.truth is not None and cfg.search.verify_top:
            top = min(cfg.search.verify_top, len(front))
            bar = tqdm(front[:top], desc=f"verify {device}", unit="subnet", disable=None)
            front[:top] = [replace(each, verified=accuracy.truth.evaluate([each.arch])[0]) for each in bar]
            if accuracy.predictor is not None:
                samples = AccuracySamples.load(workspace_of(cfg).samples)
                accuracy.predictor.require(space=samples.space, identity=samples.identity)
                sampled = results.sampled_candidates(problem, samples, accuracy.evaluator, device=device)
        choices = [*front, *sampled]
        chosen = results.choose(choices) if shared is None else next(c for c in choices if c.arch == shared.arch)
        if problem.goal == "shared":
            shared = chosen
        yield front, chosen


class _Output:
    """The files of a search for one of its devices: beside the other devices' searches of the workspace."""

    def __init__(self, cfg: DictConfig, device: DeviceSettings, study: SearchStudy) -> None:
        self._cfg = cfg
        self._device = device
        self._problem = study.problem
        self._search = {**study.identity, "table": study.problem.cost.tables[device.name].digest}
        self.folder = workspace_of(cfg).search(device.name, cfg.tier, cfg.goal)
        if len(study.problem.devices) == 1:
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

    def write(self, front: list[results.Candidate], chosen: results.Candidate, run: Generations) -> None:
        if all(candidate.arch != chosen.arch for candidate in front):
            front = [chosen, *front]
        results.write_front(self.folder / results.FRONT_FILE, front)
        name, problem = self._device.name, self._problem
        record: dict[str, Any] = {
            "device": name,
            "table": self._device.table,
            "tier": self._cfg.tier,
            "budget_ms": problem.budgets_ms[name],
            "goal": problem.goal,
            "evaluations": len(run.history),
            "stopped_by": run.stopped_by,
            "front_size": len(front),
            "search": self._search,
        }
        if problem.goal == "shared":
            record["regrets"] = problem.regrets(run.history, chosen.accuracy.ap)
        results.write_chosen(self.folder / results.CHOSEN_FILE, chosen, record)
        logger.info("%s %s: %s", name, self.folder.name, _summary(chosen, problem.budgets_ms[name], len(front)))


def _summary(chosen: results.Candidate, budget_ms: float, front_size: int) -> str:
    kind = "by measured operators" if chosen.latency_provenance == "measured" else "estimated"
    known = [f"{chosen.accuracy.source} AP {100 * chosen.accuracy.ap:.1f}"]
    if chosen.verified is not None and chosen.verified != chosen.accuracy:
        known.append(f"{chosen.verified.source} AP {100 * chosen.verified.ap:.1f}")
    return (
        f"{chosen.arch.digest}, {', '.join(known)}, {kind} {chosen.latency_ms:.4g} ms "
        f"({chosen.latency_low_ms:.4g} to {chosen.latency_high_ms:.4g}) of {budget_ms:.4g} ms, "
        f"{chosen.macs / 1e6:.1f} MMACs, {chosen.params:,} parameters, front of {front_size}"
    )
