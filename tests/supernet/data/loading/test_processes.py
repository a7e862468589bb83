"""Loading processes that cannot start, hand over or go on: one line at once, and no process is left."""

import dataclasses
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from litepose_ofa.supernet.data.loading.batches import Batch, Sample, collate_bytes
from litepose_ofa.supernet.data.loading.processes import loaded, prepare_worker
from litepose_ofa.supernet.errors import InputError

SAMPLE = Sample(
    image=np.full((16, 16, 3), 7, np.uint8),
    teacher_image=None,
    keypoints=np.ones((1, 14, 3), np.float32),
    mask=np.ones((8, 8), np.float32),
    image_id=0,
    bad_images=(),
)


class Samples(Dataset[Sample]):
    """Eight samples; at the last something happens in the loading process."""

    def __init__(self, happens: Callable[[], object] = lambda: None) -> None:
        self.happens = happens

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        if index == 7:
            self.happens()
        return dataclasses.replace(SAMPLE, image_id=index)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise InputError("people.json: has no people")


def fail() -> None:
    raise RuntimeError("a bug")


def loader(dataset: Samples, workers: int = 2, timeout: float = 0) -> "DataLoader[Sample]":
    return DataLoader(
        dataset,
        batch_size=2,
        num_workers=workers,
        timeout=timeout,
        collate_fn=collate_bytes,
        worker_init_fn=prepare_worker,
    )


def ids(dataset: Samples, workers: int = 2) -> list[int]:
    with loaded(loader(dataset, workers)) as batches:
        return [image for batch in batches for image in batch.image_ids]


@pytest.mark.parametrize("workers", [0, 2])
def test_whole_processes_load_everything(workers: int) -> None:
    with loaded(loader(Samples(), workers)) as loading:
        batches: list[Batch] = list(loading)
    assert [image for batch in batches for image in batch.image_ids] == list(range(8))
    assert all(batch.images.is_shared() == (workers > 0) for batch in batches)
    assert all(torch.equal(batch.images, torch.full((2, 3, 16, 16), 7, dtype=torch.uint8)) for batch in batches)


def test_a_batch_that_does_not_come_is_none_until_it_does() -> None:
    comes = multiprocessing.Event()
    slow = loader(Samples(comes.wait), timeout=0.05)
    found: list[int] = []
    with loaded(slow) as batches:
        for batch in batches:
            if batch is None:
                comes.set()
            else:
                found.extend(batch.image_ids)
    assert comes.is_set()
    assert found == list(range(8))


def test_a_process_that_hangs_does_not_outlive_the_block() -> None:
    before = set(multiprocessing.active_children())
    with loaded(loader(Samples(threading.Event().wait), timeout=0.05)) as batches:
        next(batch for batch in batches if batch is None)
        started = set(multiprocessing.active_children()) - before
    assert len(started) == 2
    for child in started:
        child.join(10)
        assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (kill, r"a loading process (is killed by signal: Killed|exited unexpectedly) \(is memory"),
        (refuse, r"people\.json: has no people$"),
        ((Path("/dev/null") / "image.jpg").read_bytes, r"\[Errno 20\] Not a directory: '/dev/null/image\.jpg'$"),
    ],
)
def test_what_a_process_meets_is_one_line(happens: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as caught:
        ids(Samples(happens))
    assert "\n" not in str(caught.value)


def test_a_bug_in_a_process_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"Traceback(.|\n)*a bug"):
        ids(Samples(fail))


def test_full_shared_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(storage: torch.UntypedStorage) -> NoReturn:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", full)  # the processes are forks
    with pytest.raises(InputError, match=r"a loading process exited .* \(is memory or /dev/shm short\?") as caught:
        ids(Samples())
    assert "\n" not in str(caught.value)


def test_a_folder_for_temporary_files_with_too_long_a_path_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"2 loading processes cannot be started \(AF_UNIX path too long\); .*TMPDIR"):
        ids(Samples())
    assert ids(Samples(), workers=0) == list(range(8))


def test_processes_that_the_system_refuses_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fork, forks = os.fork, iter([True, False])

    def scarce() -> int:
        if next(forks):
            return fork()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = set(multiprocessing.active_children())
    monkeypatch.setattr(os, "fork", scarce)
    with pytest.raises(InputError, match=r"2 loading processes cannot be started \(Resource temporarily unavailable\)"):
        ids(Samples())
    for child in set(multiprocessing.active_children()) - before:
        child.join(10)
        assert child.exitcode == -signal.SIGKILL
