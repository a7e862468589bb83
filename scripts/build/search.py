"""From the composed config to the devices, the problem, the accuracies and the strategy of a search."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.scripts.build.data import build_space, option_of, plain, settings_of, workspace_of
from litepose_ofa.scripts.build.workers import WorkspacePool
from litepose_ofa.scripts.settings.groups import DeviceSettings
from litepose_ofa.search.accuracy.evaluators import Evaluator, SupernetEvaluator
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.batches import BatchSettings
from litepose_ofa.search.strategies.evolution import EvolutionSettings, EvolutionStrategy
from litepose_ofa.search.strategies.optuna_strategies import OptunaStrategy
from litepose_ofa.search.strategies.strategies import RandomStrategy, Strategy, SurrogateEvolution
from litepose_ofa.search.strategies.surrogates import FixedSurrogate, LearnedSurrogate, RefittedSurrogate, Surrogate
from litepose_ofa.search.study.generations import StopRule, StudySettings
from litepose_ofa.search.study.results import SearchOutcome
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.export.shipped import shipped_names, shipped_predictor
from litepose_ofa.supernet.validation import validate


def find_devices(cfg: DictConfig) -> list[DeviceSettings]:
    """Return the devices that ``devices`` names, or the one of the ``device`` group.

    One that is renamed on the command line has no budgets: those of its config are another device's.
    """
    typed = [override.lstrip("+") for override in HydraConfig.get().overrides.task]
    chosen = validate(DeviceSettings, plain(cfg.device), key="device")
    if any(key.startswith("device.name=") for key in typed) and not any("device.budgets_ms" in key for key in typed):
        chosen = chosen.model_copy(update={"budgets_ms": None})
    if cfg.devices is None:
        return [chosen]
    require(len(set(cfg.devices)) == len(cfg.devices), "devices", list(cfg.devices), "a list of different names")
    return [
        chosen if name == chosen.name else validate(DeviceSettings, option_of("device", name), key="device")
        for name in cfg.devices
    ]


def build_problem(cfg: DictConfig, devices: list[DeviceSettings], num_keypoints: int) -> SearchProblem:
    """Return the search problem of the config's space, devices and constraints."""
    require(cfg.goal == "front" or len(devices) > 1, "goal", cfg.goal, "front, as there is one device; or give devices")
    budgets = {device.name: _budgets_ms(cfg, device) for device in devices}
    cost = CostModel(
        build_space(cfg),
        tables={device.name: LatencyTable.load(device.table) for device in devices},
        num_keypoints=num_keypoints,
        decoding={device.name: DecodingCost.load(device.decoding) for device in devices if device.decoding is not None},
        people=cfg.people_per_frame,
    )
    return SearchProblem(
        cost,
        {name: cost.slowest(name)[1] if budget is None else budget for name, budget in budgets.items()},
        max_macs=cfg.max_macs,
        max_params=cfg.max_params,
        max_peak_memory_bytes=cfg.max_peak_memory_bytes,
        confidence=cfg.confidence,
        goal=cfg.goal,
    )


def _budgets_ms(cfg: DictConfig, device: DeviceSettings) -> float | dict[str, float] | None:
    """Return ``budget_ms``, the time of a frame at ``fps``, or the tiers' budgets; None if any latency is allowed."""
    given = cfg.budget_ms
    if cfg.tiers is not None:
        names = list(cfg.tiers)
        require(len(set(names)) == len(names), "tiers", names, "a list of different names")
        for key in ("budget_ms", "fps"):
            require(cfg[key] is None, key, cfg[key], "null where tiers has the budgets")
        return {tier: _tier_budget_ms(device, cfg.space.name, tier) for tier in names}
    if cfg.fps is not None:
        require(given is None, "budget_ms", given, "null where fps is given")
        return 1000 / float(cfg.fps)
    if isinstance(given, DictConfig):
        require(device.name in given, "budget_ms", plain(given), f"a number, or have one for {device.name}")
        given = given[device.name]
    if given == "none":
        return None
    return _tier_budget_ms(device, cfg.space.name, cfg.tier) if given is None else float(given)


def _tier_budget_ms(device: DeviceSettings, space: str, tier: str) -> float:
    budgets_ms = device.budgets_ms
    if budgets_ms is None:
        raise InputError(f"device {device.name} has no budgets of its own; give budget_ms=<milliseconds>")
    if space not in budgets_ms:
        known = ", ".join(budgets_ms) or "none"
        raise InputError(
            f"device {device.name} has no budgets for space {space!r} (it has: {known}); give budget_ms=..."
        )
    tiers = budgets_ms[space]
    if tier not in tiers:
        raise InputError(f"device {device.name} has no tier {tier!r} for space {space!r}; known: {', '.join(tiers)}")
    return float(tiers[tier])


@dataclass(frozen=True)
class SearchAccuracy:
    """Where a search has its accuracies from.

    ``evaluator`` gives those of the study's trials, ``surrogate`` predicts others from them. ``pool`` measures subnets
    where there is a supernet, and ``predictor`` was fitted to subnets of it before.
    """

    evaluator: Evaluator
    surrogate: Surrogate
    num_keypoints: int
    pool: WorkspacePool | None = None
    predictor: AccuracyPredictor | None = None

    def known(self, problem: SearchProblem) -> History | None:
        """Return the subnets that the predictor was fitted to, as evaluations."""
        return None if self.predictor is None else problem.evaluated(self.predictor.genomes, self.predictor.ap)


def build_accuracy(cfg: DictConfig, stack: ExitStack) -> SearchAccuracy:
    """Return where accuracies come from by ``evaluator``.

    A search of the supernet starts from the workspace's predictor if there is one, else it learns from its own
    evaluations alone. Of a shipped supernet nothing is measured: its own predictor says each AP. The stack closes what
    is opened to measure subnets.
    """
    space, path = build_space(cfg), workspace_of(cfg).predictor
    if cfg.evaluator == "published":
        require(cfg.supernet is None, "supernet", cfg.supernet, "null with evaluator=published")
        model = PublishedSurrogate(space, dataset=cfg.published)
        return SearchAccuracy(model, FixedSurrogate(model), model.num_keypoints)
    if cfg.supernet in shipped_names():
        shipped = AccuracyPredictor.load(shipped_predictor(cfg.supernet, "supernet"))
        shipped.require(space=space)
        shipped.source = "shipped-predictor"
        return SearchAccuracy(shipped, FixedSurrogate(shipped), shipped.num_keypoints)
    predictor = AccuracyPredictor.load(path) if path.exists() else None
    if predictor is not None:
        predictor.require(space=space)
    pool = WorkspacePool(cfg, stack, predictor)
    truth = SupernetEvaluator(pool, identity=pool.identity, cache=pool.cache)
    num_keypoints = pool.subnets.num_keypoints
    surrogate = (
        LearnedSurrogate(space, num_keypoints=num_keypoints) if predictor is None else RefittedSurrogate(predictor)
    )
    return SearchAccuracy(truth, surrogate, num_keypoints, pool, predictor)


def build_strategy(cfg: DictConfig, problem: SearchProblem, surrogate: Surrogate) -> Strategy:
    """Return what proposes trials, by ``search.strategy``."""
    name = cfg.search.strategy
    evolution = settings_of(EvolutionSettings, cfg.search.evolution, "search.evolution")
    batches = settings_of(BatchSettings, cfg.search.batches, "search.batches")
    if name == "surrogate":
        return SurrogateEvolution(problem, surrogate, evolution, batches)
    if name == "evolution":
        return EvolutionStrategy(problem, evolution)
    if name == "random":
        return RandomStrategy(problem)
    return OptunaStrategy(problem, name.removeprefix("optuna_"))


def build_course(cfg: DictConfig) -> dict[str, Any]:
    """Return a study's seed, sizes, end and warm start, as keyword arguments."""
    warm: list[Arch] = []
    if cfg.warm_start is not None:
        outcome = SearchOutcome.load(Path(cfg.warm_start))
        warm = list(dict.fromkeys([outcome.arch, *outcome.best(sys.maxsize)]))
    return {
        "seed": cfg.seed,
        "settings": settings_of(StudySettings, cfg.search, "search"),
        "stop": settings_of(StopRule, cfg.search, "search"),
        "warm": warm,
    }
