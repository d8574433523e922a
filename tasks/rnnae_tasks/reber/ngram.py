"""What counts of strings tell of the next symbol: an n-gram model."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rnnae_tasks.reber.grammar import SYMBOLS

CONTEXT = 12
"""Symbols of the longest context; with 8 digits for each it is a number of 36 bits."""


def contexts(symbols: Int[Tensor, "batch time"], size: int) -> Int[Tensor, "batch time"]:
    """The last `size` symbols at each step as a number: a symbol's digit is its number and 1, before the row 0."""
    found = torch.zeros_like(symbols)
    for back in range(min(size, symbols.shape[1])):
        found[:, back:] += (symbols[:, : symbols.shape[1] - back] + 1) * (len(SYMBOLS) + 1) ** back
    return found


def ngram_chances(
    inputs: Int[Tensor, "rows steps"],
    targets: Int[Tensor, "rows steps"],
    counted: Bool[Tensor, "rows steps"],
    asked: Int[Tensor, "batch time"],
    longest: int = CONTEXT,
) -> Float[Tensor, "batch time symbol"]:
    """The chance of every next symbol after each step of other rows, by counts in these.

    From the empty context to the longest that was seen, each mixed with the one before by Witten and Bell's rule: a
    context that came n times, before k different symbols, has the weight n / (n + k).

    Args:
        inputs: Rows that are counted.
        targets: The symbol after each step of them.
        counted: Which of these steps count.
        asked: Rows whose next symbols are asked for.
        longest: Symbols of the longest context.

    Source: Witten & Bell (1991), The zero-frequency problem, IEEE Transactions on Information Theory 37(4).
    """
    symbols = len(SYMBOLS)
    chances = torch.full((*asked.shape, symbols), 1 / symbols, dtype=torch.float64)
    for size in range(longest + 1):
        seen, place = contexts(inputs, size)[counted].unique(return_inverse=True)
        counts = torch.zeros(len(seen), symbols, dtype=torch.float64)
        counts.view(-1).index_add_(0, place * symbols + targets[counted], torch.ones(len(place), dtype=torch.float64))
        wanted = contexts(asked, size)
        found = torch.searchsorted(seen, wanted).clamp(max=len(seen) - 1)
        times = counts[found] * (seen[found] == wanted).unsqueeze(2)
        kinds = (times > 0).sum(dim=2, keepdim=True)
        mixed = (times + kinds * chances) / (times.sum(dim=2, keepdim=True) + kinds).clamp(min=1)
        chances = torch.where(kinds > 0, mixed, chances)
    return chances
