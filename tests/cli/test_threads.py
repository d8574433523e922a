"""Threads leave busy cores to others."""

import pytest
import torch
from rich.console import Console

from rnnae_bench.cli.run import _leave_busy_cores


@pytest.mark.parametrize(("others", "threads"), [(0.3, 2), (1.0, 1), (9.0, 1)])
def test_busy_cores_are_left_to_others(others, threads, capsys):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _leave_busy_cores(others, Console(stderr=True, width=120))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert ("1 of 2 threads (--threads N decides otherwise)" in capsys.readouterr().err) == (threads < 2)
