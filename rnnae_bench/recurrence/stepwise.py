"""The Jacobians of any function of a state, step by step, through ``torch.func``."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnae_bench.recurrence.dynamics import Linearization


class StepwiseTape:
    """The transposed Jacobians of s_t = f(t, s_(t-1)), where the rows of a batch don't touch each other.

    Args:
        step: f, from the step and the state ``[batch state]`` before it to that after it.
        before: The state before each step.
    """

    def __init__(self, step: Callable[[int, Tensor], Tensor], before: Sequence[Float[Tensor, "batch state"]]) -> None:
        self._step, self._before = step, before

    def carry(self, t: int, delta: Float[Tensor, "*vectors batch state"]) -> Float[Tensor, "*vectors batch state"]:
        """J_t^T delta_t: what reaches the state before step t."""
        with torch.enable_grad():
            pull = torch.func.vjp(partial(self._step, t), self._before[t])[1]
            vectors = delta.reshape(-1, *self._before[t].shape)
            return torch.vmap(lambda one: pull(one)[0])(vectors).view_as(delta)


def linearized(
    step: Callable[[int, Tensor], Tensor],
    before: Sequence[Float[Tensor, "batch state"]],
    considered: Bool[Tensor, "time batch"],
) -> Linearization:
    """The linearisation of s_t = f(t, s_(t-1)) around states that it went through.

    Args:
        step: As for `StepwiseTape`.
        before: As for `StepwiseTape`.
        considered: The steps that are looked at.
    """
    return Linearization(StepwiseTape(step, before), before[0], considered)
