"""When a search ends."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from litepose_ofa.supernet.errors import InputError, require, require_numbers

Reason = Literal["generations", "evaluations", "plateau", "seconds", "exhausted"]


@dataclass(frozen=True, slots=True)
class StopRule:
    """Bounds of a search, looked at after every generation; it ends at the first that is reached.

    Attributes:
        generations: Generations after the first.
        evaluations: Evaluations; the last generation is cut to fit.
        plateau_gain: Least relative gain of hypervolume over ``plateau_generations`` that goes on.
        plateau_generations: Generations that the gain is taken over.
        seconds: Time of this start; a later start goes on. The only bound that does not decide the outcome, as what
            comes after a given history does not depend on it.

    Raises:
        InputError: If a value is out of its range, or no bound is given.
    """

    generations: int | None = 5
    evaluations: int | None = None
    plateau_gain: float | None = None
    plateau_generations: int = 3
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("generations", 0), ("evaluations", 1), ("plateau_gain", 0), ("seconds", 0)):
            value = getattr(self, name)
            require(value is None or value >= least, name, value, f"at least {least}, or null")
        require(self.plateau_generations >= 1, "plateau_generations", self.plateau_generations, "at least 1")
        if self.generations is self.evaluations is self.plateau_gain is self.seconds is None:
            raise InputError("generations, evaluations, plateau_gain and seconds are all null; a search needs an end")
        require_numbers(self)

    def cut(self, size: int, evaluated: int) -> int:
        """Return how many of the next generation's ``size`` evaluations there is room for."""
        return size if self.evaluations is None else min(size, self.evaluations - evaluated)

    def reason(self, hypervolumes: Sequence[float], *, evaluated: int, seconds: float) -> Reason | None:
        """Return why the search ends here, or None if it goes on.

        Args:
            hypervolumes: After each generation so far.
            evaluated: Evaluations so far.
            seconds: Time since this start.
        """
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
