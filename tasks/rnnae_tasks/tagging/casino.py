"""The occasionally dishonest casino: a hidden Markov model of two dice, its rolls, and what they tell of the dice.

Source: Durbin, Eddy, Krogh & Mitchison (1998), Biological sequence analysis, Cambridge University Press, chapter 3.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

FACES = 6
FAIR, LOADED = 0, 1


class Posterior(NamedTuple):
    """Probabilities of the two dice at every step; beyond the end of a row they mean nothing."""

    memoryless: Float64[Tensor, "row time die"]
    """By the roll of the step alone."""
    filtered: Float64[Tensor, "row time die"]
    """By all rolls up to the step."""
    smoothed: Float64[Tensor, "row time die"]
    """By all rolls of the row."""


@dataclass(frozen=True)
class Casino:
    """A fair die, a loaded one, and how often they are exchanged.

    Args:
        load: Probability that the fair die is exchanged for the loaded one after a roll.
        unload: Probability that the loaded die is exchanged for the fair one.
        six: Probability of a six with the loaded die; the other faces share the rest.
    """

    load: float
    unload: float
    six: float

    @property
    def share(self) -> Float64[Tensor, " die"]:
        """How often each die is thrown, in the long run and at the first step."""
        return torch.tensor([self.unload, self.load], dtype=torch.float64) / (self.load + self.unload)

    @property
    def exchange(self) -> Float64[Tensor, "die die"]:
        """Probability of the next die, given this one."""
        rows = [[1 - self.load, self.load], [self.unload, 1 - self.unload]]
        return torch.tensor(rows, dtype=torch.float64)

    @property
    def faces(self) -> Float64[Tensor, "die face"]:
        """Probability of each face."""
        others = (1 - self.six) / (FACES - 1)
        loaded = [others] * (FACES - 1) + [self.six]
        return torch.tensor([[1 / FACES] * FACES, loaded], dtype=torch.float64)

    def roll(
        self, rows: int, steps: int, generator: torch.Generator
    ) -> tuple[Int64[Tensor, "row time"], Int64[Tensor, "row time"]]:
        """Draw rolls, faces 0 to 5, and the dice they came from.

        A die is kept, or else drawn anew by its share: with probability load + unload, which makes the exchanges those
        of the model. All steps are drawn at once that way.
        """
        anew = torch.rand(rows, steps, generator=generator) < self.load + self.unload
        anew[:, 0] = True
        drawn = torch.rand(rows, steps, generator=generator) < self.share[LOADED]
        since = torch.where(anew, torch.arange(steps), 0).cummax(dim=1).values
        dice = drawn.gather(1, since).long()
        cumulative = self.faces.cumsum(1)[:, :-1]
        faces = torch.rand(rows, steps, 1, generator=generator, dtype=torch.float64) >= cumulative[dice]
        return faces.sum(-1), dice

    def posterior(self, faces: Int64[Tensor, "row time"], lengths: Int64[Tensor, " row"]) -> Posterior:
        """What rolls tell of the dice, by the forward and backward recursions (Durbin et al. 1998, section 3.2).

        Args:
            faces: The rolls, 0 to 5.
            lengths: How many of each row count.
        """
        likelihood = self.faces.T[faces]
        known: Bool[Tensor, "row time 1"] = (torch.arange(faces.shape[1]) < lengths.unsqueeze(1)).unsqueeze(-1)
        filtered, prior = [], self.share.expand(len(faces), 2)
        for step in range(faces.shape[1]):
            filtered.append(_normalised(prior * likelihood[:, step]))
            prior = filtered[-1] @ self.exchange
        # The likelihood of what is still to come, 1 where nothing is, up to a factor.
        ahead = [torch.ones(len(faces), 2, dtype=torch.float64)]
        for step in reversed(range(1, faces.shape[1])):
            coming = _normalised((likelihood[:, step] * ahead[-1]) @ self.exchange.T)
            ahead.append(torch.where(known[:, step], coming, 1.0))
        forward, backward = torch.stack(filtered, dim=1), torch.stack(ahead[::-1], dim=1)
        return Posterior(_normalised(self.share * likelihood), forward, _normalised(forward * backward))


def _normalised(weights: Float64[Tensor, "*axes die"]) -> Float64[Tensor, "*axes die"]:
    return weights / weights.sum(-1, keepdim=True)
