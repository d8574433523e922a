"""Answers of a known worth: a perfect one, and worse and worse ones on the way to noise."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import NotAsked

CERTAIN = 30.0
"""The logit of the right class; that of the others is 0."""
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
"""How far a blend is on its way from noise to a perfect answer."""


def perfect(targets: Tensor, like: Tensor) -> Tensor:
    """The answer that is right everywhere, of the form of another one.

    Raises:
        NotAsked: targets are not what is predicted, nor its class numbers.
    """
    if targets.shape == like.shape:
        return targets.to(like.dtype)
    if targets.shape == like.shape[:-1] and not targets.is_floating_point():
        return CERTAIN * one_hot(targets.clamp(0, like.shape[-1] - 1), like.shape[-1]).to(like.dtype)
    raise NotAsked(f"can't be built: answers are {tuple(like.shape)}, and targets {tuple(targets.shape)}")


def perfect_on(candidate: TaskCandidate, batch: Batch) -> Tensor:
    """What `predict` would give of a perfect model."""
    return perfect(batch.targets, candidate.predicted(batch))


def blends(targets: Tensor, like: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Answers from noise to a perfect one, each with its share of that: of values a mean, of classes so many rows."""
    right = perfect(targets, like)
    generator = torch.Generator().manual_seed(0)
    if targets.shape == like.shape:
        level, spread = right.mean(), right.std() if right.numel() > 1 else torch.ones(())
        noise = level + spread * torch.randn(right.shape, generator=generator).to(right.dtype)
        for share in SHARES:
            yield share, (1 - share) * noise + share * right
        return
    noise = torch.randn(right.shape, generator=generator).to(right.dtype)
    place = torch.randperm(len(right), generator=generator)
    for share in SHARES:
        chosen = (place < round(share * len(right))).view(-1, *[1] * (right.dim() - 1))
        yield share, torch.where(chosen, right, noise)
