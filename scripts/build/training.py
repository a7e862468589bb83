"""From the composed config to a training, and how the verbs run one: alone in its folder, with a progress bar."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from typing import Any

from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import plain, settings_of
from litepose_ofa.scripts.build.training_progress import TrainingProgress
from litepose_ofa.scripts.command.app import run_folder, start_run, stop_requested
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.files import locked_folder
from litepose_ofa.supernet.network.checkpoints import read_weights
from litepose_ofa.supernet.training.distributed import Process, run_on_main
from litepose_ofa.supernet.training.recipe import LearningRate, Phase, TrainingSettings, WarmupCosine, WarmupSteps
from litepose_ofa.supernet.training.teacher import Teacher
from litepose_ofa.supernet.training.trainer import Trainer
from litepose_ofa.supernet.validation import validate

logger = logging.getLogger(__name__)


def build_training_settings(cfg: DictConfig) -> TrainingSettings:
    """Return how networks are trained, of the ``training`` group."""
    return settings_of(TrainingSettings, cfg.training, "training", seed=cfg.seed)


def build_learning_rate(cfg: DictConfig, factor: float = 1.0) -> LearningRate:
    """Return the schedule of ``training.learning_rate``, its peak times a factor."""
    schedules: dict[str, type[LearningRate]] = {"cosine": WarmupCosine, "steps": WarmupSteps}
    given = plain(cfg.training)["learning_rate"]
    schedule = schedules[given["schedule"]]
    own = {field.name: given[field.name] for field in fields(schedule) if given.get(field.name) is not None}
    built = validate(schedule, own, key="training.learning_rate")
    return replace(built, peak=factor * built.peak)


def training_steps(cfg: DictConfig, num_images: int) -> int:
    """Return the steps of ``training.steps``, or of ``training.epochs`` of so many images."""
    return _steps_of(plain(cfg.training), "training", num_images // cfg.training.batch_size)


def build_phases(cfg: DictConfig, num_images: int) -> tuple[Phase, ...]:
    """Return the phases of the ``recipe`` group, their lengths in steps.

    A phase's length is its ``steps``, its ``epochs`` of so many images, or its ``share`` of ``training.steps`` or
    ``training.epochs``; its learning rate is ``training.learning_rate`` times its ``rate``.
    """
    phases = plain(cfg.recipe)["phases"]
    require(bool(phases), "recipe.phases", phases, "at least one phase")
    built, reached = [], 0.0
    for name, values in phases.items():
        built.append(_build_phase(cfg, name, dict(values), num_images, reached))
        reached += values.get("share") or 0.0
    if reached > 1 + 1e-9:
        raise InputError(f"recipe.phases: the shares add up to {reached:g}; they must not exceed 1")
    return tuple(built)


def _build_phase(cfg: DictConfig, name: str, values: dict[str, Any], num_images: int, reached: float) -> Phase:
    """Build a phase; ``reached`` is the sum of the shares before it, so that rounding does not add up."""
    key, share, rate = f"recipe.phases.{name}", values.pop("share", None), values.pop("rate", 1.0)
    length = {unit: values.pop(unit, None) for unit in ("steps", "epochs")}
    if share is None:
        steps = _steps_of(length, key, num_images // cfg.training.batch_size)
    elif length["steps"] or length["epochs"]:
        raise InputError(f"{key} has a share and steps or epochs; make one of them null")
    else:
        whole = training_steps(cfg, num_images)
        steps = max(1, round((reached + share) * whole) - round(reached * whole))
    fixed = {"name": name, "steps": steps, "learning_rate": build_learning_rate(cfg, rate)}
    return validate(Phase, {**values, **fixed}, key=key)


def _steps_of(values: Mapping[str, Any], key: str, steps_per_epoch: int) -> int:
    """Return the length that ``steps`` or ``epochs`` of a config key gives; one of them is null."""
    steps: int | None = values.get("steps")
    epochs: float | None = values.get("epochs")
    if (steps is None) == (epochs is None):
        given = "both null" if steps is None else {"steps": steps, "epochs": epochs}
        raise InputError(f"{key}.steps and {key}.epochs are {given}; give one and make the other null")
    return steps if steps is not None else max(1, round((epochs or 0) * steps_per_epoch))


@contextmanager
def hold_folder(cfg: DictConfig, process: Process, *, result: str, artefact: str) -> Iterator[bool]:
    """Hold the run folder with the main process, and start the run; the other processes keep quiet, and write nothing.

    Yields:
        Whether the file ``result`` is there and whole; one that is damaged is reported.
    """
    path = run_folder() / result
    with ExitStack() as held:
        run_on_main(lambda: held.enter_context(locked_folder(path.parent)), process)
        if not process.is_main:
            logging.disable(logging.WARNING)  # they would say what the main process says
        run_on_main(lambda: start_run(cfg, artefacts=(artefact, result)), process)
        try:
            is_finished = path.exists() and bool(read_weights(path))
        except InputError as error:
            logger.warning("%s; writing it again", error)
            is_finished = False
        yield is_finished


def check_teachers(phases: Sequence[Phase], teacher: Teacher | None, *, starts_trained: bool) -> None:
    """Refuse a phase whose teacher is missing, or would be a network that nothing has trained, and an idle teacher."""
    for phase in phases:
        if phase.teacher == "external" and teacher is None:
            raise InputError(f"the teacher of phase {phase.name} is external: give teacher.weights")
    if teacher is not None and all(phase.teacher != "external" for phase in phases):
        names = ", ".join(phase.name for phase in phases)
        raise InputError(f"teacher.weights is given, but no phase has teacher=external; phases: {names}")
    if phases[0].teacher == "frozen" and not starts_trained:
        raise InputError(f"the teacher of phase {phases[0].name} is frozen before anything is trained: give init_from")


def train_to_the_end(trainer: Trainer) -> None:
    """Go on from the last checkpoint and train to the end; after a signal, save the last step and interrupt."""
    if trainer.resume():
        logger.info("going on from step %d of %d", trainer.step, trainer.plan.steps)
    with TrainingProgress(trainer) as progress, stop_requested() as should_stop:
        finished = trainer.train(on_step=progress.on_step, on_values=progress.on_values, should_stop=should_stop)
    for path in sorted(trainer.bad_images):
        logger.warning("skipped %s", path)
    if trainer.skipped:
        logger.warning("%d updates were left out: loss or gradient not finite", trainer.skipped)
    if not finished:
        raise KeyboardInterrupt
