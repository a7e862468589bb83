"""Our sampler in plain Optuna studies: every objective count, constraints, nothing twice."""

import doctest
import warnings

import numpy as np
import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FixedTrial

from litepose_ofa.search.study import optuna_sampler
from litepose_ofa.search.study.optuna_sampler import StageAwareSampler, suggest_arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace, StageSpace
from litepose_ofa.supernet.errors import InputError

TINY = SearchSpace.preset("tiny")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", ExperimentalWarning)


def two_objectives(trial: optuna.Trial) -> tuple[float, float]:
    complexity = measure_complexity(suggest_arch(trial, TINY))
    trial.set_constraint("macs", complexity.macs - 25e6)
    return complexity.params, complexity.macs


def optimised(seed: int, trials: int = 60) -> optuna.Study:
    sampler = StageAwareSampler(TINY, population_size=12, seed=seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(two_objectives, n_trials=trials)
    return study


def test_the_example_runs() -> None:
    assert doctest.testmod(optuna_sampler).failed == 0


def test_no_architecture_is_tried_twice_and_the_seed_decides() -> None:
    study = optimised(0)
    params = [tuple(trial.params.values()) for trial in study.trials]
    assert len(set(params)) == len(params) == 60
    assert params == [tuple(trial.params.values()) for trial in optimised(0).trials]
    assert params != [tuple(trial.params.values()) for trial in optimised(1).trials]


def test_it_learns_to_keep_the_constraint() -> None:
    trials = optimised(0).trials
    feasible = np.array([all(value <= 0 for value in trial.constraints.values()) for trial in trials])
    assert feasible[-24:].mean() > feasible[:12].mean()


def test_every_architecture_has_one_number_a_part() -> None:
    space = SearchSpace.preset("litepose")
    distributions = optimised(0, trials=1).trials[0].distributions
    assert list(distributions) == ["input", "stage0", "stage1", "stage2", "stage3", "deconvs"]
    highest = StageAwareSampler(space).infer_relative_search_space(optuna.create_study(), optuna.create_study().ask())
    ends = [
        suggest_arch(FixedTrial({name: value(each) for name, each in highest.items()}), space)
        for value in (lambda each: each.low, lambda each: each.high)
    ]
    assert ends == [space.smallest(), space.largest()]


def test_parameters_beside_the_architecture_are_drawn() -> None:
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("threshold", 0, 1) + measure_complexity(suggest_arch(trial, TINY)).macs / 1e8

    study = optuna.create_study(sampler=StageAwareSampler(TINY, population_size=5, seed=0))
    study.optimize(objective, n_trials=15)
    assert len({trial.params["threshold"] for trial in study.trials}) == 15


def test_a_part_without_a_choice_is_no_obstacle() -> None:
    space = TINY.restricted(["kernel"])
    study = optuna.create_study(sampler=StageAwareSampler(space, population_size=5, seed=0))
    study.optimize(lambda trial: float(space.contains(suggest_arch(trial, space))), n_trials=15)
    assert [trial.value for trial in study.trials] == [1.0] * 15


def test_a_part_with_too_many_combinations_is_refused(small_space: SearchSpace) -> None:
    stages = (StageSpace((8, 16), (30,), (3, 5, 7), (2, 4)), *small_space.stages[1:])
    space = SearchSpace("deep", small_space.image_sizes, small_space.stem_channels, stages, small_space.deconv_channels)
    with pytest.raises(InputError, match=r"space 'deep': stage0 has .* combinations, too many to number"):
        StageAwareSampler(space)
