"""Keeping freed memory, seen in a process of its own: the switch is for the whole process."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
from rnnae_bench.training.allocator import keep_freed_memory
print(keep_freed_memory())
import numpy as np
for round in range(12):
    if round == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = np.ones(16_000_000, dtype=np.uint8)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    environment = {**os.environ, "RNNAE_BENCH_KEEP_MEMORY": "1" if keep else "0"}
    done = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True)
    told, count = done.stdout.split()
    return told == "True", int(count)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "GNU_LIBC" not in " ".join(os.confstr_names), reason="glibc only"
)
def test_freed_blocks_are_used_again_without_page_faults():
    told, count = faults(keep=True)
    assert told
    assert count < 100


def test_the_switch_leaves_the_allocator_alone():
    told, _ = faults(keep=False)
    assert not told
