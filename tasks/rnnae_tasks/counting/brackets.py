"""Balanced brackets of one kind, no more than so many pairs: their strings, and the chance of every next symbol."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

MARK, OPEN, CLOSE = 0, 1, 2


@dataclass(frozen=True)
class Brackets:
    """Strings of the grammar S -> ( S ) S with chance `expand`, else nothing, that have at most `pairs` pairs.

    Read from the left, each step is one choice: with chance `expand` a bracket opens, else the innermost one closes, or
    the string ends where none is open. That no more than `pairs` may come changes the chances, more so near the limit.

    Args:
        expand: Chance of the first rule.
        pairs: Brackets that may open.
    """

    expand: float
    pairs: int

    @cached_property
    def within(self) -> Float64[Tensor, "opened depth"]:
        """The chance that a string keeps to `pairs`, of which so many brackets were opened, and so many are open.

        W(k, d) = expand W(k + 1, d + 1) + (1 - expand) W(k, d - 1), with W(k, -1) = 1 at the end of a string, and
        W(pairs + 1, .) = 0.
        """
        size = self.pairs + 2
        found = torch.zeros(size, size, dtype=torch.float64)
        for opened in reversed(range(self.pairs + 1)):
            closed = 1.0
            for depth in range(opened + 1):
                closed = self.expand * found[opened + 1, depth + 1].item() + (1 - self.expand) * closed
                found[opened, depth] = closed
        return found

    @cached_property
    def opens(self) -> Float64[Tensor, "opened depth"]:
        """The chance that the next symbol opens a bracket."""
        size = self.pairs + 1
        return self.expand * self.within[1:, 1:] / self.within[:size, :size].clamp(min=torch.finfo(torch.float64).tiny)

    def draw(self, count: int, generator: torch.Generator) -> Int64[Tensor, "count time"]:
        """Draw strings, mark to mark; marks too where a string is shorter than others."""
        steps = 2 * self.pairs + 1
        choices = torch.rand(steps, count, dtype=torch.float64, generator=generator)
        strings = torch.zeros(count, steps + 1, dtype=torch.long)
        opened, depth = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
        going = torch.ones(count, dtype=torch.bool)
        for step, choice in enumerate(choices, start=1):
            opening = going & (choice < self.opens[opened, depth])
            closing = going & ~opening & (depth > 0)
            strings[:, step] = torch.where(opening, OPEN, torch.where(closing, CLOSE, MARK))
            opened, depth, going = opened + opening.long(), depth + opening.long() - closing.long(), opening | closing
        return strings

    def chances(self, inputs: Int64[Tensor, "count time"]) -> Float64[Tensor, "count time symbol"]:
        """The chance of each next symbol after each step; beyond a string's end they mean nothing."""
        opened = (inputs == OPEN).cumsum(1)
        depth = (opened - (inputs == CLOSE).cumsum(1)).clamp(min=0)
        opening = self.opens[opened.clamp(max=self.pairs), depth.clamp(max=self.pairs)]
        ends = (depth == 0).double()
        return torch.stack([(1 - opening) * ends, opening, (1 - opening) * (1 - ends)], dim=-1)


def lengths_of(strings: Int64[Tensor, "count time"]) -> Int64[Tensor, " count"]:
    """Symbols that are predicted of each string: its brackets and the mark at the end."""
    return (strings != MARK).sum(1) + 1
