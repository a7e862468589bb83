"""The course of a search without a record of it: what each generation evaluates, and when the search ends."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.initial import first_genomes
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.problem.history import History
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.strategies import Strategy
from litepose_ofa.search.study.stopping import Reason, StopRule
from litepose_ofa.search.study.trials import history_of
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import require


@dataclass(frozen=True, slots=True)
class StudySettings:
    """Sizes of the outer loop.

    Attributes:
        first: Trials of generation 0, from all over the space.
        batch: Trials of every later generation, proposed by the strategy.

    Raises:
        InputError: If a value is out of its range.
    """

    first: int = 64
    batch: int = 64

    def __post_init__(self) -> None:
        require(self.first >= 1, "first", self.first, "at least 1")
        require(self.batch >= 1, "batch", self.batch, "at least 1")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search was after a generation.

    Attributes:
        generation: Its number.
        evaluations: Evaluations so far.
        hypervolume: Mean of the dominated shares of the fronts, in [0, 1].
    """

    generation: int
    evaluations: int
    hypervolume: float


@dataclass(frozen=True)
class SearchRun:
    """What a search came to.

    Attributes:
        history: All evaluations, in the order of the trials.
        progress: One entry a generation.
        stopped_by: Why it ended.
    """

    history: History
    progress: tuple[Progress, ...]
    stopped_by: Reason


class Generations:
    """A search for whoever evaluates by other means than an ``Evaluator``: asked for a generation, told its AP.

    It proposes what a ``SearchStudy`` of the same arguments proposes.

    Args:
        problem: What is searched.
        strategy: Proposes what is evaluated after the first generation.
        seed: Seed of all randomness.
        settings: Sizes of the generations.
        stop: When it ends.
        warm: Architectures that the first generation has beside the usual.
        clock: Gives seconds; the rule's time is measured by it, from now on.

    Attributes:
        problem: What is searched.
        history: The generations that were told.
        progress: One entry for each of them.
        stopped_by: Why the search ended, or None while it goes on.

    Example:
        >>> search = Generations(problem, strategy)  # doctest: +SKIP
        >>> while search.stopped_by is None:  # doctest: +SKIP
        ...     genomes = search.propose()
        ...     search.tell(genomes, measure(genomes))
    """

    def __init__(
        self,
        problem: SearchProblem,
        strategy: Strategy,
        *,
        seed: int = 0,
        settings: StudySettings | None = None,
        stop: StopRule | None = None,
        warm: Sequence[Arch] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.problem = problem
        self._strategy = strategy
        self._seed = seed
        self._settings = settings or StudySettings()
        self._stop = stop or StopRule()
        self._warm = tuple(warm)
        self._clock = clock
        self._started = clock()
        self.history: History = history_of([], problem)
        self.progress: tuple[Progress, ...] = ()
        self.stopped_by: Reason | None = None

    @property
    def number(self) -> int:
        """Number of the next generation, from 0."""
        return len(self.progress)

    @property
    def size(self) -> int:
        """Greatest number of genomes that the next generation has."""
        wanted = self._settings.batch if self.number else self._settings.first
        return self._stop.cut(wanted, len(self.history))

    def propose(self) -> Genomes:
        """Return the genomes of the next generation, shape (n, G); the same whenever it is asked."""
        rng = np.random.default_rng([self._seed, self.number])
        if self.number == 0:
            return first_genomes(self.problem.cost.codec, self.size, rng, warm=self._warm)
        return self._strategy.propose(self.history, self.size, rng)

    def tell(self, genomes: Genomes, ap: NDArray[np.float64]) -> None:
        """Take in a generation: its genomes, shape (n, G), and their AP in [0, 1], shape (n,)."""
        self.take(self.problem.evaluated(genomes, ap))

    def take(self, evaluated: History) -> None:
        """Take in the evaluations of a generation; none of a later generation end the search."""
        if self.progress and not len(evaluated):
            self.stopped_by = "exhausted"
            return
        self.history = self.history.extended(evaluated)
        now = Progress(self.number, len(self.history), self.problem.hypervolume(self.history))
        self.progress = (*self.progress, now)
        self.stopped_by = self._stop.reason(
            [each.hypervolume for each in self.progress],
            evaluated=len(self.history),
            seconds=self._clock() - self._started,
        )

    @property
    def outcome(self) -> SearchRun:
        """What an ended search came to."""
        assert self.stopped_by is not None
        return SearchRun(self.history, self.progress, self.stopped_by)

    def state_dict(self) -> dict[str, Any]:
        """Return what was told, as plain JSON values."""
        ends = [each.evaluations for each in self.progress]
        return {"genomes": self.history.genomes.tolist(), "ap": self.history.ap.tolist(), "ends": ends}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Be told again what ``state_dict`` returned; nothing may have been told before."""
        genomes = np.array(state["genomes"], np.int8).reshape(-1, self.problem.cost.codec.length)
        ap = np.array(state["ap"], np.float64)
        for start, end in zip([0, *state["ends"]], state["ends"], strict=False):
            self.tell(genomes[start:end], ap[start:end])
