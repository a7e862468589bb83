"""From the composed config to the objects of a search, and where a workspace keeps what they need."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from latency_tables import LatencyTable
from latency_tables.decoding import DecodingCost
from scripts.builders import build_space, build_subnet_evaluator, plain
from scripts.construct import construct
from search.cost import CostModel
from search.evaluators import AccuracyCache
from search.evolution import EvolutionSettings
from search.predictor import AccuracyPredictor
from search.problem import SearchProblem
from search.sampling import AccuracySamples
from search.study import StudySettings
from search.tiers import budget_ms
from supernet.arch import Arch
from supernet.errors import InputError
from supernet.evaluation.subnets import SubnetEvaluator


def open_accuracy_cache(cfg: DictConfig) -> AccuracyCache:
    """Return the workspace's measured accuracies: one file for every device and tier."""
    return AccuracyCache(Path(cfg.workspace) / "accuracies" / "accuracies.jsonl")


def samples_path(cfg: DictConfig) -> Path:
    """Return where the workspace's samples for the predictor are."""
    return Path(cfg.workspace) / "accuracies" / "samples.json"


def predictor_path(cfg: DictConfig) -> Path:
    """Return where the workspace's accuracy predictor is."""
    return Path(cfg.workspace) / "predictor" / "predictor.safetensors"


def load_predictor(cfg: DictConfig) -> AccuracyPredictor:
    """Load the workspace's accuracy predictor.

    Raises:
        InputError: If there is none, or it is of another space than the config's.
    """
    predictor = AccuracyPredictor.load(predictor_path(cfg))
    predictor.require(space=build_space(cfg))
    return predictor


def load_samples(cfg: DictConfig, predictor: AccuracyPredictor) -> AccuracySamples:
    """Load the workspace's measured samples.

    Raises:
        InputError: If there are none, or the predictor was fitted to others.
    """
    samples = AccuracySamples.load(samples_path(cfg))
    predictor.require(space=samples.space, identity=samples.identity)
    return samples


def build_problem(cfg: DictConfig, num_keypoints: int) -> SearchProblem:
    """Return the search problem of the config's space, device and budget.

    Raises:
        InputError: If the tier is unknown, the table or the decoding cost does not cover the space, or nothing meets
            the budget.
    """
    budget, device = find_budget_ms(cfg), cfg.device.name
    cost = CostModel(
        build_space(cfg),
        tables={device: LatencyTable.load(cfg.device.table)},
        num_keypoints=num_keypoints,
        decoding={} if cfg.device.decoding is None else {device: DecodingCost.load(cfg.device.decoding)},
        people=cfg.people_per_frame,
    )
    return SearchProblem(cost, device, budget)


def find_budget_ms(cfg: DictConfig) -> float:
    """Return ``budget_ms``, or the budget of the tier; a renamed device has no tiers, for they are another device's."""
    budgets = {cfg.space.name: {cfg.tier: cfg.budget_ms}}
    if cfg.budget_ms is None:
        if cfg.device.name != HydraConfig.get().runtime.choices["device"]:
            raise InputError(f"device {cfg.device.name} has no budgets of its own; give budget_ms=<milliseconds>")
        budgets = plain(cfg.device.budgets_ms)
    return budget_ms(budgets, device=cfg.device.name, space=cfg.space.name, tier=cfg.tier)


def build_study_settings(cfg: DictConfig) -> StudySettings:
    """Return the sizes of the outer loop."""
    sizes = {name: cfg.search[name] for name in ("first", "batch", "generations")}
    return construct(StudySettings, sizes, "search")


def build_evolution_settings(cfg: DictConfig) -> EvolutionSettings:
    """Return the settings of the inner loop."""
    return construct(EvolutionSettings, plain(cfg.search.evolution), "search.evolution")


class WorkspaceMeasure:
    """Measures subnets of the workspace's supernet on the search split; loads it when first needed.

    Args:
        cfg: The composed config.
        predictor: The predictor that must have been fitted on the same supernet and split.
    """

    def __init__(self, cfg: DictConfig, predictor: AccuracyPredictor) -> None:
        self._cfg = cfg
        self._predictor = predictor
        self._subnets: SubnetEvaluator | None = None

    def load(self) -> SubnetEvaluator:
        """Return what measures.

        Raises:
            InputError: If there is no supernet, or the predictor was fitted on another one.
        """
        if self._subnets is None:
            subnets = build_subnet_evaluator(self._cfg, "search")
            self._predictor.require(space=subnets.space, identity=subnets.identity)
            self._subnets = subnets
        return self._subnets

    def __call__(self, arch: Arch) -> float:
        """Return the AP of a subnet, in [0, 1]."""
        return self.load().measure(arch)
