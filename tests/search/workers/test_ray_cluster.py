"""A search on a cluster that loses a node in its middle ends with the front of a serial one."""

import asyncio
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.search.accuracy.evaluators import AccuracyCache, SupernetEvaluator
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.evolution import EvolutionSettings, EvolutionStrategy
from litepose_ofa.search.study.generations import Generations, StopRule, StudySettings
from litepose_ofa.search.study.ray_tune_search import run_in_tune
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.search.workers.pool import EvaluationPool, Measure, RayPool, SerialPool
from litepose_ofa.search.workers.session import ray_session
from litepose_ofa.supernet.archs.arch import Arch

pytestmark = pytest.mark.slow

SIZES: dict[str, Any] = {"seed": 3, "settings": StudySettings(first=8, batch=8), "stop": StopRule(generations=3)}
LOST_AFTER = 11
"""Evaluations before the node goes: in the middle of the second generation."""
WORKERS = 4
"""On two nodes for two each."""


class LosingPool:
    """Another pool, whose cluster loses a node as soon as so many architectures are measured."""

    def __init__(self, pool: EvaluationPool, lose: Callable[[], None]) -> None:
        self._pool = pool
        self._lose = lose
        self._measured = 0

    def map(self, archs: Sequence[Arch]) -> Iterator[float]:
        for ap in self._pool.map(archs):
            self._measured += 1
            if self._measured == LOST_AFTER:
                self._lose()
            yield ap


class LosingCache(AccuracyCache):
    """Accuracies whose cluster loses a node as soon as so many are known."""

    def __init__(self, path: Path, lose: Callable[[], None]) -> None:
        super().__init__(path)
        self._lose = lose

    def put(self, *args: Any) -> None:
        super().put(*args)
        if len(self) == LOST_AFTER:
            self._lose()

    def __reduce__(self) -> tuple[type[AccuracyCache], tuple[Path]]:
        """Tune keeps a copy of its searcher."""
        return AccuracyCache, (self.path,)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes with room for two workers each."""
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node = {"num_cpus": 2, "object_store_memory": 80 * 2**20}
        head = {**node, "include_dashboard": False, "resources": {"head": 1}}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(**node)
            yield cluster
        finally:
            cluster.shutdown()


class Gate:
    """An actor that lets no worker measure before all have something to measure, and none on a frozen node again."""

    def __init__(self) -> None:
        self._inside: set[str] = set()
        self._open = asyncio.Event()
        self._frozen = ""

    async def enter(self, worker: str, node: str) -> None:
        self._inside.add(worker)
        if len(self._inside) >= WORKERS:
            self._open.set()
        await self._open.wait()
        if node == self._frozen:
            await asyncio.Event().wait()

    async def freeze(self, node: str) -> None:
        self._frozen = node


@pytest.fixture
def gate(cluster: Any) -> Iterator[Any]:
    import ray

    with ray_session(cluster.address):
        yield ray.remote(num_cpus=0, resources={"head": 1})(Gate).remote()


@pytest.fixture
def lose_node(cluster: Any, gate: Any) -> Callable[[], None]:
    """Ends a node whose workers have stopped in the middle of a measurement."""
    import ray

    def lose() -> None:
        (lost,) = (node for node in ray.nodes() if "head" not in node["Resources"])  # type: ignore[no-untyped-call]
        ray.get(gate.freeze.remote(lost["NodeID"]))
        cluster.remove_node(*cluster.worker_nodes, allow_graceful=False)

    return lose


@pytest.fixture
def make_measure(gate: Any, tmp_path: Path) -> Callable[[], Measure]:
    """Measures ``formula`` and notes where; pickled by value."""
    path = tmp_path / "measured"

    def build() -> Measure:
        import ray

        context = ray.get_runtime_context()
        worker, node = context.get_worker_id(), context.get_node_id()

        def measure(arch: Arch) -> float:
            ray.get(gate.enter.remote(worker, node))
            with path.open("a") as file:
                file.write(f"{arch.digest} {node}\n")
            blocks = [block for stage in arch.stages for block in stage.blocks]
            return sum(block.kernel * block.expansion for block in blocks) / 1000 + arch.image_size / 1000

        return measure

    return build


def formula(arch: Arch) -> float:
    blocks = [block for stage in arch.stages for block in stage.blocks]
    return sum(block.kernel * block.expansion for block in blocks) / 1000 + arch.image_size / 1000


def assert_one_node_left(path: Path, evaluations: int) -> None:
    nodes = [line.split()[1] for line in path.read_text().splitlines()]
    assert evaluations <= len(nodes) <= evaluations + WORKERS // 2, "only the lost node's last work was redone"
    assert len(set(nodes)) == 2, "both nodes took part"
    assert len(set(nodes[-8:])) == 1, "one was left at the end"


@pytest.mark.parametrize("backend", ["ray", "ray_tune"])
def test_a_node_lost_in_the_middle_of_a_search(
    problem: SearchProblem,
    make_measure: Callable[[], Measure],
    lose_node: Callable[[], None],
    tmp_path: Path,
    backend: str,
) -> None:
    generations = Generations(problem, EvolutionStrategy(problem, EvolutionSettings(population=8)), **SIZES)

    def search(pool: EvaluationPool, path: Path) -> Generations:
        evaluator = SupernetEvaluator(pool, identity={}, cache=AccuracyCache(path))
        return SearchStudy(generations, evaluator, storage="memory").run()

    serial = search(SerialPool(formula), tmp_path / "serial.jsonl")
    if backend == "ray":
        pool = RayPool(make_measure, num_workers=WORKERS)
        run = search(LosingPool(pool, lose_node), tmp_path / "ray.jsonl")
        pool.close()
        assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "serial.jsonl").read_bytes()
    else:
        cache = LosingCache(tmp_path / "tune.jsonl", lose_node)
        run = run_in_tune(make_measure, generations, cache=cache, measured_on={}, folder=tmp_path, num_workers=WORKERS)
    for name in ("genomes", "ap", "latency_ms"):
        np.testing.assert_array_equal(getattr(run.history, name), getattr(serial.history, name))
    assert_one_node_left(tmp_path / "measured", len(serial.history))
