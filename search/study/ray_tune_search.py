"""The search as an experiment of Ray Tune, for those whose tools live there: a Searcher, a Trainable, and both run.

The workspace's measured accuracies are the record. A killed search that is started again finds in them what it had
measured, proposes the same and measures the rest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.study.generations import Generations
from litepose_ofa.search.study.trials import read_genome, trial_params, write_genome
from litepose_ofa.search.workers.pool import MakeMeasure, require_workers
from litepose_ofa.search.workers.session import worker_error
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json, write_json

EXPERIMENT = "ray_tune"

FAILURES_PER_DEATH = 2
"""Tune counts the task of a worker on a lost node as failed, and then the worker itself."""


class GenerationSearcher(Searcher):
    """Suggest the generations of a search to Ray Tune; the next one when the last is complete.

    A trial's config has the genome, and what a trial of an Optuna study shows; its result is ``ap``.

    Args:
        generations: The search, from its beginning.
        cache: Measured accuracies, the search's only record: what it has is not tried again, and trials add to it.
        measured_on: Identity of what they are measured on.

    Attributes:
        refused: Why the search cannot go on, or None.
    """

    def __init__(self, generations: Generations, *, cache: AccuracyCache, measured_on: Mapping[str, Any]) -> None:
        super().__init__()
        self.generations = generations
        self.refused: str | None = None
        self._cache = cache
        self._measured_on = dict(measured_on)
        self._archs: dict[str, tuple[Genomes, Arch]] = {}
        self._running: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """Return the config of a trial, None while a generation is not complete, or FINISHED."""
        waiting = self._waiting() if self.refused is None else []
        if self.refused is not None or self.generations.stopped_by is not None:
            return Searcher.FINISHED
        if not waiting:
            return None
        genome, arch = self._archs[waiting[0]]
        self._running[trial_id] = arch.digest
        return {
            "arch": arch.digest,
            "generation": self.generations.number,
            "genome": write_genome(genome),
            **trial_params(arch),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take in a trial's AP; one that failed ends the search and waits for another start."""
        digest = self._running.pop(trial_id)
        try:
            if error or result is None:
                raise InputError(f"architecture {digest} could not be measured")
            if result.get("refused"):
                raise InputError(result["refused"])
            self._cache.put(self._archs[digest][1], self._measured_on, result["ap"])
        except InputError as refusal:
            self.refused = str(refusal)

    def save(self, checkpoint_path: str) -> None:
        """Write which trials run, as JSON; the rest is in the cache."""
        write_json(Path(checkpoint_path), self._running)

    def restore(self, checkpoint_path: str) -> None:
        """Go on from what ``save`` wrote; trials that ran then are running still."""
        running = read_json(Path(checkpoint_path))
        if not (isinstance(running, dict) and all(isinstance(digest, str) for digest in running.values())):
            raise InputError(f"{checkpoint_path}: is not the state of a search")
        self._running = running
        self._waiting()

    def _waiting(self) -> list[str]:
        """Tell the search of generations that are complete; return the digests of the next that have no trial yet."""
        codec = self.generations.problem.cost.codec
        while self.generations.stopped_by is None:
            if not self._archs:
                proposed = self.generations.propose()
                archs = codec.decode_many(proposed)
                self._archs = {arch.digest: (genome, arch) for genome, arch in zip(proposed, archs, strict=True)}
            known = {digest: self._cache.get(arch, self._measured_on) for digest, (_, arch) in self._archs.items()}
            missing = [digest for digest, ap in known.items() if ap is None]
            if missing:
                return [digest for digest in missing if digest not in self._running.values()]
            genomes = np.array([genome for genome, _ in self._archs.values()], np.int8)
            self.generations.tell(genomes.reshape(-1, codec.length), np.array(list(known.values()), np.float64))
            self._archs = {}
        return []


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
        """Measure the config's architecture; bad input is a result, as trying again would not help."""
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
    folder: Path,
    num_workers: int = 1,
    cpus_per_worker: float = 1,
    gpus_per_worker: float = 0,
    max_failures: int = 3,
) -> Generations:
    """Search to the end as a ``SearchStudy`` would, from what is measured already; Ray must run (``ray_session``).

    Args:
        make_measure: Builds what measures, once a worker; it goes through the object store once.
        generations: The search, from its beginning.
        cache: Measured accuracies, which trials add to.
        measured_on: Identity of what is measured on.
        folder: Where Tune keeps its experiment; on a cluster, all nodes must see it.
        num_workers, cpus_per_worker, gpus_per_worker, max_failures: As for ``RayPool``.

    Raises:
        InputError: If a trial fits on no node, or an architecture cannot be measured.
        KeyboardInterrupt: If SIGINT came; what is measured is kept.
    """
    require_workers(num_workers, cpus_per_worker, gpus_per_worker)
    searcher = GenerationSearcher(generations, cache=cache, measured_on=measured_on)
    trainable = tune.with_resources(
        tune.with_parameters(SubnetTrainable, make_measure=make_measure, space=generations.problem.cost.space),
        {"cpu": cpus_per_worker, "gpu": gpus_per_worker},
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=num_workers,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str(folder.resolve()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=FAILURES_PER_DEATH * max_failures - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    results = tuner.fit()
    for error in results.errors:
        if isinstance(error, RayActorError):
            raise InputError(f"{searcher.refused}: its workers died")
        raise worker_error(error)
    if searcher.refused is not None:
        raise InputError(searcher.refused)
    if generations.stopped_by is None:
        raise KeyboardInterrupt
    return generations


def _trial_name(trial: Trial) -> str:
    return f"{trial.config['arch']}_{trial.trial_id}"
