"""Memory of a training on a CPU: torch's allocator there has no cache, and the C library's gives large blocks back."""

import ctypes
import platform

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_BLOCK = 32 * 2**20
"""What glibc allows: blocks up to this come from memory that is kept."""


def keep_freed_memory() -> bool:
    """Make glibc keep what is freed, so that a step does not fault in again the pages of the one before.

    ``benchmarks/training_step.py`` shows what that gives. The process holds on to its peak memory from then on.

    Returns:
        Whether it was done: only with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = mallopt(M_TRIM_THRESHOLD, ctypes.c_int(2**31 - 1)) and mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
    return bool(kept)
