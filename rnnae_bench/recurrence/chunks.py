"""Sequences in chunks of as many steps each, the last filled up, and the matrix states between them.

A recurrence that is linear in its state does a chunk at once with matrix products, and hands its state on from chunk to
chunk (Hua, Dai, Liu & Le 2022, Transformer quality in linear time; Yang, Wang, Shen, Panda & Kim 2024, Gated linear
attention transformers with hardware-efficient training).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from rnnae_bench.recurrence.scan import scan


def in_chunks(
    values: Float[Tensor, "*axes time features"], size: int, fill: float = 0.0
) -> Float[Tensor, "*axes chunks size features"]:
    """The steps of a sequence in chunks of `size`, the last of them filled up.

    >>> in_chunks(torch.arange(5.0).unsqueeze(-1), 2).squeeze(-1)
    tensor([[0., 1.],
            [2., 3.],
            [4., 0.]])
    """
    missing = -values.shape[-2] % size
    return pad(values, (0, 0, 0, missing), value=fill).unflatten(-2, (-1, size))


def out_of_chunks(
    values: Float[Tensor, "*axes chunks size features"], steps: int
) -> Float[Tensor, "*axes time features"]:
    """The first `steps` steps of a sequence in chunks."""
    return values.flatten(-3, -2)[..., :steps, :]


def between_chunks(
    decay: Float[Tensor, "*axes chunks rows 1"],
    drive: Float[Tensor, "*axes chunks rows columns"],
    initial: Float[Tensor, "*axes rows columns"],
) -> tuple[Float[Tensor, "*axes chunks rows columns"], Float[Tensor, "*axes rows columns"]]:
    """The states of S_c = decay_c * S_(c-1) + drive_c before each chunk, and the one after the last.

    Args:
        decay: Of the rows of the state over a whole chunk.
        drive: What a chunk adds.
        initial: S_0.
    """
    after = scan(decay.expand_as(drive).flatten(-2), drive.flatten(-2), initial.flatten(-2))
    after = after.unflatten(-1, initial.shape[-2:])
    return torch.cat((initial.unsqueeze(-3), after[..., :-1, :, :]), dim=-3), after[..., -1, :, :]
