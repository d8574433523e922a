"""The independently recurrent network (Li et al. 2018): h_t = relu(W x_t + b_ih + u * h_(t-1) + b_hh).

Each unit hears itself alone, by one number u. W_hh is the row of these, ``[*model 1 hidden]``. Backwards, with a_t what
relu is applied to: dL/da_t = [a_t > 0] * delta_t, delta_(t-1) = dL/dy_(t-1) + u * dL/da_t.

Source: Li, Li, Cook, Zhu & Gao (2018), Independently recurrent neural network (IndRNN), CVPR, arXiv:1803.04831.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.recurrence import reference
from rnnae_bench.recurrence.deltas import Deltas
from rnnae_bench.recurrence.products import affine, empty_steps, input_gradient, stepwise, weight_gradient
from rnnae_bench.recurrence.recording import Passage
from rnnae_bench.recurrence.reference import Weights
from rnnae_bench.recurrence.second_order import differentiable_gradients
from rnnae_bench.recurrence.stack import Stack, States


def independent(
    x: Float[Tensor, "*model time batch features"],
    weights: Weights,
    initial: Float[Tensor, "*model batch hidden"],
    padding: Bool[Tensor, "*model time batch 1"] | None = None,
    deltas: Deltas | None = None,
) -> Float[Tensor, "*model time batch hidden"]:
    """The states of all steps.

    Args:
        x: Inputs.
        weights: W and the biases as in ``torch.nn.RNN``, and u.
        initial: h_0.
        padding: Steps that don't exist, at the end of a sequence; their states come out as zero. `x` must
            be finite there too.
        deltas: Takes dL/dh_t when the backward pass has come by.
    """
    states: Tensor = _run(x, *weights[:4], initial, padding, deltas)
    return states


def _through_time(carried: Tensor, direct: Tensor) -> Float[Tensor, "*model time batch hidden"]:
    """All delta_t; `carried` is u where the unit is on, and 0 where it is off."""
    delta = empty_steps(direct)
    delta_t, direct_t, carried_t = delta.unbind(-3), direct.unbind(-3), carried.unbind(-3)
    delta_t[-1].copy_(direct_t[-1])
    for t in range(len(delta_t) - 1, 0, -1):
        torch.addcmul(direct_t[t - 1], delta_t[t], carried_t[t], out=delta_t[t - 1])
    return delta


class _IndependentKernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_ih: Tensor,
        u: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        initial: Tensor,
        padding: Tensor | None,
        deltas: Deltas | None,
    ) -> Tensor:
        states = stepwise(affine(x, w_ih, b_ih + b_hh))
        h = initial
        for step in states.unbind(-3):
            h = step.addcmul_(h, u).relu_()
        if padding is not None:
            states.masked_fill_(padding, 0.0)
        ctx.save_for_backward(x, w_ih, u, b_ih, b_hh, initial, states)
        ctx.padding, ctx.deltas = padding, deltas
        return states

    @staticmethod
    def backward(ctx: Any, direct: Tensor) -> Any:
        x, w_ih, u, b_ih, b_hh, initial, states = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_differentiable(ctx, direct, (x, w_ih, u, b_ih, b_hh, initial)), None, None)
        if ctx.padding is not None:
            direct = direct.masked_fill(ctx.padding, 0.0)
        slope = (states > 0).to(states.dtype)
        delta = _through_time(slope * u.unsqueeze(-3), direct)
        gates = (delta * slope).contiguous()
        if ctx.deltas is not None:
            ctx.deltas.h = delta
        needs, bias = ctx.needs_input_grad, gates.sum(dim=(-3, -2))
        recurrent = (gates[..., 0, :, :] * initial).sum(dim=-2)
        recurrent += (gates[..., 1:, :, :] * states[..., :-1, :, :]).sum(dim=(-3, -2))
        return (
            input_gradient(gates, w_ih) if needs[0] else None,
            weight_gradient(gates, x),
            recurrent.unsqueeze(-2),
            bias,
            bias,
            gates[..., 0, :, :] * u if needs[5] else None,
            None,
            None,
        )


# torch.compile would unroll the loop over the steps.
_run = torch.compiler.disable(_IndependentKernel.apply)


def _differentiable(ctx: Any, direct: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """The same gradients as a graph that can be differentiated again, through the reference."""
    x, w_ih, u, b_ih, b_hh, initial = inputs
    states = torch.stack(reference.independent(x, Weights(w_ih, u, b_ih, b_hh), initial), dim=-3)
    return differentiable_gradients((states,), ctx.needs_input_grad, inputs, (direct,), ctx.padding)


@dataclass(frozen=True)
class IndependentTape:
    """The backward recurrence alone: linear in delta, its factors taken from the stored states."""

    slope: Float[Tensor, "*model time batch hidden"]
    """1 where the unit is on, 0 where it is off."""
    w_ih: Float[Tensor, "*model hidden features"]
    u: Float[Tensor, "*model 1 hidden"]

    def sweep(self, direct: Float[Tensor, "*model time batch state"]) -> tuple[dict[str, Tensor], Tensor]:
        """All steps at once, as the kernel does: dL/dh_t by its name, and dL/dx_t."""
        delta = _through_time(self.slope * self.u.unsqueeze(-3), direct)
        return {"h": delta}, self.inputs(delta)

    def totals(self, delta: Float[Tensor, "*model time batch state"]) -> dict[str, Tensor]:
        """dL/dh_t, by its name."""
        return {"h": delta}

    def carry(self, t: int, delta: Float[Tensor, "*vectors batch state"]) -> Float[Tensor, "*vectors batch state"]:
        """J_t^T delta_t, what reaches h_(t-1) through step t; linear in delta, so any leading axes may be added."""
        return delta * self.slope.select(-3, t) * self.u

    def inputs(self, delta: Float[Tensor, "*model time batch state"]) -> Float[Tensor, "*model time batch features"]:
        """dL/dx_t from delta_t."""
        return input_gradient(delta * self.slope, self.w_ih)


class _Bounded(torch.autograd.Function):
    """Values held within [-bound, bound]; a gradient whose descent would lead further out is stopped, others pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.bound = bound
        return values.clamp(-bound, bound)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (values,) = ctx.saved_tensors
        return gradient.masked_fill((values.abs() > ctx.bound) & (values * gradient < 0), 0.0), None


class IndRNN(Stack):
    """Independently recurrent layers, whose recurrent weights are held within a bound.

    Args:
        input_size: Features of the inputs.
        hidden_size: Numbers in the state of one layer and direction.
        bound: The largest |u| that is used, whatever the trained weight is.
        options: As of `Stack`.
    """

    gate_names = ("h",)

    def __init__(self, input_size: int, hidden_size: int, *, bound: float, **options: object) -> None:
        require_positive(bound=bound)
        self.bound = bound
        super().__init__(input_size, hidden_size, in_full=True, **options)  # type: ignore[arg-type]

    @property
    def prefers_fused(self) -> bool:
        """Nowhere: PyTorch has none."""
        return False

    def shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        """As `Stack.shapes`, with one row of recurrent weights."""
        return super().shapes(features) | {"weight_hh": (1, self.hidden_size)}

    def weights_of(self, name: str) -> Weights:
        """As `Stack.weights_of`, with the recurrent weights within the bound."""
        weights = super().weights_of(name)
        return weights._replace(w_hh=_Bounded.apply(weights.w_hh, self.bound))

    def recurrent_matrices(self, weights: Weights) -> dict[str, Float[Tensor, "*model hidden hidden"]]:
        """W_hh as the diagonal matrix that it is."""
        return {"h": weights.w_hh.squeeze(-2).diag_embed()}

    def kernel(
        self, x: Tensor, weights: Weights, initial: States, padding: Tensor | None, deltas: Deltas | None
    ) -> States:
        """All states of one layer and direction."""
        return (independent(x, weights, initial[0], padding, deltas),)

    def fused(self, x: Tensor, weights: Weights, initial: States) -> tuple[Tensor, States]:
        """Refused."""
        raise UserError("PyTorch has no fused IndRNN; use backend 'kernel'")

    def tape(self, passage: Passage) -> IndependentTape:
        """Its backward recurrence."""
        slope = (passage.states > 0).to(passage.states.dtype)
        return IndependentTape(slope, passage.weights.w_ih, passage.weights.w_hh)
