"""The course of a search without a record of it: what each generation evaluates, and when the search ends."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from litepose_ofa.search.accuracy.sampling import first_genomes
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.strategies import Strategy
from litepose_ofa.search.study.trials import history_of
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import NonNegative, settings

Reason = Literal["generations", "evaluations", "plateau", "seconds", "exhausted"]
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
        evaluations: Evaluations; the last generation is cut to fit.
        plateau_gain: Least relative gain of hypervolume over ``plateau_generations`` that goes on.
        plateau_generations: Generations that the gain is taken over.
        seconds: Time of this start; a later start goes on. The only bound that does not decide the outcome, as what
            comes after a given history does not depend on it.
    """

    generations: MostGenerations | None = 5
    evaluations: MostSubnets | None = None
    plateau_gain: NonNegative | None = None
    plateau_generations: MostSubnets = 3
    seconds: NonNegative | None = None

    def __post_init__(self) -> None:
        if self.generations is self.evaluations is self.plateau_gain is self.seconds is None:
            raise InputError("generations, evaluations, plateau_gain and seconds are all null; a search needs an end")

    def cut(self, size: int, evaluated: int) -> int:
        """Return how many of the next generation's ``size`` evaluations there is room for."""
        return size if self.evaluations is None else min(size, self.evaluations - evaluated)

    def reason(self, hypervolumes: Sequence[float], *, evaluated: int, seconds: float) -> Reason | None:
        """Return why the search ends here, after generations of these hypervolumes, or None if it goes on."""
        if self.evaluations is not None and evaluated >= self.evaluations:
            return "evaluations"
        if self.generations is not None and len(hypervolumes) > self.generations:
            return "generations"
        if self._is_level(hypervolumes):
            return "plateau"
        return "seconds" if self.seconds is not None and seconds >= self.seconds else None

    @property
    def identity(self) -> dict[str, Any]:
        """The bounds that decide the outcome."""
        return {key: value for key, value in asdict(self).items() if key != "seconds"}

    def _is_level(self, hypervolumes: Sequence[float]) -> bool:
        if self.plateau_gain is None or len(hypervolumes) <= self.plateau_generations:
            return False
        before, now = hypervolumes[-1 - self.plateau_generations], hypervolumes[-1]
        return before > 0 and now - before < self.plateau_gain * before


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
        clock: Gives seconds.
        history: All evaluations so far, in the order of the trials.
        progress: One entry for each generation so far.
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
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._started = self.clock()
        self.history = history_of([], self.problem)
        self.progress: tuple[Progress, ...] = ()
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
        wanted = self.settings.batch if self.number else self.settings.first
        return self.stop.cut(wanted, len(self.history))

    def propose(self) -> Genomes:
        """Return the genomes of the next generation, shape (n, G); the same whenever it is asked."""
        rng = np.random.default_rng([self.seed, self.number])
        if self.number == 0:
            return first_genomes(self.problem.cost.codec, self.size, rng, warm=self.warm)
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
        now = Progress(self.number, len(self.history), self.problem.hypervolume(self.history))
        self.progress = (*self.progress, now)
        self.stopped_by = self.stop.reason(
            [each.hypervolume for each in self.progress],
            evaluated=len(self.history),
            seconds=self.clock() - self._started,
        )
