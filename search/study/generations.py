"""The course of a search without a record of it: what each generation evaluates, and when the search ends."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from litepose_ofa.search.accuracy.sampling import first_genomes
from litepose_ofa.search.genome import Genomes, distinct
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.strategies import Strategy
from litepose_ofa.search.study.trials import history_of
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import NonNegative, settings

Reason = Literal["generations", "evaluations", "stable", "seconds", "exhausted"]
MostGenerations = Annotated[int, Field(ge=0, le=1_000_000)]
MostSubnets = Annotated[int, Field(ge=1, le=1_000_000)]


@settings
class StudySettings:
    """Trials of the first generation, from all over the space, and of every later one, proposed by the strategy."""

    first: MostSubnets = 64
    batch: MostSubnets = 64


@settings
class StopRule:
    """Bounds of a search, looked at after every generation; it ends at the first that is reached.

    Attributes:
        generations: Generations after the first.
        evaluations: Evaluations beyond what was known before; the last generation is cut to fit.
        stable_generations: Generations in a row that left the best architecture of every target as it was.
        seconds: Time of this start; a later start goes on. The only bound that does not decide the outcome, as what
            comes after a given history does not depend on it.
    """

    generations: MostGenerations | None = 5
    evaluations: MostSubnets | None = None
    stable_generations: MostSubnets | None = None
    seconds: NonNegative | None = None

    def __post_init__(self) -> None:
        if self.generations is self.evaluations is self.stable_generations is self.seconds is None:
            raise InputError(
                "generations, evaluations, stable_generations and seconds are all null; a search needs an end"
            )

    def cut(self, size: int, evaluated: int) -> int:
        """Return how many of the next generation's ``size`` evaluations there is room for."""
        return size if self.evaluations is None else min(size, self.evaluations - evaluated)

    def reason(self, *, generations: int, evaluated: int, stable: int, seconds: float) -> Reason | None:
        """Return why the search ends here, the last ``stable`` of its generations having changed no best, or None."""
        if self.evaluations is not None and evaluated >= self.evaluations:
            return "evaluations"
        if self.generations is not None and generations > self.generations:
            return "generations"
        if self.stable_generations is not None and stable >= self.stable_generations:
            return "stable"
        return "seconds" if self.seconds is not None and seconds >= self.seconds else None

    @property
    def identity(self) -> dict[str, Any]:
        """The bounds that decide the outcome."""
        return {key: value for key, value in asdict(self).items() if key != "seconds"}


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search was after a generation: its number, evaluations so far and their hypervolume."""

    generation: int
    evaluations: int
    hypervolume: float


@dataclass(eq=False)
class Generations:
    """The course of a search: asked for a generation, it proposes; it goes on from the AP that it is given.

    A generation's randomness derives from the seed and the generation's number, and its proposal from the generations
    before it. ``dataclasses.replace`` gives the same search at its beginning, its time from then on.

    Attributes:
        warm: Architectures that the first generation has beside the usual, such as the front of an earlier search.
        known: Evaluations from before the search, such as a predictor's samples: where there are any, and no ``warm``,
            the strategy proposes the first generation too.
        clock: Gives seconds.
        history: All evaluations so far: those known before, and the trials in their order.
        progress: One entry for each generation so far.
        stable: How many of the last generations left the best architecture of every target as it was.
        stopped_by: Why the search ended, or None while it goes on.

    Example:
        >>> search = Generations(problem, strategy)  # doctest: +SKIP
        >>> while search.stopped_by is None:  # doctest: +SKIP
        ...     genomes = search.propose()
        ...     search.tell(genomes, measure(genomes))
    """

    problem: SearchProblem
    strategy: Strategy
    seed: int = 0
    settings: StudySettings = field(default_factory=StudySettings)
    stop: StopRule = field(default_factory=StopRule)
    warm: Sequence[Arch] = ()
    known: History | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._started = self.clock()
        self.history = history_of([], self.problem) if self.known is None else self.known
        self.progress: tuple[Progress, ...] = ()
        self.stable = 0
        self._num_known = len(self.history)
        self._best = self.problem.best(self.history)
        self.stopped_by: Reason | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What the outcome depends on beside the problem and its evaluations."""
        return {
            "strategy": dict(self.strategy.describe()),
            "study": {**asdict(self.settings), **self.stop.identity},
            "warm_start": [arch.digest for arch in self.warm],
            "seed": self.seed,
        }

    @property
    def number(self) -> int:
        """Number of the next generation, from 0."""
        return len(self.progress)

    @property
    def size(self) -> int:
        """Greatest number of genomes that the next generation has."""
        return self.stop.cut(self.settings.first if self._is_first else self.settings.batch, self.evaluated)

    @property
    def evaluated(self) -> int:
        """Number of evaluations so far, without those known before."""
        return len(self.history) - self._num_known

    @property
    def most(self) -> int | None:
        """Greatest number of evaluations that the search has in all, where that is known."""
        bounds = [self.stop.evaluations] if self.stop.evaluations is not None else []
        if self.stop.generations is not None:
            first = self.settings.first if self._has_first else self.settings.batch
            bounds.append(first + self.stop.generations * self.settings.batch)
        return min(bounds, default=None)

    @property
    def _is_first(self) -> bool:
        return self.number == 0 and self._has_first

    @property
    def _has_first(self) -> bool:
        return self._num_known == 0 or len(self.warm) > 0

    def propose(self) -> Genomes:
        """Return the genomes of the next generation, shape (n, G); the same whenever it is asked."""
        rng = np.random.default_rng([self.seed, self.number])
        if self._is_first:
            first = first_genomes(self.problem.cost.codec, self.size + self._num_known, rng, warm=self.warm)
            return distinct(first, seen=self.history.genomes)[: self.size]
        return self.strategy.propose(self.history, self.size, rng)

    def tell(self, genomes: Genomes, ap: NDArray[np.float64]) -> None:
        """Take in a generation: its genomes, shape (n, G), and their AP in [0, 1], shape (n,)."""
        self.take(self.problem.evaluated(genomes, ap))

    def take(self, evaluated: History) -> None:
        """Take in the evaluations of a generation; none of a later generation end the search."""
        if self.progress and not len(evaluated):
            self.stopped_by = "exhausted"
            return
        self.history = self.history.extended(evaluated)
        now = Progress(self.number, self.evaluated, self.problem.hypervolume(self.history))
        self.progress = (*self.progress, now)
        before, self._best = self._best, self.problem.best(self.history)
        self.stable = self.stable + 1 if self._best == before else 0
        self.stopped_by = self.stop.reason(
            generations=self.number, evaluated=self.evaluated, stable=self.stable, seconds=self.clock() - self._started
        )
