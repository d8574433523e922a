"""The scan against the loop: states, gradients and final state, in float64, at awkward lengths."""

import pytest
import torch

from rnnae_bench.recurrence.reference import linear_recurrence
from rnnae_bench.recurrence.scan import scan


def draws(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(sum(shape))
    decay = torch.randn(*shape, dtype=dtype, generator=generator)
    decay = decay / (1 + decay.abs())
    drive = torch.randn(*shape, dtype=dtype, generator=generator)
    initial = torch.randn(*shape[:-2], shape[-1], dtype=dtype, generator=generator)
    return [one.requires_grad_() for one in (decay, drive, initial)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("time", [1, 2, 3, 63, 64, 1000])
def test_all_steps_at_once_are_the_loop(time, dtype):
    arguments = draws(2, time, 3, dtype=dtype)
    fast, slow = scan(*arguments), torch.stack(linear_recurrence(*arguments), dim=-2)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    weights = torch.randn(fast.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((states * weights).abs().square().sum(), arguments) for states in (fast, slow)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_decays_of_nought_and_one(decay):
    drive = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = scan(torch.full_like(drive, decay), drive)
    signs = torch.tensor(decay, dtype=torch.float64) ** torch.arange(7).unsqueeze(1)
    expected = drive if decay == 0 else signs * (drive * signs).cumsum(0)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_it_goes_on_from_a_state():
    decay, drive, initial = draws(2, 11, 3)
    whole = scan(decay, drive, initial)
    first = scan(decay[:, :4], drive[:, :4], initial)
    rest = scan(decay[:, 4:], drive[:, 4:], first[:, -1])
    torch.testing.assert_close(torch.cat((first, rest), dim=1), whole, rtol=1e-12, atol=1e-12)


def test_it_runs_under_vmap():
    decay, drive, initial = draws(4, 2, 9, 3)
    torch.testing.assert_close(torch.vmap(scan)(decay, drive, initial), scan(decay, drive, initial))
