"""Our evolution for those who write their own Optuna study: a sampler, and architectures as its parameters.

A part of the network is one parameter, an integer that packs the choices of the part: an Optuna storage writes every
parameter of every trial, and the full space has 80 choices.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseGASampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from litepose_ofa.search.accuracy.sampling import first_genomes
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.pareto import Points
from litepose_ofa.search.strategies.evolution import EvolutionSettings, selection_order
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, require

MOST_COMBINATIONS = 2**53
"""Optuna keeps a parameter as a double."""


class StageAwareSampler(BaseGASampler):
    """Evolution with crossover of whole stages, for any number of objectives, and constraints by ``set_constraint``.

    Source: Deb et al., NSGA-II (2002), for the selection.

    Args:
        space: The space that trials suggest from, by ``suggest_arch``; other parameters are drawn at random.
        population_size: Trials a generation.
        crossover: Probability that an offspring has two parents.
        mutations: Expected number of mutated choices of an offspring.
        seed: Seed of all randomness; None for a random one.

    Example:
        >>> import optuna
        >>> from litepose_ofa.supernet.archs.complexity import measure_complexity
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> space = SearchSpace.preset("tiny")
        >>> def objective(trial):
        ...     complexity = measure_complexity(suggest_arch(trial, space))
        ...     trial.set_constraint("params", complexity.params - 60_000)
        ...     return complexity.macs
        >>> sampler = StageAwareSampler(space, population_size=10, seed=0)
        >>> study = optuna.create_study(direction="maximize", sampler=sampler)
        >>> study.optimize(objective, n_trials=60)
        >>> study.best_value > 20e6
        True
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        population_size: int = 50,
        crossover: float = 0.9,
        mutations: float = 2.0,
        seed: int | None = None,
    ) -> None:
        require(population_size >= 2, "population_size", population_size, "at least 2")
        super().__init__(population_size)
        self._packing = _packing(space)
        self._evolution = EvolutionSettings(crossover=crossover, mutations=mutations)
        self._random = RandomSampler(seed=seed)
        self._rng = np.random.default_rng(seed)
        self._first = first_genomes(self._packing.codec, population_size, self._rng)

    def reseed_rng(self) -> None:
        """Give a copy in another process its own randomness."""
        self._random.reseed_rng()
        self._rng = np.random.default_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters of ``suggest_arch``."""
        return dict(self._packing.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return an architecture that no trial has had, as far as a generation of offspring has one."""
        generation = self.get_trial_generation(study, trial)
        if generation == 0:
            drawn = self._packing.codec.sample(len(self._first), self._rng)
            offspring = np.concatenate([self._first[trial.number : trial.number + 1], drawn])
        else:
            parents = self.get_parent_population(study, generation)
            ranked = np.stack([self._packing.unpack(parents[index].params) for index in _best_first(study, parents)])
            offspring = self._evolution.offspring(self._packing.codec, ranked, self._rng)
        seen = {self._packing.key(other.params) for other in study.get_trials(deepcopy=False)}
        packed = [self._packing.pack(genome) for genome in offspring]
        return next((params for params in packed if self._packing.key(params) not in seen), packed[0])

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the survivors of a generation and of its own parents."""
        trials = self.get_population(study, generation - 1) + self.get_parent_population(study, generation - 1)
        return [trials[index] for index in _best_first(study, trials)[: self.population_size]]

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value for a parameter that is not part of an architecture."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def suggest_arch(trial: optuna.Trial, space: SearchSpace) -> Arch:
    """Return the architecture that a trial suggests, whatever its sampler; refuse a space whose parts have too many."""
    packing = _packing(space)
    params = {
        name: trial.suggest_int(name, distribution.low, distribution.high)
        for name, distribution in packing.distributions.items()
    }
    return packing.codec.decode(packing.unpack(params))


class _Packing:
    """Genomes as one integer a part of the network."""

    def __init__(self, space: SearchSpace) -> None:
        self.codec = GenomeCodec(space)
        names = ("input", *(f"stage{s}" for s in range(len(space.stages))), "deconvs")
        self._columns = {name: np.flatnonzero(self.codec.parts == part) for part, name in enumerate(names)}
        self.distributions: dict[str, IntDistribution] = {}
        for name, columns in self._columns.items():
            combinations = math.prod(self.codec.cardinalities[columns].tolist())
            if combinations > MOST_COMBINATIONS:
                raise InputError(
                    f"space {space.name!r}: {name} has {combinations:.3g} combinations, too many to number"
                )
            self.distributions[name] = IntDistribution(0, combinations - 1)

    def pack(self, genome: Genomes) -> dict[str, int]:
        return {
            name: int(np.ravel_multi_index(genome[columns], self.codec.cardinalities[columns]))
            for name, columns in self._columns.items()
        }

    def unpack(self, params: Mapping[str, int]) -> Genomes:
        """Return the canonical genome of parameters, shape (G,)."""
        genome = np.zeros(self.codec.length, np.int8)
        for name, columns in self._columns.items():
            genome[columns] = np.unravel_index(params[name], self.codec.cardinalities[columns])
        return np.asarray(self.codec.canonicalise(genome[None])[0])

    def key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what equal packed genomes share; a trial may not have all its parameters yet."""
        return tuple(params.get(name) for name in self._columns)


@cache
def _packing(space: SearchSpace) -> _Packing:
    return _Packing(space)


def _best_first(study: Study, trials: Sequence[FrozenTrial]) -> NDArray[np.intp]:
    """Return the indices of trials from the best to the worst."""
    signs = np.array([-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in study.directions])
    points: Points = np.array([trial.values for trial in trials], np.float64) * signs
    excess = np.array([sum(max(value, 0.0) for value in trial.constraints.values()) for trial in trials])
    return selection_order(points, excess)
