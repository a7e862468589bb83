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
from optuna.trial import FrozenTrial, TrialState, create_trial

from litepose_ofa.search.genome import Genomes, distinct
from litepose_ofa.search.problem.history import History
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.supernet.errors import require

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

    Args:
        problem: What is searched.
        sampler: ``nsga2`` or ``tpe``.
    """

    def __init__(self, problem: SearchProblem, sampler: SamplerName) -> None:
        require(sampler in SAMPLERS, "sampler", sampler, f"one of {', '.join(SAMPLERS)}")
        self._problem = problem
        self._sampler: SamplerName = sampler
        codec = problem.cost.codec
        self._distributions: dict[str, BaseDistribution] = {
            name: IntDistribution(0, int(cardinality) - 1)
            for name, cardinality in zip(codec.names, codec.cardinalities, strict=True)
            if cardinality > 1
        }
        self._columns = [codec.names.index(name) for name in self._distributions]

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
                if len(genome) and self._problem.violation(genome)[0] == 0:
                    found = np.concatenate([found, genome])
                if len(found) == n:
                    break
        return found

    def describe(self) -> Mapping[str, Any]:
        """Return the sampler's name."""
        return {"strategy": f"optuna_{self._sampler}"}

    def _study(self, history: History, seed: int) -> optuna.Study:
        num_objectives = len(self._problem.objective_names)
        study = optuna.create_study(directions=["minimize"] * num_objectives, sampler=SAMPLERS[self._sampler](seed))
        objectives = self._problem.objectives(history.genomes, history.ap).tolist()
        violations = self._problem.combined(history.excess).tolist()
        genes = history.genomes[:, self._columns].tolist()
        study.add_trials(
            self._trial(*row) for row in zip(range(len(history)), genes, objectives, violations, strict=True)
        )
        return study

    def _trial(self, number: int, genes: list[int], values: list[float], violation: float) -> FrozenTrial:
        return create_trial(
            values=values,
            params=dict(zip(self._distributions, genes, strict=True)),
            distributions=self._distributions,
            constraints={"violation": violation},
            system_attrs={NSGAIISampler._get_generation_key(): number // POPULATION},
        )


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
