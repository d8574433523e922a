"""Windows of a noisy sine, and what may go wrong in one."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rnnae_tasks.anomaly.rows import Data, Rows, joined, mixed_in, of_kind

KINDS = ("spike", "shift", "frequency", "phase", "flat")
"""The kinds of anomalies; the label of the first is 1."""
PERIODS = (8.0, 40.0)
"""The shortest and the longest period, in steps."""
AMPLITUDES = (0.5, 1.5)
SPIKE, SHIFT, FACTOR, JUMP = 1.0, 0.5, 1.5, math.pi / 2
"""Height of a spike and of a shift; factor between two frequencies; the least jump of the phase, in radians."""
NORMAL, OF_A_KIND = {"validation": 1000, "test": 2000}, {"validation": 100, "test": 200}
"""Rows of the two sets: normal ones, and anomalies of each kind."""


def sine_windows(
    window: int, noise: float, rows: int, contamination: float, generator: Callable[[str], torch.Generator]
) -> Data:
    """Normal windows to train on, and sets with all kinds of anomalies.

    Args:
        window: Steps of each.
        noise: Standard deviation of the noise.
        rows: Normal windows to train on.
        contamination: Share of anomalies among the training rows, the kinds in turn.
        generator: Gives the random numbers of each set, by its name.
    """
    numbers = generator("train")
    bad = mixed_in(contamination, rows)
    shares = [len(range(kind, bad, len(KINDS))) for kind in range(len(KINDS))]
    train = _set(rows, shares, window, noise, numbers)
    validation, test = (
        _set(NORMAL[name], [OF_A_KIND[name]] * len(KINDS), window, noise, generator(name))
        for name in ("validation", "test")
    )
    return Data(train, validation, test)


def _set(normal: int, shares: list[int], window: int, noise: float, numbers: torch.Generator) -> Rows:
    """Normal windows, then so many of each kind."""
    parts = [of_kind(windows(normal, window, noise, None, numbers), 0)]
    for number, (kind, count) in enumerate(zip(KINDS, shares, strict=True), start=1):
        parts.append(of_kind(windows(count, window, noise, kind, numbers), number))
    return joined(*parts)


def windows(
    rows: int, window: int, noise: float, kind: str | None, numbers: torch.Generator
) -> Float[Tensor, "row time 1"]:
    """Windows ``x_t = a sin(w t + p) + noise * e_t``, all with one kind of anomaly, or none.

    The amplitude a is uniform between `AMPLITUDES`, the frequency w between those of `PERIODS`, the phase p on the
    circle; e is standard normal. Where something goes wrong, it does at a step s, uniform in the middle half of the
    window, and in either direction alike:

    - ``spike``: the sample at step s lies `SPIKE` higher or lower;
    - ``shift``: all samples from s on lie `SHIFT` higher or lower;
    - ``frequency``: from s on the sine is `FACTOR` times as fast or as slow, and goes on where it was;
    - ``phase``: at s the phase jumps, by an angle uniform between `JUMP` and 2 pi - `JUMP`;
    - ``flat``: for a quarter of the window from s on, the sample at s is repeated, its noise too.

    Args:
        rows: How many.
        window: Steps of each.
        noise: Standard deviation of the noise.
        kind: One of `KINDS`, or None.
        numbers: The random numbers.
    """

    def uniform(low: float, high: float) -> Float[Tensor, "row 1"]:
        return low + (high - low) * torch.rand(rows, 1, dtype=torch.float64, generator=numbers)

    step = torch.arange(window)
    amplitude, phase = uniform(*AMPLITUDES), uniform(0.0, 2 * math.pi)
    frequency = uniform(2 * math.pi / PERIODS[1], 2 * math.pi / PERIODS[0])
    start = torch.randint(window // 4, window - window // 4, (rows, 1), generator=numbers)
    sign = 2 * torch.randint(2, (rows, 1), generator=numbers) - 1
    late = step >= start
    angle = frequency * step + phase
    if kind == "frequency":
        angle += late * (FACTOR ** sign.double() - 1) * frequency * (step - start)
    if kind == "phase":
        angle += late * uniform(JUMP, 2 * math.pi - JUMP)
    values = amplitude * angle.sin()
    values += noise * torch.randn(rows, window, dtype=torch.float64, generator=numbers)
    if kind == "spike":
        values += (step == start) * sign * SPIKE
    if kind == "shift":
        values += late * sign * SHIFT
    if kind == "flat":
        values = torch.where(late & (step < start + window // 4), values.gather(1, start), values)
    return values.float().unsqueeze(-1)
