"""What a trial costs."""

import numpy as np
import pytest

from rnnae_bench import Optimization, SequenceModel
from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.probes import Cost
from rnnae_bench.training.allocator import keep_freed_memory, release_freed_memory

MEBIBYTE = 2**20


def peak() -> float:
    """What is measured where 100 MiB are used, in MiB."""
    release_freed_memory()
    cost = Cost()
    keep_freed_memory()
    np.ones(100 * MEBIBYTE, dtype=np.uint8)
    measures = cost.measures()
    assert measures["memory_kind"] == "growth of the process's resident memory"
    return measures["peak_memory_bytes"] / MEBIBYTE


def test_memory_is_what_a_trial_added_also_where_it_is_not_the_first():
    """Not the libraries, and what the trial before kept is counted again."""
    assert [peak(), peak()] == pytest.approx([100, 100], abs=10)


class Silent(SequenceModel):
    """Does not say what it carries."""

    def states(self, inputs, lengths=None):
        return inputs


def test_the_state_size_of_a_model_that_does_not_say_is_unknown():
    spec = TaskSpec("sine", Vectors(1, 8), Values(1), "every step", causal=True)
    assert Silent(spec, 1, Optimization()).state_size is None
