"""Pools: the order of the architectures whatever finishes first; a worker that dies costs no result."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from litepose_ofa.search.accuracy.evaluators import AccuracyCache, SupernetEvaluator
from litepose_ofa.search.workers.pool import Measure, RayPool, SerialPool
from litepose_ofa.search.workers.session import ray_session
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

SPACE = SearchSpace.preset("tiny")
WORKERS = 2


def archs(n: int) -> list[Arch]:
    rng = random.Random(0)
    return list(dict.fromkeys(SPACE.sample(rng) for _ in range(n)))


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    with ray_session(num_cpus=WORKERS):
        yield


@pytest.fixture
def make_measure(tmp_path: Path) -> Callable[..., Callable[[], Measure]]:
    """Measures AP = digest / 16^12, notes who was measured, and dies or fails where told to; pickled by value."""

    def make(*, dies: int = 0, at: Arch | None = None) -> Callable[[], Measure]:
        def build() -> Measure:
            (tmp_path / f"built-{os.getpid()}").touch()

            def measure(arch: Arch) -> float:
                with (tmp_path / "measured").open("a") as file:
                    file.write(f"{arch.digest}\n")
                if arch == at:
                    died = (tmp_path / "measured").read_text().count(arch.digest)
                    if died <= dies:
                        os._exit(1)
                    if not dies:
                        raise InputError(f"{arch.digest} is bad")
                return int(arch.digest, 16) / 16**12

            return measure

        return build

    return make


def expected(tried: list[Arch]) -> list[float]:
    return [int(arch.digest, 16) / 16**12 for arch in tried]


@pytest.mark.usefixtures("_cluster")
def test_files_are_those_of_serial_and_each_worker_is_built_once(
    make_measure: Callable[..., Callable[[], Measure]], tmp_path: Path
) -> None:
    tried, files = archs(8), []
    pool = RayPool(make_measure(), num_workers=WORKERS)
    for name, measures in (("serial", SerialPool(make_measure()())), ("ray", pool)):
        cache = AccuracyCache(tmp_path / f"{name}.jsonl")
        evaluator = SupernetEvaluator(measures, identity={"weights": "w"}, cache=cache)
        assert [accuracy.ap for accuracy in evaluator.evaluate([*tried, *tried[:3]])] == expected(tried + tried[:3])
        files.append(cache.path.read_bytes())
    assert files[0] == files[1]
    assert list(pool.map(tried[:3])) == expected(tried[:3]), "a pool serves again"
    pool.close()
    assert len(list(tmp_path.glob("built-*"))) <= WORKERS + 1


@pytest.mark.usefixtures("_cluster")
def test_a_dead_worker_is_replaced_and_its_work_redone(
    make_measure: Callable[..., Callable[[], Measure]], tmp_path: Path
) -> None:
    tried = archs(6)
    pool = RayPool(make_measure(dies=2, at=tried[2]), num_workers=WORKERS)
    assert list(pool.map(tried)) == expected(tried)
    assert (tmp_path / "measured").read_text().count(tried[2].digest) == 3
    pool.close()


@pytest.mark.usefixtures("_cluster")
def test_what_goes_wrong_for_good_is_one_error(make_measure: Callable[..., Callable[[], Measure]]) -> None:
    tried = archs(4)
    for build, message in (
        (make_measure(dies=9, at=tried[1]), f"architecture {tried[1].digest}: its workers died 3 times"),
        (make_measure(at=tried[1]), f"{tried[1].digest} is bad"),
    ):
        pool = RayPool(build, num_workers=1)
        values = pool.map(tried)
        assert next(values) == expected(tried)[0]
        with pytest.raises(InputError, match=message):
            next(values)
        assert list(pool.map(tried[2:])) == expected(tried[2:]), "the pool is usable after an error"
        pool.close()


@pytest.mark.usefixtures("_cluster")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_workers": 0}, "num_workers is 0; it must be at least 1"),
        ({"num_workers": 1, "gpus_per_worker": 99}, "gpus_per_worker is 99; it must be at most"),
        ({"num_workers": 1, "cpus_per_worker": 3}, "cpus_per_worker is 3; it must be at most 2, what a node has"),
    ],
)
def test_impossible_workers_are_refused(
    make_measure: Callable[..., Callable[[], Measure]], settings: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        RayPool(make_measure(), **settings)  # type: ignore[arg-type]
