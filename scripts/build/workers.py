"""Where subnets are measured: in this process, or on the workers of a Ray cluster, with Ray Tune or without."""

import copy
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from omegaconf import DictConfig
from pydantic import Field

from litepose_ofa.scripts.build.construct import construct
from litepose_ofa.scripts.build.data import plain
from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.search.workers.pool import (
    EvaluationPool,
    MakeMeasure,
    Measure,
    RayPool,
    SerialPool,
)
from litepose_ofa.search.workers.session import ray_session
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator
from litepose_ofa.supernet.validation import NonNegative, Positive, settings

if TYPE_CHECKING:
    from litepose_ofa.search.study.generations import Generations, SearchRun

BACKEND_KEYS = tuple(
    f"backend.{key}" for key in ("name", "address", "num_workers", "cpus_per_worker", "gpus_per_worker")
)
"""Settings that say where subnets are measured and change no result."""


@settings
class BackendSettings:
    """The ``backend`` group; see conf/backend/ray.yaml."""

    name: Literal["serial", "ray", "ray_tune"]
    address: str | None = None
    num_workers: Annotated[int, Field(ge=1, le=10_000)] = 1
    cpus_per_worker: Positive = 1
    gpus_per_worker: NonNegative = 0


@contextmanager
def open_subnet_pool(cfg: DictConfig, subnets: SubnetEvaluator) -> Iterator[tuple[EvaluationPool, Mapping[str, Any]]]:
    """Yield what measures subnets by the ``backend`` group, and the identity of what they are measured on.

    Args:
        cfg: The composed config.
        subnets: What measures in this process; Ray's workers get a copy of it, supernet and all.

    Raises:
        InputError: If a setting is impossible, ``accelerator`` contradicts it, or the cluster has no room.
    """
    backend = construct(BackendSettings, plain(cfg.backend), "backend")
    if backend.name == "serial":
        yield SerialPool(subnets.measure), subnets.identity
        return
    device = "cuda" if backend.gpus_per_worker else "cpu"
    if cfg.accelerator not in ("auto", device):
        raise InputError(
            f"accelerator is {cfg.accelerator!r}, but workers with gpus_per_worker "
            f"{backend.gpus_per_worker:g} measure on {device!r}"
        )
    make_measure = functools.partial(_build_measure, _on_cpu(subnets), device, cfg.threads)
    workers = {key: value for key, value in asdict(backend).items() if key.endswith(("workers", "per_worker"))}
    with ray_session(backend.address):
        pool = TunePool(make_measure, workers) if backend.name == "ray_tune" else RayPool(make_measure, **workers)
        try:
            yield pool, {**subnets.identity, "device": device}
        finally:
            pool.close()


class TunePool(RayPool):
    """A Ray pool whose workers also serve Ray Tune: as long as nothing is mapped, the cluster is free for trials.

    Args:
        make_measure: Builds what measures.
        workers: How many there are, and what each reserves.
    """

    def __init__(self, make_measure: MakeMeasure, workers: Mapping[str, Any]) -> None:
        super().__init__(make_measure, **workers)
        self._tuned = make_measure, workers

    def search(
        self, generations: "Generations", *, cache: AccuracyCache, measured_on: Mapping[str, Any], folder: Path
    ) -> "SearchRun":
        """Search to the end as an experiment of Ray Tune; see ``run_in_tune``."""
        from litepose_ofa.search.study.ray_tune_search import TuneSettings, run_in_tune  # Tune takes two seconds

        self.close()
        make_measure, workers = self._tuned
        return run_in_tune(
            make_measure,
            generations,
            cache=cache,
            measured_on=measured_on,
            workers=TuneSettings(**workers),
            folder=folder,
        )


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
