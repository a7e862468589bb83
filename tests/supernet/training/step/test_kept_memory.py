"""In a process of its own: freed blocks stay with the process instead of going back to the system."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from litepose_ofa.supernet.training.step import keep_freed_memory

def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(20 * 2**20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
touch()
print(touch())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_second_block_of_the_same_size_faults_no_page_in() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 100, "of 5,120 pages"
