"""Measure many architectures: one after another here, or spread over the workers of a Ray cluster.

Results come in the order of the architectures whatever order they finish in, so that what is written from them does not
depend on the number of workers.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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
        """Yield the AP of each architecture, in order.

        Raises:
            InputError: What a measurement raised, or if an architecture's workers die again and again.
        """

    def close(self) -> None:
        """Let go of the workers."""


class SerialPool:
    """Measures in this process.

    Args:
        measure: Measures one architecture.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def map(self, archs: Sequence[Arch]) -> Iterator[float]:
        """Yield the AP of each architecture, in order."""
        return map(self._measure, archs)

    def close(self) -> None:
        """Nothing to let go of."""


class RayPool:
    """Measures on Ray actors; a worker that dies is replaced, and its architecture measured again.

    Ray must run (``ray_session``). Actors start with the first call of ``map``, and those
    that the cluster has no place for yet wait for it; the others go on.

    Args:
        make_measure: Builds what measures; it goes through the object store once.
        num_workers: Actors.
        cpus_per_worker: CPUs that each reserves.
        gpus_per_worker: GPUs that each reserves; a fraction shares one.
        most_deaths: How often workers may die over one architecture; or, for each worker, before one is ready.

    Raises:
        InputError: If a number is out of its range, or no node of the cluster has room for a worker.
    """

    def __init__(
        self,
        make_measure: MakeMeasure,
        *,
        num_workers: int,
        cpus_per_worker: float = 1,
        gpus_per_worker: float = 0,
        most_deaths: int = 3,
    ) -> None:
        import ray

        require_workers(num_workers, cpus_per_worker, gpus_per_worker)
        self._ray: Any = ray
        self._make_measure = ray.put(make_measure)
        remote: Any = ray.remote(num_cpus=cpus_per_worker, num_gpus=gpus_per_worker)
        self._worker_class = remote(_Worker)
        self._most_deaths = most_deaths
        self._most_early_deaths = most_deaths * num_workers
        self._num_workers = num_workers
        self._early_deaths = 0
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}

    def map(self, archs: Sequence[Arch]) -> Iterator[float]:
        """Yield the AP of each architecture, in order; see ``EvaluationPool``."""
        waiting = deque(range(len(archs)))
        running: dict[Any, tuple[Any, int]] = {}
        done: dict[int, float] = {}
        deaths = dict.fromkeys(range(len(archs)), 0)
        if archs:
            self._replace_lost()
            self._starting.update(self._start() for _ in range(self._num_workers - self._num_live(running)))
        try:
            for index in range(len(archs)):
                while index not in done:
                    self._submit(archs, waiting, running, before=index + AHEAD * self._num_live(running))
                    self._collect(archs, waiting, running, done, deaths)
                yield done.pop(index)
        finally:
            for worker, _ in running.values():
                self._replace(worker)

    def close(self) -> None:
        """End the actors."""
        for worker in (*self._idle, *self._starting.values()):
            self._ray.kill(worker)
        self._idle, self._starting = [], {}

    def _submit(
        self, archs: Sequence[Arch], waiting: deque[int], running: dict[Any, tuple[Any, int]], *, before: int
    ) -> None:
        while self._idle and waiting and waiting[0] < before:
            worker, index = self._idle.pop(), waiting.popleft()
            running[worker.measure.remote(archs[index])] = worker, index

    def _collect(
        self,
        archs: Sequence[Arch],
        waiting: deque[int],
        running: dict[Any, tuple[Any, int]],
        done: dict[int, float],
        deaths: dict[int, int],
    ) -> None:
        """Wait for one measurement, or one worker that is ready; replace it if it died."""
        (answer,), _ = self._ray.wait([*running, *self._starting])
        if answer in self._starting:
            self._welcome(answer)
            return
        worker, index = running.pop(answer)
        self._idle.append(worker)
        try:
            done[index] = self._get(answer)
        except self._ray.exceptions.RayActorError as error:
            self._idle.remove(worker)
            deaths[index] += 1
            waiting.appendleft(index)
            self._replace(worker)
            self._replace_lost()
            self._note_death(f"architecture {archs[index].digest}", deaths[index], error, self._most_deaths)

    def _welcome(self, answer: Any) -> None:
        worker = self._starting.pop(answer)
        try:
            self._get(answer)
            self._idle.append(worker)
            self._early_deaths = 0
        except Exception as error:
            self._replace(worker)
            if not isinstance(error, self._ray.exceptions.RayActorError):
                raise
            self._early_deaths += 1
            self._note_death("a worker that was not ready yet", self._early_deaths, error, self._most_early_deaths)

    def _note_death(self, over: str, deaths: int, error: Exception, most: int) -> None:
        reason = str(error).partition("\n")[0]
        if deaths >= most:
            raise InputError(f"{over}: its workers died {deaths} times ({reason})")
        logger.warning("%s: its worker died and is replaced (%s)", over, reason)

    def _get(self, answer: Any) -> Any:
        """Return a result; raise what a worker met as bad input as such, the rest with the traceback from there."""
        try:
            return self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:
            raise worker_error(error) from None

    def _start(self) -> tuple[Any, Any]:
        """Return the answer that a new worker will give when it is ready, and the worker."""
        worker = self._worker_class.remote(self._make_measure)
        return worker.ready.remote(), worker

    def _replace_lost(self) -> None:
        """Replace workers that died idle, as with their node: the architecture that met them next is not to blame."""
        answers = [(worker, worker.is_alive.remote()) for worker in self._idle]
        for worker, answer in answers:
            try:
                self._ray.get(answer)
            except self._ray.exceptions.RayActorError:
                self._idle.remove(worker)
                self._replace(worker)

    def _replace(self, worker: Any) -> None:
        self._ray.kill(worker)
        answer, new = self._start()
        self._starting[answer] = new

    def _num_live(self, running: Iterable[Any]) -> int:
        return len(self._idle) + len(self._starting) + len(list(running))


class _Worker:
    """An actor: what measures is built in ``ready``, so that its errors are those of a call."""

    def __init__(self, make_measure: MakeMeasure) -> None:
        self._make_measure = make_measure

    def ready(self) -> None:
        """Build what measures."""
        self._measure = self._make_measure()

    def is_alive(self) -> bool:
        """Answer."""
        return True

    def measure(self, arch: Arch) -> float:
        """Measure one architecture."""
        return self._measure(arch)


def require_workers(num_workers: int, cpus: float, gpus: float) -> None:
    """Refuse numbers out of their range, and workers that Ray would wait for without an end.

    Args:
        num_workers: Workers of the running cluster.
        cpus: CPUs that each reserves.
        gpus: GPUs that each reserves.

    Raises:
        InputError: If a number is out of its range, or no node of the cluster has room for a worker.
    """
    import ray

    require(type(num_workers) is int and num_workers >= 1, "num_workers", num_workers, "an integer of at least 1")
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    for kind, asked in (("CPU", cpus), ("GPU", gpus)):
        name = f"{kind.lower()}s_per_worker"
        is_number = isinstance(asked, int | float) and not isinstance(asked, bool)
        require(is_number and asked >= 0, name, asked, "a number of at least 0")
        there = max((resources.get(kind, 0) for resources in alive), default=0)
        require(asked <= there, name, asked, f"at most {there:g}, what a node has")
