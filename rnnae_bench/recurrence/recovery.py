"""Backpropagation through time alone, from what a forward pass left behind, on a logarithmic scale.

For recurrences whose own backward pass is fused and tells nothing, and where ordinary numbers would underflow.
"""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from rnnae_bench.recurrence.scaled import Scaled, normalized


@runtime_checkable
class Transposed(Protocol):
    """The transposed Jacobians of a recurrence along one passage."""

    def carry(self, t: int, delta: Float[Tensor, "*vectors batch state"]) -> Float[Tensor, "*vectors batch state"]:
        """J_t^T delta_t: what reaches the state before step t."""


@runtime_checkable
class Tape(Transposed, Protocol):
    """The backward recurrence of one layer and direction, linear in the gradient that reaches the state."""

    def sweep(self, direct: Float[Tensor, "*model time batch state"]) -> tuple[dict[str, Tensor], Tensor]:
        """All steps at once, in ordinary numbers: the total gradients by state, and what reaches the inputs."""

    def inputs(self, delta: Float[Tensor, "*model time batch state"]) -> Float[Tensor, "*model time batch features"]:
        """What reaches the inputs."""

    def totals(self, delta: Float[Tensor, "*model time batch state"]) -> dict[str, Tensor]:
        """The total gradients by state: ``h``, and ``c`` of an LSTM."""


_SEGMENT = 8
"""Steps that share one scale, where the gradient stays in the range of single precision."""

_SAFE = 40.0
"""Logarithm of the largest ratio between the gradients within a segment."""

ORDINARY = (math.log(1e-30), math.log(1e30))
"""Logarithms of the norms between which no component that counts is lost in single precision."""


class Recovered(NamedTuple):
    """Gradients of one layer and direction, ``[*model time batch ...]``."""

    totals: dict[str, Scaled]
    """dL/dh_t, and dL/dc_t of an LSTM."""
    inputs: Scaled
    """dL/dx_t."""


@torch.no_grad()
def backpropagate(tape: Tape, direct: Scaled, window: int = 0) -> Recovered:
    """The gradients of all steps, from the last one back: delta_t = direct_t + J_(t+1)^T delta_(t+1).

    In ordinary numbers where they suffice, and else again on a logarithmic scale.

    Args:
        tape: The backward recurrence.
        direct: dL/dy_t by the output of step t alone, ``[*model time batch state]``.
        window: Steps after which the gradient is cut (truncated backpropagation); 0 never.
    """
    if not window:
        totals, inputs = tape.sweep(direct.value())
        found = {state: Scaled.unscaled(total) for state, total in totals.items()}
        if ordinary(direct, found):
            return Recovered(found, Scaled.unscaled(inputs))
    delta = on_a_logarithmic_scale(tape, direct.normalized(), window)
    found = {state: delta.map(total) for state, total in tape.totals(delta.mantissa).items()}
    return Recovered(found, delta.map(tape.inputs(delta.mantissa)))


def ordinary(direct: Scaled, totals: dict[str, Scaled]) -> bool:
    """Whether no total gradient is so small or large that ordinary numbers may have lost of it.

    Where nothing has reached a state, up to the last step with a direct gradient, zero is right.
    """
    reads = (direct.mantissa != 0).any(dim=-1)
    reached = reads.flip(-2).cummax(dim=-2).values.flip(-2)
    for total in totals.values():
        size = total.log_norm
        inside = (size > ORDINARY[0]) & (size < ORDINARY[1])
        if not (inside | ~reached).all():
            return False
    return True


def on_a_logarithmic_scale(tape: Tape, direct: Scaled, window: int = 0) -> Scaled:
    """The gradient that reaches each state, as `tape` carries it on, whatever its size.

    Args:
        tape: The backward recurrence.
        direct: As for `backpropagate`, normalized.
        window: As for `backpropagate`.
    """
    found = Scaled(torch.empty_like(direct.mantissa), torch.empty_like(direct.log_scale))
    nothing = torch.zeros_like(direct.mantissa[..., 0, :, :])
    carried = Scaled(nothing, torch.full_like(nothing[..., 0], -torch.inf))
    stop = direct.mantissa.shape[-3]
    while stop > 0:
        start = max(0, stop - _SEGMENT)
        reached = _segment(tape, direct, carried, found, range(start, stop), window)
        if reached is None:
            start = stop - 1
            reached = _segment(tape, direct, carried, found, range(start, stop), window)
            assert reached is not None
        carried, stop = reached, start
    return found


def _segment(tape: Tape, direct: Scaled, carried: Scaled, into: Scaled, steps: range, window: int) -> Scaled | None:
    """Backpropagate through some steps on one scale; None where they need a scale each.

    Args:
        tape: The backward recurrence.
        direct: As for `on_a_logarithmic_scale`.
        carried: What reaches the last of the steps from the one after it.
        into: Takes delta_t of the steps.
        steps: Which, rising.
        window: As for `backpropagate`.

    Returns:
        What reaches the step before the first.
    """
    here = slice(steps.start, steps.stop)
    scales = direct.log_scale[..., here, :]
    if len(steps) > 1 and not _share_a_scale(scales, carried.log_scale):
        return None
    common = torch.maximum(scales.amax(dim=-2), carried.log_scale).clamp_min(torch.finfo(scales.dtype).min)
    own = direct.mantissa[..., here, :, :] * (scales - common.unsqueeze(-2)).exp().unsqueeze(-1)
    reaching = carried.mantissa * (carried.log_scale - common).exp().unsqueeze(-1)
    total = reaching
    for t in reversed(steps):
        total = torch.add(own.select(-3, t - steps.start), reaching, out=into.mantissa.select(-3, t))
        reaching = torch.zeros_like(total) if window and t % window == 0 else tape.carry(t, total)
    if len(steps) > 1 and not _stayed(total, common):
        return None
    into.log_scale[..., here, :] = common.unsqueeze(-2)
    return normalized(reaching, common)


def _stayed(total: Float[Tensor, "*model batch state"], log_scale: Float[Tensor, "*model batch"]) -> bool:
    """Whether gradients that began a segment near 1 are still near enough to it at the segment's end."""
    size = total.abs().amax(dim=-1)
    nothing = log_scale == torch.finfo(log_scale.dtype).min
    return bool((nothing | ((size > math.exp(-_SAFE)) & (size < math.exp(_SAFE)))).all())


def _share_a_scale(direct: Float[Tensor, "*model time batch"], carried: Float[Tensor, "*model batch"]) -> bool:
    """Whether the gradients of a segment that are not zero are near enough in size to be added up as they are."""
    scales = torch.cat((direct, carried.unsqueeze(-2)), dim=-2)
    smallest = scales.masked_fill(scales == -torch.inf, torch.inf).amin(dim=-2)
    return not bool((scales.amax(dim=-2) - smallest > _SAFE).any())
