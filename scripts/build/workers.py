"""Where subnets are measured: in this process, or on the workers of a Ray cluster, with Ray Tune or without."""

import copy
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import plain
from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.search.workers.pool import EvaluationPool, MakeMeasure, Measure, RayPool, SerialPool
from litepose_ofa.search.workers.session import BackendSettings, ray_session
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator
from litepose_ofa.supernet.validation import validate

if TYPE_CHECKING:
    from litepose_ofa.search.study.generations import Generations

BACKEND_KEYS = tuple(
    f"backend.{key}" for key in ("name", "address", "num_workers", "cpus_per_worker", "gpus_per_worker")
)
"""Settings that say where subnets are measured and change no result."""


@contextmanager
def open_subnet_pool(cfg: DictConfig, subnets: SubnetEvaluator) -> Iterator[tuple[EvaluationPool, Mapping[str, Any]]]:
    """Yield what measures subnets by the ``backend`` group, and the identity of what they are measured on.

    Ray's workers get a copy of what measures in this process, supernet and all.

    Raises:
        InputError: If a setting is impossible, ``accelerator`` contradicts it, or the cluster has no room.
    """
    backend = validate(BackendSettings, plain(cfg.backend), key="backend")
    if backend.name == "serial":
        yield SerialPool(subnets.measure), subnets.identity
        return
    device = backend.device
    if cfg.accelerator not in ("auto", device):
        raise InputError(
            f"accelerator is {cfg.accelerator!r}, but workers with gpus_per_worker "
            f"{backend.gpus_per_worker:g} measure on {device!r}"
        )
    with ray_session(backend.address):
        pool = RayPool(_make_measure(cfg, subnets, device), **backend.workers)
        try:
            yield pool, {**subnets.identity, "device": device}
        finally:
            pool.close()


def search_in_tune(
    cfg: DictConfig, subnets: SubnetEvaluator, generations: "Generations", cache: AccuracyCache, folder: Path
) -> "Generations":
    """Search to the end as an experiment of Ray Tune in a folder; the ``backend``'s pool must be open, and idle."""
    from litepose_ofa.search.study.ray_tune_search import TuneSettings, run_in_tune  # Tune takes two seconds

    backend = validate(BackendSettings, plain(cfg.backend), key="backend")
    return run_in_tune(
        _make_measure(cfg, subnets, backend.device),
        generations,
        cache=cache,
        measured_on={**subnets.identity, "device": backend.device},
        workers=TuneSettings(**backend.workers),
        folder=folder,
    )


def _make_measure(cfg: DictConfig, subnets: SubnetEvaluator, device: str) -> MakeMeasure:
    return functools.partial(_build_measure, _on_cpu(subnets), device, cfg.threads)


def _on_cpu(subnets: SubnetEvaluator) -> SubnetEvaluator:
    """Return a copy that any process can unpickle."""
    moved = copy.copy(subnets)
    moved.supernet = copy.deepcopy(subnets.supernet).cpu()
    return moved


def _build_measure(subnets: SubnetEvaluator, device: str, threads: int | None) -> Measure:
    if threads is not None:
        torch.set_num_threads(threads)
    subnets.supernet.to(device)
    return subnets.measure
