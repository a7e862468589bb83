"""What a search says of itself while it measures, and when it ends."""

import logging
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from litepose_ofa.search.study.generations import Generations

logger = logging.getLogger(__name__)


class SearchProgress:
    """A bar of the measured subnets, and after each generation the best AP so far by device and tier.

    Args:
        search: The search, from its beginning.
    """

    def __init__(self, search: Generations) -> None:
        self._most = search.most
        self._measured = 0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._bar = tqdm(total=self._most, desc="measure", unit="subnet", disable=None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.close()

    def on_measured(self) -> None:
        """Count a subnet."""
        self._measured += 1
        self._bar.update()

    def on_generation(self, search: Generations) -> None:
        """Say where the search is; what a start before this one measured takes no time."""
        self._bar.n = search.evaluated
        self._bar.refresh()
        if not self._measured:
            return
        done = f"{search.evaluated} of {self._most} subnets" if self._most else f"{search.evaluated} subnets"
        if self._most and search.stopped_by is None:
            left = (self._most - search.evaluated) * (time.monotonic() - self._began) / self._measured
            done += f", at most {format_seconds(left)} left"
        self._bar.clear()
        logger.info("\n  ".join([f"generation {search.number - 1}: {done}; best AP so far", *_best(search)]))


def stop_line(search: Generations) -> str:
    """Say why a search has ended, and whether more evaluations may gain."""
    reasons = {
        "evaluations": f"the {search.evaluated} evaluations that search.evaluations allows are spent",
        "generations": f"the {search.number} generations that search.generations allows are over",
        "stable": f"the best of every tier stayed the same for {search.stable} generations",
        "seconds": "the time of search.seconds is over; the same command goes on",
        "exhausted": "no other subnet keeps the constraints",
    }
    assert search.stopped_by is not None
    line = f"{search.evaluated} subnets evaluated: {reasons[search.stopped_by]}"
    is_cut = search.stopped_by in ("evaluations", "generations") and search.stable == 0
    return f"{line}, and the last generation changed a best: more may gain" if is_cut else line


def format_seconds(seconds: float) -> str:
    """Return a length of time as seconds, minutes or hours."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _best(search: Generations) -> list[str]:
    """Return a line a device with the best AP of each of its tiers."""
    problem, ap = search.problem, search.history.ap
    width = max(map(len, problem.devices))
    parts: dict[str, list[str]] = {}
    for target, row in zip(problem.targets, problem.best(search.history), strict=False):
        known = "-" if row is None else f"{100 * ap[row]:.1f}"
        parts.setdefault(target.device, []).append(f"{target.tier} {known}".strip())
    return [f"{device:{width}}  {'  '.join(values)}" for device, values in parts.items()]
