"""Tensors that a forward pass makes one after another, along time, and the gradients that reach them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.contracts.spec import Images, Static, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch
from rnnae_bench.errors import UserError
from rnnae_bench.recurrence.scaled import Scaled

Origins = Callable[[Int[Tensor, "*model batch"], bool], Int[Tensor, "*model batch"]]
"""From lengths, and whether the direction reads from the end, to where lag 0 is."""


class Flow(NamedTuple):
    """Norms of one gradient at every step of every sequence, in the order in which the direction reads."""

    probe: str
    layer: str
    state: str
    log_norm: Float[Tensor, "*model time batch"]
    origin: Int[Tensor, "*model batch"]


def extent(spec: TaskSpec, batch: Batch) -> tuple[tuple[int, ...], int]:
    """The shape of the rows of a batch (with the model axis, where there is one), and its steps, padding included."""
    shape = batch.inputs.shape
    if isinstance(spec.inputs, Tokens):
        return shape[:-1], shape[-1]
    if isinstance(spec.inputs, Static):
        return shape[:-1], 1
    return shape[: -3 if isinstance(spec.inputs, Images) else -2], shape[-2]


def steps_of(spec: TaskSpec, batch: Batch) -> Int[Tensor, "*model batch"]:
    """The steps of each row of a batch, without padding."""
    rows, steps = extent(spec, batch)
    if batch.lengths is not None:
        return batch.lengths.to(batch.inputs.device)
    return torch.full(rows, steps, device=batch.inputs.device)


@dataclass
class Pieces:
    """Tensors in the order in which a forward pass made them: each one step, or several steps in a row.

    A step is ``[*model batch features]``, several are ``[*model batch time features]``; numbers may be complex.
    """

    roots: list[Tensor] = field(default_factory=list)
    """The tensors, in the graph."""
    gradients: dict[int, Tensor] = field(default_factory=dict)
    """dL/d of each root that a backward pass came by, by its place."""

    def take(self, root: Tensor) -> None:
        """Keep one more, and its gradient when a backward pass comes by: the total one, by all ways to the loss."""
        if root.requires_grad:
            root.register_hook(partial(self.gradients.__setitem__, len(self.roots)))
        self.roots.append(root)

    def log_norms(self, rows: Sequence[int], steps: int, whole: bool) -> Float[Tensor, "*model time batch"]:
        """Natural logarithms of the gradients' norms, step by step; -inf where no backward pass came by.

        Args:
            rows: The shape of the batch's rows.
            steps: Those that all pieces together must have.
            whole: Whether a piece is one step however many axes it has (a matrix, a cache).

        Raises:
            UserError: the pieces don't have these rows or steps.
        """
        for root in self.roots:
            if tuple(root.shape[: len(rows)]) != tuple(rows):
                raise UserError(
                    f"a tensor of shape {list(root.shape)} does not have the batch's {_times(rows)} rows as its "
                    "first axis"
                )
        several = not whole and self.roots[0].dim() > len(rows) + 1
        found = sum(root.shape[len(rows)] for root in self.roots) if several else len(self.roots)
        if found != steps:
            calls = f" in {len(self.roots)} calls" if several else ""
            raise UserError(f"it is {found} steps{calls} in a forward pass, and the batch has {steps}")
        pieces = [self.gradients.get(place, torch.zeros_like(root)) for place, root in enumerate(self.roots)]
        if several:
            whole_sequence = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=len(rows))
            return _log_norm(whole_sequence, len(rows) + 1).movedim(-1, -2)
        if len({piece.shape for piece in pieces}) == 1:
            return _log_norm(torch.stack(pieces, dim=len(rows) - 1), len(rows) + 1)
        return torch.stack([_log_norm(piece, len(rows)) for piece in pieces], dim=len(rows) - 1)

    def reversed(self) -> "Pieces":
        """The same from the last to the first."""
        last = len(self.roots) - 1
        return Pieces(self.roots[::-1], {last - place: gradient for place, gradient in self.gradients.items()})

    def values(self, rows: Sequence[int]) -> Float[Tensor, "*model time batch features"]:
        """The tensors themselves along time, one row of real numbers for each step and sequence."""
        flat = [_real(root) for root in self.roots]
        if flat[0].dim() > len(rows) + 1:
            return torch.cat(flat, dim=len(rows)).movedim(len(rows), len(rows) - 1)
        return torch.stack(flat, dim=len(rows) - 1)


def _log_norm(gradients: Tensor, axes: int) -> Tensor:
    """The logarithm of the norm over all axes but the first `axes`; of complex numbers that of their parts."""
    real = _real(gradients)
    return Scaled.unscaled(real.flatten(axes) if real.dim() > axes else real.unsqueeze(-1)).log_norm


def _real(numbers: Tensor) -> Tensor:
    """Complex numbers as pairs of real ones, in the last axis."""
    return torch.view_as_real(numbers).flatten(-2) if numbers.is_complex() else numbers


def _times(rows: Sequence[int]) -> str:
    return " x ".join(map(str, rows))
