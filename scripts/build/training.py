"""What training scripts share: one writer a folder, a progress bar, signals, and what is reported at the end."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tqdm import tqdm

from litepose_ofa.scripts.command.app import stop_requested
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import locked_folder
from litepose_ofa.supernet.network.checkpoints import read_weights
from litepose_ofa.supernet.training.distributed import Process, run_on_main
from litepose_ofa.supernet.training.recipe import Phase
from litepose_ofa.supernet.training.step import StepResult
from litepose_ofa.supernet.training.teacher import Teacher
from litepose_ofa.supernet.training.trainer import Trainer

logger = logging.getLogger(__name__)


@contextmanager
def hold_folder(folder: Path, process: Process) -> Iterator[None]:
    """Hold the run folder with the main process; the others keep quiet, and write nothing there.

    Raises:
        InputError: If another training holds it.
    """
    with ExitStack() as held:
        run_on_main(lambda: held.enter_context(locked_folder(folder)), process)
        if not process.is_main:
            logging.disable(logging.WARNING)  # they would say what the main process says
        yield


def finished_file(path: Path) -> bool:
    """Say whether the result of a training is there and whole; report one that is damaged."""
    if not path.exists():
        return False
    try:
        read_weights(path)
    except InputError as error:
        logger.warning("%s; writing it again", error)
        return False
    return True


def check_teachers(phases: Sequence[Phase], teacher: Teacher | None, *, starts_trained: bool) -> None:
    """Check that every phase's teacher exists, and that a given one is used.

    Raises:
        InputError: If one is missing, idle, or would be a network that nothing has trained.
    """
    for phase in phases:
        if phase.teacher == "external" and teacher is None:
            raise InputError(f"the teacher of phase {phase.name} is external: give teacher.weights")
    if teacher is not None and all(phase.teacher != "external" for phase in phases):
        names = ", ".join(phase.name for phase in phases)
        raise InputError(f"teacher.weights is given, but no phase has teacher=external; phases: {names}")
    if phases[0].teacher == "frozen" and not starts_trained:
        raise InputError(f"the teacher of phase {phases[0].name} is frozen before anything is trained: give init_from")


def train_to_the_end(trainer: Trainer) -> None:
    """Go on from the last checkpoint and train to the end, with a progress bar in a terminal.

    Raises:
        KeyboardInterrupt: If SIGINT or SIGTERM came; the last step is saved.
    """
    process, steps = trainer.process, trainer.plan.steps
    if trainer.resume():
        logger.info("going on from step %d of %d", trainer.step, steps)
    with (
        tqdm(total=steps, initial=trainer.step, unit="step", disable=None if process.is_main else True) as bar,
        stop_requested() as should_stop,
    ):

        def show(step: int, result: StepResult) -> None:
            bar.update(step - bar.n)
            bar.set_postfix({name: f"{loss:.4f}" for name, loss in result.losses.items()}, refresh=False)

        finished = trainer.train(on_step=show, should_stop=should_stop)
    for path in sorted(trainer.bad_images):
        logger.warning("skipped %s", path)
    if trainer.skipped:
        logger.warning("%d updates were left out: loss or gradient not finite", trainer.skipped)
    if not finished:
        raise KeyboardInterrupt
