"""Asynchronous successive halving on Ray Tune; killed and started again, it goes on.

A trial's own record is all that lasts: started again, every trial replays its record first, and the scheduler learns
from that what it knew. Ray's snapshot of an experiment would have the trials, and not the scheduler.
"""

import logging
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler

from litepose_ofa.search.tuning.trials import (
    FinetuningTrial,
    HalvingSettings,
    Rung,
    RungRecord,
    TrialOutcome,
    read_outcome,
)
from litepose_ofa.search.workers.session import ray_session, worker_error
from litepose_ofa.supernet.errors import NotFiniteError, require

logger = logging.getLogger(__name__)

TRIALS_FOLDER = "trials"
EXPERIMENT = "ray"
OBJECT_STORE_BYTES = 100 * 2**20
"""Nothing but settings goes through the object store."""


TrainTo = Callable[[int], float]
"""Trains to a step, which may be reached already, and returns AP in [0, 1] there; raises ``NotFiniteError`` if it
cannot."""

MakeTraining = Callable[[FinetuningTrial, Path], TrainTo]
"""Builds the training of a trial, which goes on from wherever its folder is, in another process."""


def run_asha(
    make_training: MakeTraining,
    trials: Sequence[FinetuningTrial],
    settings: HalvingSettings,
    *,
    steps: int,
    folder: Path,
) -> list[TrialOutcome]:
    """Run trials of so many steps to the end, or to the rung where they are stopped; return what became of each.

    Args:
        make_training: Called in the trial's process; it must be picklable.
        trials: What to try; the same whenever a run goes on.
        settings: Rungs and resources.
        steps: Steps of a whole trial.
        folder: Where trials and Ray's state go.

    Raises:
        InputError: If this machine lacks what a trial asks for, or a trial met bad input.
        KeyboardInterrupt: If SIGINT or SIGTERM came; what trials have saved is kept.
    """
    trials_folder = folder.resolve() / TRIALS_FOLDER
    trainable = tune.with_resources(
        _trainable(make_training, trials, settings.rungs(steps), trials_folder),
        {"cpu": settings.cpus, "gpu": settings.gpus},
    )
    with ray_session(object_store_memory=OBJECT_STORE_BYTES), _sigterm_as_sigint():
        for name, asked in (("CPU", settings.cpus), ("GPU", settings.gpus)):  # which Ray would wait for forever
            there = ray.cluster_resources().get(name, 0)  # type: ignore[no-untyped-call]
            require(asked <= there, f"{name.lower()}s of a trial", asked, f"at most {there:g}, what this machine has")
        results = _tuner(trainable, len(trials), settings, steps, folder.resolve()).fit()
    for error in results.errors:
        raise worker_error(error)
    if results.num_terminated < len(trials):
        raise KeyboardInterrupt
    return [read_outcome(trial, trials_folder / trial.name, steps) for trial in trials]


class _RungLog(tune.Callback):
    """Logs every rung that a trial reaches."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        logger.info("%s: AP %.1f at step %d", result["name"], 100 * result["ap"], result["step"])


def _trainable(
    make_training: MakeTraining, trials: Sequence[FinetuningTrial], rungs: tuple[int, ...], folder: Path
) -> type[tune.Trainable]:
    """Return the class whose objects train a trial from rung to rung, or replay the rungs on record."""

    class RungTrainable(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.tried = trials[config["trial"]]
            self.folder = folder / self.tried.name
            self.record = RungRecord(self.folder)
            self.train_to: TrainTo | None = None
            self.ahead = iter(rungs)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            step = next(self.ahead)
            if step not in self.record.rungs:
                self._train_to(step)
            rung = self.record.rungs[step]
            done = step == rungs[-1] or rung.diverged is not None
            return {"name": self.tried.name, "step": step, "ap": rung.ap, "done": done}

        def _train_to(self, step: int) -> None:
            began = time.perf_counter()
            ap, diverged = 0.0, None
            try:
                if self.train_to is None:
                    self.train_to = make_training(self.tried, self.folder)
                ap = self.train_to(step)
            except NotFiniteError as error:
                diverged = str(error)
            self.record.add(Rung(step=step, ap=ap, seconds=time.perf_counter() - began, diverged=diverged))

    return RungTrainable


def _tuner(
    trainable: type[tune.Trainable], num_trials: int, settings: HalvingSettings, steps: int, folder: Path
) -> tune.Tuner:
    shutil.rmtree(folder / EXPERIMENT, ignore_errors=True)
    scheduler = ASHAScheduler(
        time_attr="step",
        metric="ap",
        mode="max",
        max_t=steps,
        grace_period=settings.rungs(steps)[0],
        reduction_factor=settings.reduction_factor,
    )
    return tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search(list(range(num_trials)))},
        tune_config=tune.TuneConfig(
            scheduler=scheduler, max_concurrent_trials=settings.max_concurrent, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str(folder),
            verbose=0,
            callbacks=[_RungLog()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


@contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """Have SIGTERM end an experiment as SIGINT does, its state saved."""
    handler = signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
