"""From the composed config to the objects of a search, and where a workspace keeps what they need."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_space, plain
from litepose_ofa.scripts.build.networks import build_subnet_evaluator
from litepose_ofa.scripts.build.workers import open_subnet_pool
from litepose_ofa.search.accuracy.evaluators import AccuracyCache, Evaluator, PredictorEvaluator, SupernetEvaluator
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor, Identity
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.batches import BatchSettings
from litepose_ofa.search.strategies.evolution import EvolutionSettings, EvolutionStrategy
from litepose_ofa.search.strategies.optuna_strategies import OptunaStrategy
from litepose_ofa.search.strategies.strategies import RandomStrategy, Strategy, SurrogateEvolution
from litepose_ofa.search.strategies.surrogates import FixedSurrogate, LearnedSurrogate, RefittedSurrogate, Surrogate
from litepose_ofa.search.study.generations import StopRule, StudySettings
from litepose_ofa.search.study.results import SearchOutcome
from litepose_ofa.search.workers.pool import EvaluationPool
from litepose_ofa.search.workspace import Workspace
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator
from litepose_ofa.supernet.validation import validate

STRATEGIES = ("surrogate", "evolution", "random", "optuna_nsga2", "optuna_tpe")
STOP_KEYS = ("generations", "evaluations", "plateau_gain", "plateau_generations", "seconds")


def open_accuracy_cache(cfg: DictConfig) -> AccuracyCache:
    """Return the workspace's measured accuracies: one file for every device and tier."""
    return AccuracyCache(Workspace(Path(cfg.workspace)).accuracies)


def samples_path(cfg: DictConfig) -> Path:
    """Return where the workspace's samples for the predictor are."""
    return Workspace(Path(cfg.workspace)).samples


def predictor_path(cfg: DictConfig) -> Path:
    """Return where the workspace's accuracy predictor is."""
    return Workspace(Path(cfg.workspace)).predictor


def load_samples(cfg: DictConfig, predictor: AccuracyPredictor) -> AccuracySamples:
    """Load the workspace's measured samples.

    Raises:
        InputError: If there are none, or the predictor was fitted to others.
    """
    samples = AccuracySamples.load(samples_path(cfg))
    predictor.require(space=samples.space, identity=samples.identity)
    return samples


@dataclass(frozen=True)
class SearchAccuracy:
    """Where a search has its accuracies from.

    Attributes:
        evaluator: Gives those of the study's trials.
        surrogate: Predicts those of the inner evolution.
        num_keypoints: K of the networks.
        truth: Measures subnets; None where there is no supernet to measure.
        predictor: The workspace's predictor, where the search uses it.
        pool: What ``truth`` measures with.
    """

    evaluator: Evaluator
    surrogate: Surrogate
    num_keypoints: int
    truth: SupernetEvaluator | None = None
    predictor: AccuracyPredictor | None = None
    pool: "WorkspacePool | None" = None


def build_accuracy(cfg: DictConfig, stack: ExitStack) -> SearchAccuracy:
    """Return where accuracies come from by ``evaluator``.

    A search with ``evaluator=supernet`` starts from the workspace's predictor if there is one, else its inner loop
    learns from its own evaluations alone. The stack closes what is opened to measure subnets.

    Raises:
        InputError: If what the evaluator needs is missing or of another space.
    """
    space = build_space(cfg)
    if cfg.evaluator == "published":
        model = PublishedSurrogate(space, dataset=cfg.published)
        return SearchAccuracy(PredictorEvaluator(model), FixedSurrogate(model), model.num_keypoints)
    if cfg.evaluator == "supernet" and not predictor_path(cfg).exists():
        pool = WorkspacePool(cfg, None, stack)
        truth = SupernetEvaluator(pool, identity=pool.load(), cache=pool.cache)
        num_keypoints = pool.subnets.num_keypoints
        surrogate = LearnedSurrogate(space, num_keypoints=num_keypoints)
        return SearchAccuracy(truth, surrogate, num_keypoints, truth, pool=pool)
    predictor = AccuracyPredictor.load(predictor_path(cfg))
    predictor.require(space=space)
    pool = WorkspacePool(cfg, predictor, stack)
    truth = SupernetEvaluator(pool, identity=predictor.identity, cache=pool.cache)
    shared: dict[str, Any] = {
        "num_keypoints": predictor.num_keypoints,
        "truth": truth,
        "predictor": predictor,
        "pool": pool,
    }
    if cfg.evaluator == "supernet":
        return SearchAccuracy(truth, RefittedSurrogate(predictor), **shared)
    return SearchAccuracy(PredictorEvaluator(predictor), FixedSurrogate(predictor), **shared)


def build_strategy(cfg: DictConfig, problem: SearchProblem, surrogate: Surrogate) -> Strategy:
    """Return what proposes trials, by ``search.strategy``.

    Raises:
        InputError: If it is unknown, or a setting is impossible.
    """
    name = cfg.search.strategy
    evolution = validate(EvolutionSettings, plain(cfg.search.evolution), key="search.evolution")
    batches = validate(BatchSettings, plain(cfg.search.batches), key="search.batches")
    if name == "surrogate":
        return SurrogateEvolution(problem, surrogate, evolution, batches)
    if name == "evolution":
        return EvolutionStrategy(problem, evolution)
    if name == "random":
        return RandomStrategy(problem)
    if name in STRATEGIES:
        return OptunaStrategy(problem, name.removeprefix("optuna_"))
    raise InputError(f"search.strategy is {name!r}; known: {', '.join(STRATEGIES)}")


def build_course(cfg: DictConfig) -> dict[str, Any]:
    """Return a study's seed, sizes, end and warm start, as keyword arguments."""
    return {
        "seed": cfg.seed,
        "settings": validate(StudySettings, {name: cfg.search[name] for name in ("first", "batch")}, key="search"),
        "stop": validate(StopRule, {name: cfg.search[name] for name in STOP_KEYS}, key="search"),
        "warm": _warm_start(cfg),
    }


def _warm_start(cfg: DictConfig) -> list[Arch]:
    """Return the front of the earlier search that ``warm_start`` names the folder of, or nothing."""
    if cfg.warm_start is None:
        return []
    outcome = SearchOutcome.load(Path(cfg.warm_start))
    return list(dict.fromkeys([outcome.arch, *outcome.best(sys.maxsize)]))


class WorkspacePool:
    """Measures subnets of the workspace's supernet on the search split, by the ``backend``; loads it when first needed.

    Args:
        cfg: The composed config.
        predictor: The predictor that must have been fitted on the same supernet and split, if one is used.
        stack: Closes the workers.
    """

    def __init__(self, cfg: DictConfig, predictor: AccuracyPredictor | None, stack: ExitStack) -> None:
        self._cfg = cfg
        self._predictor = predictor
        self._stack = stack
        self._opened: tuple[EvaluationPool, Identity] | None = None
        self.cache = open_accuracy_cache(cfg)

    @cached_property
    def subnets(self) -> SubnetEvaluator:
        """The workspace's supernet, on the search split."""
        subnets = build_subnet_evaluator(self._cfg, "search")
        if self._predictor is None and subnets.space != build_space(self._cfg):
            raise InputError(f"the supernet is of space {subnets.space.name!r}, not of {self._cfg.space.name!r}")
        return subnets

    def load(self) -> Identity:
        """Load the supernet and start the workers, once; return what they measure on.

        Raises:
            InputError: If there is no supernet, or the predictor was fitted on another one.
        """
        if self._opened is None:
            opened = self._stack.enter_context(open_subnet_pool(self._cfg, self.subnets))
            if self._predictor is not None:
                self._predictor.require(space=self.subnets.space, identity=opened[1])
            self._opened = opened
        return self._opened[1]

    def map(self, archs: Sequence[Arch]) -> Iterator[float]:
        """Yield the AP of each subnet, in [0, 1], in order."""
        if archs:
            self.load()
            assert self._opened is not None
            yield from self._opened[0].map(archs)
