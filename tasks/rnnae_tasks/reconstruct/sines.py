"""Windows of sines that differ in frequency and phase: two numbers describe each, and no plane holds them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

WINDOW = 20
"""Samples in a window."""

LOWEST, HIGHEST = 0.1, 0.5
"""Radians per sample, drawn alike in between: a third of a period to one and a half in a window."""


def sine_windows(count: int, generator: torch.Generator) -> Float[Tensor, "count time 1"]:
    """Windows ``sin(w t + a)``, t = 0, ..., 19, with w uniform in [0.1, 0.5] and a uniform on the circle."""
    frequency, phase = torch.rand(2, count, 1, generator=generator, dtype=torch.float64)
    angle = (LOWEST + (HIGHEST - LOWEST) * frequency) * torch.arange(WINDOW) + 2 * math.pi * phase
    return angle.sin().float().unsqueeze(-1)


def covariance() -> Float[Tensor, "time time"]:
    """The covariance of `sine_windows`, exactly; their mean is 0.

    Over the phase, E[sin(w t + a) sin(w s + a)] = cos(w (t - s)) / 2; over the frequency that is, with d = t - s::

        (sin(0.5 d) - sin(0.1 d)) / (2 (0.5 - 0.1) d),   and 1/2 at d = 0.
    """
    time = torch.arange(WINDOW, dtype=torch.float64)
    lag = time.unsqueeze(1) - time
    # torch.sinc(x) is sin(pi x) / (pi x), and 1 at 0.
    high, low = (bound * torch.sinc(bound * lag / math.pi) for bound in (HIGHEST, LOWEST))
    return (high - low) / (2 * (HIGHEST - LOWEST))
