"""What a training says of itself: a bar on a terminal, lines elsewhere, and the APs that a validation measures."""

import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tqdm import tqdm

from litepose_ofa.scripts.build.search_progress import format_seconds
from litepose_ofa.supernet.training.step import StepResult
from litepose_ofa.supernet.training.trainer import Trainer

logger = logging.getLogger(__name__)

BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
"""With what ``TrainingProgress`` adds it leaves room for a bar in 80 columns, on days of 440,000 steps."""


class TrainingProgress:
    """A bar of the steps where there is a terminal for it, lines where the output goes to a file or a pipe.

    Args:
        trainer: The training, where it begins or goes on; only the main process says anything.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._steps = trainer.plan.steps
        self._first = trainer.step
        self._is_main = trainer.process.is_main

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._bar = tqdm(
            total=self._steps,
            initial=self._first,
            bar_format=BAR,
            dynamic_ncols=True,
            smoothing=0,  # a mean over all steps: some are followed by a validation
            disable=None if self._is_main else True,
        )
        self._has_lines = self._is_main and (self._bar.disable or not sys.stdout.isatty())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.close()

    def on_step(self, step: int, result: StepResult) -> None:
        """Count a step."""
        self._bar.update(step - self._bar.n)

    def on_values(self, step: int, values: Mapping[str, float]) -> None:
        """Say what goes to the metrics: APs in a line of their own, losses in the bar, a line, or both."""
        if aps := _named("ap/", values):
            scores = ", ".join(f"{name} {100 * ap:.1f}" for name, ap in aps.items())
            logger.info("step %d of %d: AP %s", step, self._steps, scores)
            return
        losses, rate = _named("loss/", values), f"{values['images_per_second']:.1f} images/s"
        self._bar.set_postfix_str(f"{rate}, loss {next(iter(losses.values())):.3g}", refresh=False)
        if self._has_lines:
            named = ", ".join(f"{name} {loss:.3g}" for name, loss in losses.items())
            seconds = (self._steps - step) * (time.monotonic() - self._began) / (step - self._first)
            left = f"{format_seconds(seconds)} left"
            logger.info("step %d of %d: loss %s; %s; %s", step, self._steps, named, rate, left)


def _named(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
