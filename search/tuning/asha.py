"""Asynchronous successive halving on Ray Tune; killed and started again, it goes on.

Ray's snapshot of an experiment has the trials and not the scheduler. Here each result carries the rungs that its trial
has reached, so that a restored scheduler knows them; and a trial that starts again replays its own record first.
"""

import json
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
    """Run trials to the end, or to the rung where they are stopped.

    Args:
        make_training: Called in the trial's process; it must be picklable.
        trials: What to try; the same whenever a run goes on.
        settings: Rungs and resources.
        steps: Steps of a whole trial.
        folder: Where trials and Ray's state go.

    Returns:
        What became of each trial, in order.

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
        _require_resources(settings)
        results = _tuner(trainable, len(trials), settings, steps, folder.resolve()).fit()
    for error in results.errors:
        raise worker_error(error)
    if results.num_terminated < len(trials):
        raise KeyboardInterrupt
    return [read_outcome(trial, trials_folder / trial.name, steps) for trial in trials]


class ResumableASHA(ASHAScheduler):
    """ASHA that learns a restored trial's rungs from the trial's last result."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take in a trial, new or restored."""
        super().on_trial_add(tune_controller, trial)
        for step, ap in trial.last_result.get("rungs", []):
            self.on_trial_result(tune_controller, trial, {"step": step, "ap": ap})


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
            self.reached: list[tuple[int, float]] = []

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            step = rungs[len(self.reached)]
            if step not in self.record.rungs:
                self._train_to(step)
            rung = self.record.rungs[step]
            self.reached.append((step, rung.ap))
            done = step == rungs[-1] or rung.diverged is not None
            return {"name": self.tried.name, "step": step, "ap": rung.ap, "rungs": self.reached, "done": done}

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
    path = folder / EXPERIMENT
    if path.exists():
        try:
            _require_whole(path)
            return tune.Tuner.restore(str(path), trainable=trainable, resume_errored=True)
        except Exception as error:  # whatever unpickling half a file raises
            logger.warning("%s: cannot be restored (%s); going on from the trials' own records", path, error)
            shutil.rmtree(path)
    scheduler = ResumableASHA(
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


def _require_whole(path: Path) -> None:
    """Raise if the snapshot that Ray would read, late and with no way back, is missing or was cut off."""
    json.loads(max(path.glob("experiment_state-*.json")).read_text())


@contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """Have SIGTERM end an experiment as SIGINT does, its state saved."""
    handler = signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _require_resources(settings: HalvingSettings) -> None:
    """Refuse what Ray would wait for forever."""
    for name, asked in (("CPU", settings.cpus), ("GPU", settings.gpus)):
        there = ray.cluster_resources().get(name, 0)  # type: ignore[no-untyped-call]
        require(asked <= there, f"{name.lower()}s of a trial", asked, f"at most {there:g}, what this machine has")
