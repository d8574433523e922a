"""A model's own `step` as a function of one vector, so that its Jacobians can be taken."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.stepping import brought_to
from rnnae_bench.errors import UserError
from rnnae_bench.recurrence.dynamics import Linearization
from rnnae_bench.recurrence.recording import padding_of
from rnnae_bench.recurrence.stepwise import linearized


@torch.no_grad()
def linearization(
    model: SequenceModel, inputs: Float[Tensor, "batch time features"], lengths: Int[Tensor, " batch"], last: int | None
) -> Linearization:
    """The Jacobians of `step` along a batch; the state is all its real numbers side by side, complex ones as pairs.

    Args:
        model: Gives `step`.
        inputs: Embedded.
        lengths: Steps of each row.
        last: How many steps at the end of each sequence are looked at (at most); None for all.

    Raises:
        UserError: the state changes its size from step to step, or has no numbers.
    """
    name = f"{type(model).__name__}.step"
    states = [brought_to(model.initial_state(len(inputs)), inputs)]
    for x in inputs.unbind(1):
        states.append(model.step(x, states[-1])[1])
    sizes = sorted({_flat(state).shape[-1] for state in states})
    if sizes != sizes[:1] or not sizes[0]:
        numbers = " to ".join(map(str, sizes[:: max(1, len(sizes) - 1)]))
        raise UserError(f"{name} has a state of {numbers} numbers; Jacobians and exponents need one of a fixed size")

    def step(t: int, numbers: Tensor) -> Tensor:
        return _flat(model.step(inputs[:, t], _filled(states[t], numbers))[1])

    considered = ~padding_of(lengths, inputs.shape[1]).squeeze(-1)
    if last is not None:
        considered &= padding_of(lengths - last, inputs.shape[1]).squeeze(-1)
    return linearized(step, [_flat(state) for state in states[:-1]], considered)


def _flat(state: Any) -> Float[Tensor, "batch numbers"]:
    parts = [part for part in pytree.tree_leaves(state) if _is_numbers(part)]
    real = [torch.view_as_real(part) if part.is_complex() else part for part in parts]
    return torch.cat([part.flatten(1) if part.dim() > 1 else part.unsqueeze(1) for part in real], dim=1)


def _filled(state: Any, numbers: Float[Tensor, "batch numbers"]) -> Any:
    """The same state with other numbers in it; counts and the like stay."""
    leaves, form = pytree.tree_flatten(state)
    at, filled = 0, []
    for leaf in leaves:
        if _is_numbers(leaf):
            like = torch.view_as_real(leaf) if leaf.is_complex() else leaf
            size = like[0].numel()
            part = numbers[:, at : at + size].reshape(like.shape)
            leaf = torch.view_as_complex(part.contiguous()) if leaf.is_complex() else part
            at += size
        filled.append(leaf)
    return pytree.tree_unflatten(filled, form)


def _is_numbers(part: Any) -> bool:
    return isinstance(part, Tensor) and (part.is_floating_point() or part.is_complex())
