"""The vanilla recurrence (Elman 1990): h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh).

With modrelu (Arjovsky, Shah & Bengio 2016) b_hh is the bias of f: f(a) = sign(a) * relu(|a| + b_hh).

Backwards, with delta_t = dL/dh_t and a_t what f is applied to:
dL/da_t = f'(a_t) * delta_t, delta_(t-1) = dL/dy_(t-1) + W_hh^T dL/da_t.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnae_bench.errors import UserError, require_choice
from rnnae_bench.recurrence import reference
from rnnae_bench.recurrence.deltas import Deltas
from rnnae_bench.recurrence.products import (
    addmm,
    affine,
    empty_steps,
    input_gradient,
    recurrent_weight_gradient,
    stepwise,
    weight_gradient,
)
from rnnae_bench.recurrence.recording import Passage
from rnnae_bench.recurrence.reference import Activation, Weights
from rnnae_bench.recurrence.second_order import differentiable_gradients
from rnnae_bench.recurrence.stack import Stack, States


def _modrelu(preactivation: Tensor, bias: Tensor) -> Tensor:
    sign = preactivation.sign()
    return preactivation.abs_().add_(bias).relu_().mul_(sign)


_IN_PLACE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh": lambda states, bias: states.tanh_(),
    "relu": lambda states, bias: states.relu_(),
    "identity": lambda states, bias: states,
    "modrelu": _modrelu,
}
"""f in place, by name, given its own bias."""


def rnn(
    x: Float[Tensor, "*model time batch features"],
    weights: Weights,
    initial: Float[Tensor, "*model batch hidden"],
    activation: Activation = "tanh",
    padding: Bool[Tensor, "*model time batch 1"] | None = None,
    deltas: Deltas | None = None,
) -> Float[Tensor, "*model time batch hidden"]:
    """The states of all steps.

    Args:
        x: Inputs.
        weights: As in ``torch.nn.RNN``.
        initial: h_0.
        activation: f.
        padding: Steps that don't exist, at the end of a sequence; their states come out as zero. `x` must
            be finite there too.
        deltas: Takes dL/dh_t when the backward pass has come by.
    """
    states: Tensor = _run(x, *weights[:4], initial, activation, padding, deltas)
    return states


def slope(states: Float[Tensor, "*axes"], activation: Activation) -> Float[Tensor, "*axes"] | None:
    """f' as a function of f's value; None for the identity."""
    if activation == "tanh":
        return 1 - states * states
    return None if activation == "identity" else (states != 0).to(states.dtype)


def _through_time(factor: Tensor | None, w_hh: Tensor, direct: Tensor) -> tuple[Tensor, Tensor]:
    """All delta_t and dL/da_t by the backward recurrence; `factor` is f'(a_t), None for 1."""
    multiply = addmm(w_hh)
    delta = empty_steps(direct)
    gates = delta if factor is None else torch.empty_like(delta)
    delta_t, gates_t, direct_t = delta.unbind(-3), gates.unbind(-3), direct.unbind(-3)
    factor_t = None if factor is None else factor.unbind(-3)
    delta_t[-1].copy_(direct_t[-1])
    for t in range(len(delta_t) - 1, 0, -1):
        if factor_t is not None:
            torch.mul(delta_t[t], factor_t[t], out=gates_t[t])
        multiply(direct_t[t - 1], gates_t[t], w_hh, out=delta_t[t - 1])
    if factor_t is not None:
        torch.mul(delta_t[0], factor_t[0], out=gates_t[0])
    return delta, gates


class _VanillaKernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        initial: Tensor,
        activation: Activation,
        padding: Tensor | None,
        deltas: Deltas | None,
    ) -> Tensor:
        own = b_hh.unsqueeze(-2) if activation == "modrelu" else b_hh
        states = stepwise(affine(x, w_ih, b_ih if activation == "modrelu" else b_ih + b_hh))
        multiply, activate, w = addmm(w_hh), _IN_PLACE[activation], w_hh.mT
        h = initial
        for step in states.unbind(-3):
            multiply(step, h, w, out=step)
            h = activate(step, own)
        if padding is not None:
            states.masked_fill_(padding, 0.0)
        ctx.save_for_backward(x, w_ih, w_hh, b_ih, b_hh, initial, states)
        ctx.activation, ctx.padding, ctx.deltas = activation, padding, deltas
        return states

    @staticmethod
    def backward(ctx: Any, direct: Tensor) -> Any:
        x, w_ih, w_hh, b_ih, b_hh, initial, states = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_differentiable(ctx, direct, (x, w_ih, w_hh, b_ih, b_hh, initial)), None, None, None)
        if ctx.padding is not None:
            direct = direct.masked_fill(ctx.padding, 0.0)
        delta, gates = _through_time(slope(states, ctx.activation), w_hh, direct)
        if ctx.deltas is not None:
            ctx.deltas.h = delta
        gates = gates.contiguous()
        needs = ctx.needs_input_grad
        bias = gates.sum(dim=(-3, -2))
        return (
            input_gradient(gates, w_ih) if needs[0] else None,
            weight_gradient(gates, x),
            recurrent_weight_gradient(gates, states, initial),
            bias,
            (gates * states.sign()).sum(dim=(-3, -2)) if ctx.activation == "modrelu" else bias,
            torch.matmul(gates[..., 0, :, :], w_hh) if needs[5] else None,
            None,
            None,
            None,
        )


# torch.compile would unroll the loop over the steps.
_run = torch.compiler.disable(_VanillaKernel.apply)


def _differentiable(ctx: Any, direct: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """The same gradients as a graph that can be differentiated again, through the reference."""
    x, w_ih, w_hh, b_ih, b_hh, initial = inputs
    states = torch.stack(reference.rnn(x, Weights(w_ih, w_hh, b_ih, b_hh), initial, ctx.activation), dim=-3)
    return differentiable_gradients((states,), ctx.needs_input_grad, inputs, (direct,), ctx.padding)


@dataclass(frozen=True)
class VanillaTape:
    """The backward recurrence alone: linear in delta, its factors taken from the stored states."""

    slope: Float[Tensor, "*model time batch hidden"]
    """f'(a_t)."""
    w_ih: Float[Tensor, "*model hidden features"]
    w_hh: Float[Tensor, "*model hidden hidden"]

    @classmethod
    @torch.no_grad()
    def recompute(
        cls,
        x: Float[Tensor, "*model time batch features"],
        weights: Weights,
        initial: tuple[Tensor, ...],
        states: Float[Tensor, "*model time batch hidden"],
        activation: Activation = "tanh",
    ) -> "VanillaTape":
        """From the stored states of a forward pass."""
        factor = slope(states, activation)
        return cls(torch.ones_like(states) if factor is None else factor, weights.w_ih, weights.w_hh)

    def sweep(self, direct: Float[Tensor, "*model time batch state"]) -> tuple[dict[str, Tensor], Tensor]:
        """All steps at once, as the kernel does: dL/dh_t by its name, and dL/dx_t."""
        delta, gates = _through_time(self.slope, self.w_hh, direct)
        return {"h": delta}, input_gradient(gates, self.w_ih)

    def totals(self, delta: Float[Tensor, "*model time batch state"]) -> dict[str, Tensor]:
        """dL/dh_t, by its name."""
        return {"h": delta}

    def carry(self, t: int, delta: Float[Tensor, "*vectors batch state"]) -> Float[Tensor, "*vectors batch state"]:
        """J_t^T delta_t, what reaches h_(t-1) through step t; linear in delta, so any leading axes may be added."""
        return torch.matmul(delta * self.slope.select(-3, t), self.w_hh)

    def inputs(self, delta: Float[Tensor, "*model time batch state"]) -> Float[Tensor, "*model time batch features"]:
        """dL/dx_t from delta_t."""
        return input_gradient(delta * self.slope, self.w_ih)


class RNN(Stack):
    """Vanilla recurrences: h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh); weights as in ``torch.nn.RNN``.

    Args:
        input_size: Features of the inputs.
        hidden_size: Numbers in the state of one layer and direction.
        activation: f.
        options: As of `Stack`.
    """

    gate_names = ("h",)

    def __init__(
        self, input_size: int, hidden_size: int, *, activation: Activation = "tanh", **options: object
    ) -> None:
        require_choice(("tanh", "relu", "identity", "modrelu"), activation=activation)
        self.activation: Activation = activation
        super().__init__(input_size, hidden_size, **options)  # type: ignore[arg-type]
        if self.backend == "fused" and activation not in ("tanh", "relu"):
            raise UserError(f"PyTorch has no fused recurrence with the {activation} activation; use backend 'kernel'")

    @property
    def prefers_fused(self) -> bool:
        """On a GPU, with tanh and relu."""
        return super().prefers_fused and self.activation in ("tanh", "relu")

    def extra_repr(self) -> str:
        """Sizes, the activation, and what else differs from the defaults."""
        return f"{super().extra_repr()}, activation={self.activation}"

    def kernel(
        self, x: Tensor, weights: Weights, initial: States, padding: Tensor | None, deltas: Deltas | None
    ) -> States:
        """All states of one layer and direction."""
        return (rnn(x, weights, initial[0], self.activation, padding, deltas),)

    def fused(self, x: Tensor, weights: Weights, initial: States) -> tuple[Tensor, States]:
        """The same by PyTorch."""
        run = torch.rnn_tanh if self.activation == "tanh" else torch.rnn_relu
        states, final = run(x, initial[0], list(weights[:4]), True, 1, 0.0, True, False, False)
        return states, (final,)

    def tape(self, passage: Passage) -> VanillaTape:
        """Its backward recurrence."""
        return VanillaTape.recompute(passage.x, passage.weights, passage.initial, passage.states, self.activation)
