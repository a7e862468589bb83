"""One subnet for all devices, and what each device gives up for it; ``SearchProblem`` says what is minimised."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.problem.history import History
from litepose_ofa.search.problem.problem import SearchProblem


@dataclass(frozen=True, slots=True)
class Regret:
    """What a device gives up.

    Attributes:
        best_ap: Greatest AP within the device's budget that is known, the shared subnet's included.
        regret: That less the shared subnet's AP.
    """

    best_ap: float
    regret: float


def shared_front(problem: SearchProblem, history: History) -> NDArray[np.intp]:
    """Return the indices of the evaluations that keep all budgets and no other such one beats, the best AP first.

    The first has the least worst-case regret. The others leave more of every budget free.
    """
    return problem.views(history)[len(problem.devices)].front


def regrets(problem: SearchProblem, history: History, ap: float) -> dict[str, Regret]:
    """Return what each device gives up for a subnet.

    Args:
        problem: What was searched; its goal is ``shared``.
        history: All evaluations.
        ap: AP of the shared subnet, by the evaluator of the history.
    """
    best = {
        device: float(history.ap[history.excess[:, column] == 0].max()) for column, device in enumerate(problem.devices)
    }
    return {device: Regret(max(most, ap), max(most - ap, 0)) for device, most in best.items()}
