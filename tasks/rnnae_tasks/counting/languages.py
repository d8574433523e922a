"""Five languages that a counter recognises: their strings, and what their grammars say of the next symbol."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MARK = 0
"""The symbol that begins and ends every string."""


@dataclass(frozen=True)
class Blocks:
    """Strings of blocks, a^n b^n say; each size is drawn from a geometric distribution, 1 or more.

    Args:
        factors: For each block, a letter's, how often each size counts in its length.
        prior: The chance that a size grows no further.
    """

    factors: tuple[tuple[int, ...], ...]
    prior: float = 0.3

    @property
    def symbols(self) -> int:
        """The mark and a letter for each block."""
        return len(self.factors) + 1

    @property
    def sizes(self) -> int:
        """How many sizes a string has."""
        return len(self.factors[0])

    def bits(self, sizes: Int[Tensor, "count size"]) -> Float[Tensor, " count"]:
        """What each string costs one who knows the grammar: its sizes, and nothing that follows from them."""
        grown = (sizes - 1).double() * -math.log2(1 - self.prior)
        return (grown - math.log2(self.prior)).sum(1)

    def steps(self, sizes: Int[Tensor, "count size"]) -> Int[Tensor, " count"]:
        """Symbols that are predicted: the letters and the mark at the end."""
        return (sizes @ torch.tensor(self.factors).T).sum(1) + 1

    def strings(self, sizes: Int[Tensor, "count size"]) -> Int[Tensor, "count time"]:
        """Mark, letters, mark; marks too where a string is shorter than others."""
        ends = (sizes @ torch.tensor(self.factors).T).cumsum(1)
        place = torch.arange(int(ends[:, -1].max()) + 1)
        letters = torch.searchsorted(ends, place.expand(len(sizes), -1).contiguous(), right=True) + 1
        letters = torch.where(letters > len(self.factors), MARK, letters)
        return torch.cat([torch.full((len(sizes), 1), MARK), letters], dim=1)

    def certain(self, inputs: Int[Tensor, "count time"]) -> Bool[Tensor, "count time"]:
        """Where the grammar leaves one next symbol: after all but the letters whose blocks have a size of their own."""
        return (inputs == MARK) | (inputs > self.sizes)


LANGUAGES: dict[str, Blocks] = {
    "anbn": Blocks(((1,), (1,))),
    "anbncn": Blocks(((1,), (1,), (1,))),
    "anbncndn": Blocks(((1,), (1,), (1,), (1,))),
    "anb2n": Blocks(((1,), (2,))),
    "anbmcnm": Blocks(((1, 0), (0, 1), (1, 1))),
}
"""By name."""
