"""Processes that load batches: started only where they can work, and one that is lost is not waited for."""

import os
import re
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Listener
from multiprocessing.queues import Queue
from typing import Any

import cv2
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from litepose_ofa.supernet.errors import InputError

MOST_WORKERS = 256

WAIT_SECONDS = 0.5
"""How long a training waits for a batch before it asks whether it is to stop."""

_END = object()
_LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) ([^.]*)")


def prepare_worker(worker: int) -> None:
    """Keep a loading process to one thread, and deaf to the signals that a scheduler sends to the whole group.

    It ends when a batch cannot be handed over, as with a full /dev/shm: its parent would wait for that batch for ever.

    Args:
        worker: Its number, which ``DataLoader`` passes.
    """
    Queue._on_queue_feeder_error = staticmethod(lambda error, item: os._exit(1))  # type: ignore[attr-defined]
    cv2.setNumThreads(0)
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)


@contextmanager
def loaded(loader: "DataLoader[Any]") -> Iterator[Iterator[Any]]:
    """Yield the batches of a loader for the block; what its processes meet, and their loss, is bad input of one line.

    The processes are killed at the end of the block: one that hangs would hold up the end of this process, too.

    Args:
        loader: The loader; its ``num_workers`` may be 0. Where it has a ``timeout``, None comes in the place of a
            batch whenever so many seconds have passed without one.

    Raises:
        InputError: If the processes cannot start or hand over what they load, one of them is lost, or met bad input.
    """
    batches = _start(loader)
    try:
        yield _awaited(batches)
    except (InputError, OSError, RuntimeError) as error:
        told = _told(error)
        if told is None:
            raise
        raise InputError(told) from None
    finally:
        _abandon(batches)


def _awaited(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield what an iterator of torch's does; None after each of its timeouts, which leave it as it was."""
    while True:
        try:
            batch = next(batches, _END)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader timed out"):
                raise
            batch = None
        if batch is _END:
            return
        yield batch


def _start(loader: "DataLoader[Any]") -> Iterator[Any]:
    """Start the processes, or none at all."""
    try:
        if loader.num_workers:
            Listener(family="AF_UNIX").close()  # what they hand tensors over by
        return iter(loader)
    except OSError as error:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            _abandon(frame.f_locals.get("self"))
        raise InputError(
            f"{loader.num_workers} loading processes cannot be started ({error.strerror or error}); "
            "set training.workers to fewer, or to 0; TMPDIR must be a short path, and /dev/shm must have space"
        ) from None


def _abandon(batches: object) -> None:
    """Kill a loader's processes: torch waits for them, for ever if one that was killed held a lock."""
    if isinstance(batches, _MultiProcessingDataLoaderIter):
        if batches._worker_pids_set:
            signal_handling._remove_worker_pids(id(batches))  # type: ignore[attr-defined]
        batches._worker_pids_set, batches._shutdown = False, True
        for process in batches._workers:
            process.kill()
        if batches._pin_memory:
            batches._pin_memory_thread_done_event.set()


def _told(error: Exception) -> str | None:
    """Return what a user is told of an error of the loading processes; None of any other, and of bugs."""
    text = str(error).strip()
    lost = _LOST.match(text)
    if lost is not None:
        return (
            f"a loading process {lost[1]} (is memory or /dev/shm short? fewer training.workers take less, 0 none); "
            "what was saved is kept, and the same command goes on from there"
        )
    reason = text.rpartition("\n")[2].partition(": ")[2]
    return reason if text.startswith("Caught ") and isinstance(error, InputError | OSError) else None
