"""Optuna's own samplers as strategies: baselines for ours, on the same problem and the same record.

Legend: n genomes, G genes.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from litepose_ofa.search.genome import Genomes, distinct
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.evolution import feasible

SamplerName = Literal["nsga2", "tpe"]

POPULATION = 50
"""Trials a generation of NSGA-II, Optuna's default."""

SAMPLERS: Mapping[SamplerName, Callable[[int], BaseSampler]] = {
    "nsga2": lambda seed: NSGAIISampler(population_size=POPULATION, seed=seed),
    "tpe": lambda seed: TPESampler(multivariate=True, seed=seed),
}

ASKS = 20
"""Trials asked for a genome of a batch at most: those that break a constraint or repeat another do not count."""


class OptunaStrategy:
    """Ask an Optuna sampler, one parameter a gene, with the history as its finished trials.

    The sampler's study lives in memory and for one proposal, so that a proposal depends on the history alone.
    """

    def __init__(self, problem: SearchProblem, sampler: SamplerName) -> None:
        self._problem = problem
        self._sampler: SamplerName = sampler
        codec = problem.cost.codec
        self._columns = np.flatnonzero(codec.cardinalities > 1).tolist()
        self._distributions: dict[str, BaseDistribution] = {
            codec.names[column]: IntDistribution(0, int(codec.cardinalities[column]) - 1) for column in self._columns
        }

    def propose(self, history: History, n: int, rng: np.random.Generator) -> Genomes:
        """Return up to n genomes that the sampler asks for, new to the history and within the constraints."""
        codec = self._problem.cost.codec
        found = history.genomes[:0]
        with quiet_optuna():
            study = self._study(history, int(rng.integers(2**31)))
            for _ in range(ASKS * n):
                trial = study.ask(self._distributions)
                study.tell(trial, state=TrialState.FAIL)
                genome = np.zeros((1, codec.length), np.int8)
                genome[0, self._columns] = list(trial.params.values())
                genome = distinct(codec.canonicalise(genome), seen=np.concatenate([history.genomes, found]))
                found = np.concatenate([found, feasible(self._problem, genome)])
                if len(found) == n:
                    break
        return found

    def describe(self) -> Mapping[str, Any]:
        """Return the sampler's name."""
        return {"strategy": f"optuna_{self._sampler}"}

    def _study(self, history: History, seed: int) -> optuna.Study:
        objectives = np.column_stack([1 - history.ap, history.latency_ms])
        directions = [StudyDirection.MINIMIZE] * objectives.shape[1]
        study = optuna.create_study(directions=directions, sampler=SAMPLERS[self._sampler](seed))
        violations = self._problem.combined(history.excess).tolist()
        genes = history.genomes[:, self._columns].tolist()
        study.add_trials(
            create_trial(
                values=objectives[number].tolist(),
                params=dict(zip(self._distributions, genes[number], strict=True)),
                distributions=self._distributions,
                constraints={"violation": violations[number]},
                system_attrs={NSGAIISampler._get_generation_key(): number // POPULATION},
            )
            for number in range(len(history))
        )
        return study


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna from printing a line a trial, and from warning of features that it calls experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
