"""Measure many architectures: one after another here, or spread over the workers of a Ray cluster.

Results come in the order of the architectures whatever order they finish in, so that what is written from them does not
depend on the number of workers.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from litepose_ofa.search.workers.session import worker_error
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError, require

logger = logging.getLogger(__name__)

Measure = Callable[[Arch], float]
"""Measures one architecture's AP in [0, 1]."""

MakeMeasure = Callable[[], Measure]
"""Builds a ``Measure`` in a worker's process, once a worker; it is pickled by value."""

AHEAD = 2
"""Architectures in work or measured ahead of the first that is not, for each worker: a kill loses no more."""


class EvaluationPool(Protocol):
    """Measures architectures."""

    def map(self, archs: Sequence[Arch]) -> Iterator[float]:
        """Yield the AP of each architecture, in order; ``InputError`` if one cannot be measured."""


@dataclass(frozen=True)
class SerialPool:
    """Measures in this process."""

    measure: Measure

    def map(self, archs: Sequence[Arch]) -> Iterator[float]:
        """Yield the AP of each architecture, in order."""
        return map(self.measure, archs)


class RayPool:
    """Measures on Ray actors; a worker that dies is replaced, and its architecture measured again.

    Ray must run (``ray_session``). Actors start with the first call of ``map``; while the cluster has no place for
    some of them, or has lost theirs, the others go on. Ray's own restarts and ``ray.util.ActorPool`` would keep an
    architecture waiting for the worker that it was given to.

    Args:
        make_measure: Builds what measures; it goes through the object store once.
        num_workers: Actors.
        cpus_per_worker: CPUs that each reserves.
        gpus_per_worker: GPUs that each reserves; a fraction shares one.
        max_failures: How often workers may die over one architecture; or, for each worker, while they start.

    Raises:
        InputError: If a number is out of its range, or a worker does not fit on any node of the cluster.
    """

    def __init__(
        self,
        make_measure: MakeMeasure,
        *,
        num_workers: int,
        cpus_per_worker: float = 1,
        gpus_per_worker: float = 0,
        max_failures: int = 3,
    ) -> None:
        import ray

        require_workers(num_workers, cpus_per_worker, gpus_per_worker)
        self._ray: Any = ray
        self._make_measure = ray.put(make_measure)
        remote: Any = ray.remote(num_cpus=cpus_per_worker, num_gpus=gpus_per_worker)
        self._worker_class = remote(_Worker)
        self._num_workers = num_workers
        self._max_failures = max_failures
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}

    def map(self, archs: Sequence[Arch]) -> Iterator[float]:
        """Yield the AP of each architecture, in order; see ``EvaluationPool``."""
        waiting, done, failures = deque(range(len(archs))), dict[int, float](), Counter[str]()
        running: dict[Any, tuple[Any, int]] = {}
        self._start((self._num_workers if archs else 0) - len(self._idle) - len(self._starting))
        try:
            for index in range(len(archs)):
                while index not in done:
                    while self._idle and waiting and waiting[0] < index + AHEAD * self._num_workers:
                        worker, number = self._idle.pop(), waiting.popleft()
                        running[worker.measure.remote(archs[number])] = worker, number
                    (answer,), _ = self._ray.wait([*running, *self._starting])
                    if answer in self._starting:
                        worker, limit = self._starting.pop(answer), self._max_failures * self._num_workers
                        self._get(answer, worker, "a worker that was not ready yet", failures, limit)
                        continue
                    worker, number = running.pop(answer)
                    name = f"architecture {archs[number].digest}"
                    ap = self._get(answer, worker, name, failures, self._max_failures)
                    if ap is None:
                        waiting.appendleft(number)
                    else:
                        done[number] = ap
                yield done.pop(index)
        finally:
            self._replace([worker for worker, _ in running.values()])

    def close(self) -> None:
        """End the actors."""
        for worker in (*self._idle, *self._starting.values()):
            self._ray.kill(worker)
        self._idle, self._starting = [], {}

    def _start(self, count: int) -> None:
        for _ in range(count):
            worker = self._worker_class.remote(self._make_measure)
            self._starting[worker.ready.remote()] = worker

    def _replace(self, workers: Sequence[Any]) -> None:
        for worker in workers:
            self._ray.kill(worker)
        self._start(len(workers))

    def _get(self, answer: Any, worker: Any, name: str, failures: Counter[str], limit: int) -> Any:
        """Return a worker's answer, and count it as idle; or replace it if it died, and return None."""
        try:
            value = self._ray.get(answer)
        except self._ray.exceptions.RayActorError as error:
            # idle workers of a lost node are dead, too, through no fault of what they would measure next
            self._replace([worker, *self._idle])
            self._idle = []
            failures[name] += 1
            reason = str(error).partition("\n")[0]
            if failures[name] >= limit:
                raise InputError(f"{name}: its workers died {failures[name]} times ({reason})") from None
            logger.warning("%s: its worker died and is replaced (%s)", name, reason)
            return None
        except self._ray.exceptions.RayTaskError as error:
            self._idle.append(worker)
            raise worker_error(error) from None
        self._idle.append(worker)
        return value


class _Worker:
    """An actor: what measures is built in ``ready``, so that its errors are those of a call."""

    def __init__(self, make_measure: MakeMeasure) -> None:
        self._make_measure = make_measure

    def ready(self) -> None:
        self._measure = self._make_measure()

    def measure(self, arch: Arch) -> float:
        return self._measure(arch)


def require_workers(num_workers: int, cpus: float, gpus: float) -> None:
    """Raise ``InputError`` if a number is out of its range, or a worker fits on no node: Ray would wait for ever."""
    import ray

    require(num_workers >= 1, "num_workers", num_workers, "at least 1")
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    for kind, asked in (("CPU", cpus), ("GPU", gpus)):
        name = f"{kind.lower()}s_per_worker"
        there = max((resources.get(kind, 0) for resources in alive), default=0)
        require(asked <= there, name, asked, f"at most {there:g}, what a node has")
