"""The number of threads: what is given, what the environment says, or this process's share of the CPUs."""

import os

import joblib
import pytest

from litepose_ofa.scripts.settings.threads import automatic_threads, thread_count
from litepose_ofa.supernet.errors import InputError


@pytest.fixture
def six_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(joblib, "cpu_count", lambda only_physical_cores: 6)


@pytest.mark.usefixtures("six_cores")
def test_the_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (thread_count(), thread_count(9, processes=2)) == (6, 9)
    assert [thread_count(processes=processes) for processes in (1, 2, 4, 7)] == [6, 3, 1, 1]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert [thread_count(processes=processes) for processes in (1, 2, 4)] == [3, 1, 1]
    assert automatic_threads() == (3, "the cores that this process may use, shared by 2 processes")


@pytest.mark.usefixtures("six_cores")
def test_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, count in (("4", 4), ("3,2", 3), ("", 6)):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert (thread_count(), thread_count(5)) == (count, 5)
    for value in ("0", "many", "-1", "1.5"):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        with pytest.raises(InputError, match=rf"^OMP_NUM_THREADS is '{value}'; it must be an integer from 1"):
            thread_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_that_may_use_one_core_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert thread_count() == 1
    finally:
        os.sched_setaffinity(0, before)
