"""What an exam is made of: a check leaves the process as it was, whatever comes of it."""

import numpy as np
import pytest
import torch

from rnnae_bench.testing.checks import Check, NotAsked


def draws_and_passes(_: None) -> str:
    """Does it pass?"""
    torch.manual_seed(1), np.random.seed(1)
    return "it does"


def draws_and_fails(_: None) -> str:
    """Does it fail?"""
    draws_and_passes(None)
    raise AssertionError("it does")


def draws_and_does_not_apply(_: None) -> str:
    """Does it apply?"""
    draws_and_passes(None)
    raise NotAsked("it does not")


@pytest.mark.parametrize(
    ("function", "outcome"),
    [(draws_and_passes, "passed"), (draws_and_fails, "failed"), (draws_and_does_not_apply, "left out")],
)
def test_a_check_leaves_the_global_generators_as_they_were(function, outcome):
    torch.manual_seed(2), np.random.seed(2)
    wanted = torch.rand(()).item(), np.random.rand()
    torch.manual_seed(2), np.random.seed(2)
    assert Check(function).ask(None).outcome == outcome
    assert (torch.rand(()).item(), np.random.rand()) == wanted
