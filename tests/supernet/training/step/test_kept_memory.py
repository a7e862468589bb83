"""In a process of its own: freed blocks stay with the process instead of going back to the system."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from litepose_ofa.supernet.training.step import keep_freed_memory

def faults():
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def touch():
    before = faults()
    np.ones(20 * 2**20, np.uint8)
    return faults() - before

if {kept}:
    assert keep_freed_memory()
touch()
print(touch())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_second_block_of_the_same_size_faults_no_page_in() -> None:
    counts = {}
    for kept in (False, True):
        command = [sys.executable, "-c", PROGRAM.format(kept=kept)]
        counts[kept] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert counts[True] < 100
    assert counts[True] <= counts[False]
