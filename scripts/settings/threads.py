"""How many CPU threads torch computes with."""

import os
from typing import Literal

from litepose_ofa.supernet.errors import InputError

Threads = int | Literal["auto"]


def thread_count(threads: Threads = "auto", *, processes: int = 1) -> int:
    """Return the number of threads of a process; ``auto`` is ``OMP_NUM_THREADS``, or the process's share of the CPUs.

    Args:
        threads: A number, which stands for itself, or ``auto``.
        processes: Processes that share the CPUs beside those that torchrun has started on this machine.

    Raises:
        InputError: If ``OMP_NUM_THREADS`` is no number.
    """
    return automatic_threads(processes)[0] if threads == "auto" else threads


def automatic_threads(processes: int = 1) -> tuple[int, str]:
    """Return the number of threads that ``auto`` is, and where it is from."""
    given = os.environ.get("OMP_NUM_THREADS")
    if given:
        outermost = given.partition(",")[0].strip()
        if not outermost.isdecimal() or int(outermost) == 0:
            raise InputError(f"OMP_NUM_THREADS is {given!r}; it must be an integer from 1, or not set")
        return int(outermost), "OMP_NUM_THREADS"
    from joblib import cpu_count  # takes a tenth of a second

    # as torch counts, whose threads are no faster as hyperthreads; and unlike torch within a container's quota
    cpus = cpu_count(only_physical_cores=True)
    processes *= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    shared = f", shared by {processes} processes" if processes > 1 else ""
    return max(1, cpus // processes), f"the cores that this process may use{shared}"
