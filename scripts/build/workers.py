"""Where subnets are measured: in this process, or on the workers of a Ray cluster, with Ray Tune or without."""

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import settings_of, workspace_of
from litepose_ofa.scripts.build.networks import build_subnet_evaluator
from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor, Identity
from litepose_ofa.search.workers.pool import EvaluationPool, MakeMeasure, Measure, RayPool, SerialPool
from litepose_ofa.search.workers.session import BackendSettings, ray_session
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator

if TYPE_CHECKING:
    from litepose_ofa.search.study.generations import Generations


class WorkspacePool:
    """Measures subnets of the workspace's supernet on the search split, by the ``backend``; loads it when first needed.

    Ray's workers get a copy of what measures in this process, supernet and all.

    Args:
        stack: Closes the workers.
        predictor: The predictor that must have been fitted on the same supernet and split, if one is used.

    Attributes:
        cache: The workspace's measured accuracies.
        on_measured: Called after each subnet.
    """

    def __init__(self, cfg: DictConfig, stack: ExitStack, predictor: AccuracyPredictor | None = None) -> None:
        self._cfg = cfg
        self._stack = stack
        self._predictor = predictor
        self._backend, self._threads = _build_backend(cfg)
        self.cache = AccuracyCache(workspace_of(cfg).accuracies)
        self.on_measured: Callable[[], object] = lambda: None

    @cached_property
    def subnets(self) -> SubnetEvaluator:
        """The workspace's supernet, on the search split."""
        return build_subnet_evaluator(self._cfg, "search")

    @cached_property
    def identity(self) -> Identity:
        """What subnets are measured on; workers that are not of this process may measure on another kind of device."""
        identity = dict(self.subnets.identity)
        if self._backend.name != "serial":
            identity["device"] = self._backend.device
        if self._predictor is not None:
            self._predictor.require(space=self.subnets.space, identity=identity)
        return identity

    @cached_property
    def opened(self) -> EvaluationPool:
        """The workers, which start when they are first asked for."""
        backend, identity = self._backend, self.identity
        if backend.name == "serial":
            return SerialPool(self.subnets.measure)
        if self._cfg.accelerator not in ("auto", identity["device"]):
            raise InputError(
                f"accelerator is {self._cfg.accelerator!r}, but workers with gpus_per_worker "
                f"{backend.gpus_per_worker:g} measure on {backend.device!r}"
            )
        self._stack.enter_context(ray_session(backend.address))
        pool = RayPool(self._make_measure(), **backend.workers)
        self._stack.callback(pool.close)
        return pool

    def map(self, archs: Sequence[Arch]) -> Iterator[float]:
        """Yield the AP of each subnet, in [0, 1], in order."""
        if archs:
            for ap in self.opened.map(archs):
                self.on_measured()
                yield ap

    def search_in_tune(self, generations: "Generations", folder: Path) -> "Generations":
        """Search to the end as an experiment of Ray Tune in a folder; the workers must be open, and idle."""
        from litepose_ofa.search.study.ray_tune_search import run_in_tune  # Tune takes two seconds

        return run_in_tune(
            self._make_measure(),
            generations,
            cache=self.cache,
            measured_on=self.identity,
            folder=folder,
            **self._backend.workers,
        )

    def _make_measure(self) -> MakeMeasure:
        subnets = copy.copy(self.subnets)
        subnets.supernet = copy.deepcopy(subnets.supernet).cpu()  # which any process can unpickle
        return functools.partial(_build_measure, subnets, self._backend.device, self._threads)


def _build_backend(cfg: DictConfig) -> tuple[BackendSettings, int]:
    """Return how workers are started, and the threads of each: as many as it reserves CPUs, unless they are given."""
    given = None if cfg.threads == "auto" else cfg.threads
    reserved = cfg.backend.get("cpus_per_worker")
    cpus = (given or 1) if reserved is None else reserved
    backend = settings_of(BackendSettings, cfg.backend, "backend", cpus_per_worker=cpus)
    return backend, given or max(1, int(cpus))


def _build_measure(subnets: SubnetEvaluator, device: str, threads: int) -> Measure:
    torch.set_num_threads(threads)
    subnets.supernet.to(device)
    return subnets.measure
