"""The search as an experiment of Ray Tune, for those whose tools live there: a Searcher, a Trainable, and both run.

The workspace's measured accuracies are the record. A killed search that is started again finds in them what it had
measured, proposes the same and measures the rest.
"""

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.study.generations import Generations, SearchRun
from litepose_ofa.search.study.trials import read_genome, trial_params, write_genome
from litepose_ofa.search.workers.pool import MakeMeasure, require_workers
from litepose_ofa.search.workers.session import worker_error
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, require, require_numbers
from litepose_ofa.supernet.files import read_json, write_json

logger = logging.getLogger(__name__)

EXPERIMENT = "ray_tune"


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """What Ray Tune evaluates with.

    Attributes:
        num_workers: Trials at a time.
        cpus_per_worker: CPUs that each reserves.
        gpus_per_worker: GPUs that each reserves; a fraction shares one.
        most_deaths: How often the workers of one trial may die.

    Raises:
        InputError: If a value is out of its range.
    """

    num_workers: int = 1
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0
    most_deaths: int = 3

    def __post_init__(self) -> None:
        require(self.most_deaths >= 1, "most_deaths", self.most_deaths, "at least 1")
        require_numbers(self)


class GenerationSearcher(Searcher):
    """Suggest the generations of a search to Ray Tune; the next one when the last is complete.

    A trial's config has the genome, and what a trial of an Optuna study shows; its result is ``ap``.

    Args:
        generations: The search.
        cache: Measured accuracies; what it knows is no trial, and what trials measure is added.
        measured_on: Identity of what they are measured on.

    Attributes:
        generations: The search.
        refused: Why it cannot go on, or None.
    """

    def __init__(self, generations: Generations, *, cache: AccuracyCache, measured_on: Mapping[str, Any]) -> None:
        super().__init__()
        self.generations = generations
        self.refused: str | None = None
        self._cache = cache
        self._measured_on = dict(measured_on)
        self._proposed: Genomes | None = None
        self._ap: dict[int, float] = {}
        self._waiting: deque[int] = deque()
        self._running: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """Return the config of a trial, None while a generation is not complete, or FINISHED."""
        if self.refused is None:
            while not self._waiting and not self._running and self.generations.stopped_by is None:
                self._next_generation()
        if self.refused is not None or self.generations.stopped_by is not None:
            return Searcher.FINISHED
        if not self._waiting:
            return None
        index = self._running[trial_id] = self._waiting.popleft()
        assert self._proposed is not None
        arch = self._arch(index)
        return {
            "arch": arch.digest,
            "generation": len(self.generations.progress),
            "genome": write_genome(self._proposed[index]),
            **trial_params(arch),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take in a trial's AP; one that failed ends the search and waits for another start."""
        index = self._running.pop(trial_id)
        arch = self._arch(index)
        try:
            if error or result is None:
                raise InputError(f"architecture {arch.digest} could not be measured")
            if result.get("refused"):
                raise InputError(result["refused"])
            self._cache.put(arch, self._measured_on, result["ap"])
            self._ap[index] = result["ap"]
        except InputError as refusal:
            self.refused = str(refusal)
            self._waiting.appendleft(index)

    def save(self, checkpoint_path: str) -> None:
        """Write where the search is, as JSON."""
        state = {
            "generations": self.generations.state_dict(),
            "proposed": None if self._proposed is None else self._proposed.tolist(),
            "ap": self._ap,
            "running": self._running,
        }
        write_json(Path(checkpoint_path), state)

    def restore(self, checkpoint_path: str) -> None:
        """Go on from what ``save`` wrote; trials that ran then are running still.

        Raises:
            InputError: If the file is damaged.
        """
        state = read_json(Path(checkpoint_path))
        try:
            self.generations.load_state_dict(state["generations"])
            self._proposed = state["proposed"] and np.array(state["proposed"], np.int8)
            self._ap = {int(index): ap for index, ap in state["ap"].items()}
            self._running = dict(state["running"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{checkpoint_path}: is not the state of a search") from None
        known = {*self._ap, *self._running.values()}
        self._waiting = deque(index for index in range(len(state["proposed"] or ())) if index not in known)

    def _next_generation(self) -> None:
        """Tell the search of a generation that is complete, or open the next with what the cache has of it."""
        if self._proposed is None:
            self._proposed = self.generations.propose()
            for index in range(len(self._proposed)):
                known = self._cache.get(self._arch(index), self._measured_on)
                if known is None:
                    self._waiting.append(index)
                else:
                    self._ap[index] = known
        else:
            ap = [self._ap[index] for index in range(len(self._proposed))]
            self.generations.tell(self._proposed, np.array(ap, np.float64))
            self._proposed, self._ap = None, {}

    def _arch(self, index: int) -> Arch:
        assert self._proposed is not None
        return self.generations.problem.cost.codec.decode(self._proposed[index])


class SubnetTrainable(tune.Trainable):
    """Measures one architecture a trial; a worker keeps what measures for its next trials."""

    def setup(self, config: dict[str, Any], **parameters: Any) -> None:
        """Build what measures, by the parameters ``make_measure`` and ``space``."""
        make_measure: MakeMeasure = parameters["make_measure"]
        self._codec = GenomeCodec(parameters["space"])
        self._measure = make_measure()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial."""
        return True

    def step(self) -> dict[str, Any]:
        """Measure the config's architecture; bad input is a result, since to try it again is no use."""
        arch = self._codec.decode(read_genome(self.config["genome"]))
        try:
            return {"ap": float(self._measure(arch)), "refused": None, "done": True}
        except InputError as error:
            return {"ap": float("nan"), "refused": str(error), "done": True}


def run_in_tune(
    make_measure: MakeMeasure,
    generations: Generations,
    *,
    cache: AccuracyCache,
    measured_on: Mapping[str, Any],
    settings: TuneSettings,
    folder: Path,
) -> SearchRun:
    """Search to the end, from what is measured already; Ray must run (``ray_session``).

    Args:
        make_measure: Builds what measures, once a worker; it goes through the object store once.
        generations: The search, from its beginning.
        cache: Measured accuracies, which trials add to.
        measured_on: Identity of what is measured on.
        settings: Workers.
        folder: Where Tune keeps its experiment; on a cluster, all nodes must see it.

    Returns:
        What the search came to: the same as a ``SearchStudy``.

    Raises:
        InputError: If no node has room for a trial, an architecture cannot be measured, or its AP is no AP.
        KeyboardInterrupt: If SIGINT came; what is measured is kept.
    """
    require_workers(settings.num_workers, settings.cpus_per_worker, settings.gpus_per_worker)
    searcher = GenerationSearcher(generations, cache=cache, measured_on=measured_on)
    results = _tuner(make_measure, searcher, settings, folder.resolve()).fit()
    for error in results.errors:
        raise _cause(error, searcher.refused)
    if searcher.refused is not None:
        raise InputError(searcher.refused)
    if generations.stopped_by is None:
        raise KeyboardInterrupt
    return generations.outcome


def _tuner(make_measure: MakeMeasure, searcher: GenerationSearcher, settings: TuneSettings, folder: Path) -> tune.Tuner:
    space: SearchSpace = searcher.generations.problem.cost.space
    trainable = tune.with_resources(
        tune.with_parameters(SubnetTrainable, make_measure=make_measure, space=space),
        {"cpu": settings.cpus_per_worker, "gpu": settings.gpus_per_worker},
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=settings.num_workers,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=settings.most_deaths - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _trial_name(trial: Trial) -> str:
    return f"{trial.config['arch']}_{trial.trial_id}"


def _cause(error: Exception, refused: str | None) -> Exception:
    """Return what a trial's worker raised: what a user can mend as such, the rest with the traceback from there."""
    if isinstance(error, RayActorError):
        return InputError(f"{refused}: its workers died")
    return worker_error(error)
