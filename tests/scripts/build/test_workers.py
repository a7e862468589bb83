"""What workers reserve and compute with."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from litepose_ofa.scripts.build.workers import _build_backend

RESERVED: dict[tuple[str, ...], tuple[float, int]] = {
    (): (1, 1),
    ("threads=3",): (3, 3),
    ("backend.cpus_per_worker=2",): (2, 2),
    ("backend.cpus_per_worker=0.5",): (0.5, 1),
    ("backend.cpus_per_worker=0.5", "threads=2"): (0.5, 2),
}


@pytest.mark.parametrize("overrides", RESERVED)
def test_a_worker_has_a_thread_for_each_cpu_that_it_reserves(
    compose_config: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # of this process, not of its workers
    backend, threads = _build_backend(compose_config("sample", "backend=ray", *overrides))
    assert (backend.cpus_per_worker, threads) == RESERVED[overrides]
