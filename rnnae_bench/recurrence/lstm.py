"""Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000).

i, f, o = sigma(.), g = tanh(.), each of W x_t + b + U h_(t-1) + b'; c_t = f * c_(t-1) + i * g, h_t = o * tanh(c_t).

Backwards, with delta_t = dL/dh_t and gamma_t = dL/dc_t (both total), s = tanh(c_t):
gamma_t = dL/dc_t from outside + delta_t * o(1-s^2) + gamma_(t+1) * f_(t+1);
d_i = gamma * g i(1-i), d_f = gamma * c_(t-1) f(1-f), d_g = gamma * i(1-g^2), d_o = delta * s o(1-o);
delta_(t-1) = dL/dy_(t-1) + U^T (d_i, d_f, d_g, d_o).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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
from rnnae_bench.recurrence.reference import Weights
from rnnae_bench.recurrence.second_order import differentiable_gradients
from rnnae_bench.recurrence.stack import Stack, States


def lstm(
    x: Float[Tensor, "*model time batch features"],
    weights: Weights,
    initial: tuple[Float[Tensor, "*model batch hidden"], Float[Tensor, "*model batch hidden"]],
    padding: Bool[Tensor, "*model time batch 1"] | None = None,
    deltas: Deltas | None = None,
) -> tuple[Float[Tensor, "*model time batch hidden"], Float[Tensor, "*model time batch hidden"]]:
    """The states h and the cells c of all steps.

    Args:
        x: Inputs.
        weights: As in ``torch.nn.LSTM``: gates in the order i, f, g, o.
        initial: h_0 and c_0.
        padding: Steps that don't exist, at the end of a sequence; their states and cells come out as zero. `x` must
            be finite there too.
        deltas: Takes dL/dh_t and dL/dc_t when the backward pass has come by.
    """
    states, cells = _run(x, *weights, *initial, padding, deltas)
    return states, cells


def _factors(
    gates: Tensor, squashed: Tensor, cells: Tensor, initial: Tensor
) -> tuple[Float[Tensor, "*model time batch gates"], Float[Tensor, "*model time batch hidden"]]:
    """What gamma_t (for i, f, g) and delta_t (for o) are multiplied with to give the gates' gradients; and o(1-s^2)."""
    hidden = cells.shape[-1]
    i, f, g, o = gates.split(hidden, dim=-1)
    factors = torch.empty_like(gates)
    f_i, f_f, f_g, f_o = factors.split(hidden, dim=-1)
    torch.mul(g, i, out=f_i)
    f_i.mul_(1 - i)
    torch.mul(initial, f[..., 0, :, :], out=f_f[..., 0, :, :])
    torch.mul(cells[..., :-1, :, :], f[..., 1:, :, :], out=f_f[..., 1:, :, :])
    f_f.mul_(1 - f)
    torch.mul(1 - g * g, i, out=f_g)
    torch.mul(squashed, o, out=f_o)
    f_o.mul_(1 - o)
    return factors, (1 - squashed * squashed).mul_(o)


def _through_time(factors: Tensor, through: Tensor, f: Tensor, w_hh: Tensor, direct: Tensor, gamma: Tensor) -> Tensor:
    """All delta_t by the backward recurrence; in place, `factors` become the gates' gradients and `gamma` gamma_t.

    Args:
        factors: See `_factors`.
        through: o (1 - s^2).
        f: The forget gates.
        w_hh: U.
        direct: dL/dy_t.
        gamma: dL/dc_t from outside.
    """
    multiply, hidden = addmm(w_hh), w_hh.shape[-1]
    delta = empty_steps(direct)
    delta_t, gamma_t, direct_t, through_t, f_t = (one.unbind(-3) for one in (delta, gamma, direct, through, f))
    flat_t = factors.unbind(-3)
    of_gamma_t = factors[..., : 3 * hidden].unflatten(-1, (3, hidden)).unbind(-4)
    of_delta_t = factors[..., 3 * hidden :].unbind(-3)
    spread_t = gamma.unsqueeze(-2).unbind(-4)
    delta_t[-1].copy_(direct_t[-1])
    for t in range(len(delta_t) - 1, -1, -1):
        gamma_t[t].addcmul_(delta_t[t], through_t[t])
        of_gamma_t[t].mul_(spread_t[t])
        of_delta_t[t].mul_(delta_t[t])
        if t > 0:
            gamma_t[t - 1].addcmul_(gamma_t[t], f_t[t])
            multiply(direct_t[t - 1], flat_t[t], w_hh, out=delta_t[t - 1])
    return delta


class _LSTMKernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        h: Tensor,
        c: Tensor,
        padding: Tensor | None,
        deltas: Deltas | None,
    ) -> tuple[Tensor, Tensor]:
        hidden = w_hh.shape[-1]
        gates = stepwise(affine(x, w_ih, b_ih + b_hh))
        i, f, g, o = (gate.unbind(-3) for gate in gates.split(hidden, dim=-1))
        i_and_f = gates[..., : 2 * hidden].unbind(-3)
        states = empty_steps(gates, hidden)
        cells, squashed = torch.empty_like(states), torch.empty_like(states)
        multiply, w, initial = addmm(w_hh), w_hh.mT, (h, c)
        steps = zip(gates.unbind(-3), states.unbind(-3), cells.unbind(-3), squashed.unbind(-3), strict=True)
        for t, (gates_t, h_t, c_t, s_t) in enumerate(steps):
            multiply(gates_t, h, w, out=gates_t)
            i_and_f[t].sigmoid_()
            g[t].tanh_()
            o[t].sigmoid_()
            c = torch.mul(f[t], c, out=c_t).addcmul_(i[t], g[t])
            torch.tanh(c, out=s_t)
            h = torch.mul(o[t], s_t, out=h_t)
        if padding is not None:
            states.masked_fill_(padding, 0.0)
            cells.masked_fill_(padding, 0.0)
        ctx.save_for_backward(x, w_ih, w_hh, b_ih, b_hh, *initial, states, cells, gates, squashed)
        ctx.padding, ctx.deltas = padding, deltas
        ctx.set_materialize_grads(False)
        return states, cells

    @staticmethod
    def backward(ctx: Any, direct: Tensor | None, direct_c: Tensor | None) -> Any:
        x, w_ih, w_hh, b_ih, b_hh, initial_h, initial_c, states, cells, gates, squashed = ctx.saved_tensors
        inputs = (x, w_ih, w_hh, b_ih, b_hh, initial_h, initial_c)
        if torch.is_grad_enabled():
            return (*_differentiable(ctx, direct, direct_c, inputs), None, None)
        hidden = w_hh.shape[-1]
        factors, through = _factors(gates, squashed, cells, initial_c)
        gamma = torch.zeros_like(cells) if direct_c is None else empty_steps(direct_c).copy_(direct_c)
        if direct is None:
            direct = torch.zeros_like(states)
        if ctx.padding is not None:
            direct = direct.masked_fill(ctx.padding, 0.0)
            gamma.masked_fill_(ctx.padding, 0.0)
        f = gates[..., hidden : 2 * hidden]
        delta = _through_time(factors, through, f, w_hh, direct, gamma)
        gate_gradients = factors.contiguous()
        if ctx.deltas is not None:
            ctx.deltas.h, ctx.deltas.c = delta, gamma
        needs = ctx.needs_input_grad
        bias = gate_gradients.sum(dim=(-3, -2))
        return (
            input_gradient(gate_gradients, w_ih) if needs[0] else None,
            weight_gradient(gate_gradients, x),
            recurrent_weight_gradient(gate_gradients, states, initial_h),
            bias,
            bias,
            torch.matmul(gate_gradients[..., 0, :, :], w_hh) if needs[5] else None,
            gamma[..., 0, :, :] * f[..., 0, :, :] if needs[6] else None,
            None,
            None,
        )


# torch.compile would unroll the loop over the steps.
_run = torch.compiler.disable(_LSTMKernel.apply)


def _differentiable(
    ctx: Any, direct: Tensor | None, direct_c: Tensor | None, inputs: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """The same gradients as a graph that can be differentiated again, through the reference."""
    x, w_ih, w_hh, b_ih, b_hh, h, c = inputs
    both = reference.lstm(x, Weights(w_ih, w_hh, b_ih, b_hh), (h, c))
    states, cells = (torch.stack(each, dim=-3) for each in both)
    return differentiable_gradients((states, cells), ctx.needs_input_grad, inputs, (direct, direct_c), ctx.padding)


@dataclass(frozen=True)
class LSTMTape:
    """The backward recurrence alone: linear in delta, its factors recomputed from the stored states.

    The state axis holds h and then c: gradients that reach h_t and c_t from after step t and from outside, so that
    what reaches c_t through h_t is not in the second half (`totals` adds it).
    """

    factors: Float[Tensor, "*model time batch gates"]
    """gamma_t (i, f, g) and delta_t (o) times these are the gates' gradients."""
    through: Float[Tensor, "*model time batch hidden"]
    """o (1 - s^2): what of delta_t passes into gamma_t."""
    f: Float[Tensor, "*model time batch hidden"]
    w_ih: Float[Tensor, "*model gates features"]
    w_hh: Float[Tensor, "*model gates hidden"]

    @classmethod
    @torch.no_grad()
    def recompute(
        cls,
        x: Float[Tensor, "*model time batch features"],
        weights: Weights,
        initial: tuple[Tensor, ...],
        states: Float[Tensor, "*model time batch hidden"],
    ) -> "LSTMTape":
        """From the stored states h of a forward pass: all gates in one product each for x and h, then the cells."""
        hidden = states.shape[-1]
        before = torch.cat((initial[0].unsqueeze(-3), states[..., :-1, :, :]), dim=-3)
        gates = affine(before, weights.w_hh, weights.b_hh).add_(affine(x, weights.w_ih, weights.b_ih))
        i, f, g, o = gates.split(hidden, dim=-1)
        gates[..., : 2 * hidden].sigmoid_()
        g.tanh_()
        o.sigmoid_()
        cells = i * g
        c = initial[1]
        for c_t, f_t in zip(cells.unbind(-3), f.unbind(-3), strict=True):
            c = c_t.addcmul_(f_t, c)
        factors, through = _factors(gates, cells.tanh(), cells, initial[1])
        return cls(factors, through, f, weights.w_ih, weights.w_hh)

    def sweep(self, direct: Float[Tensor, "*model time batch state"]) -> tuple[dict[str, Tensor], Tensor]:
        """All steps at once, as the kernel does: dL/dh_t and dL/dc_t by name, and dL/dx_t."""
        direct_h, direct_c = direct.chunk(2, dim=-1)
        gates, gamma = self.factors.clone(), direct_c.clone(memory_format=torch.contiguous_format)
        delta = _through_time(gates, self.through, self.f, self.w_hh, direct_h, gamma)
        return {"h": delta, "c": gamma}, input_gradient(gates, self.w_ih)

    def totals(self, delta: Float[Tensor, "*model time batch state"]) -> dict[str, Tensor]:
        """dL/dh_t and dL/dc_t; the second counts what passes through h_t too."""
        h, c = delta.chunk(2, dim=-1)
        return {"h": h, "c": torch.addcmul(c, h, self.through)}

    def carry(self, t: int, delta: Float[Tensor, "*vectors batch state"]) -> Float[Tensor, "*vectors batch state"]:
        """J_t^T delta_t, what reaches (h, c)_(t-1) through step t; linear, so any leading axes may be added."""
        h, c = delta.chunk(2, dim=-1)
        gamma = torch.addcmul(c, h, self.through.select(-3, t))
        gates = torch.cat((gamma, gamma, gamma, h), dim=-1) * self.factors.select(-3, t)
        return torch.cat((torch.matmul(gates, self.w_hh), gamma * self.f.select(-3, t)), dim=-1)

    def inputs(self, delta: Float[Tensor, "*model time batch state"]) -> Float[Tensor, "*model time batch features"]:
        """dL/dx_t from delta_t."""
        both = self.totals(delta)
        gates = torch.cat((both["c"], both["c"], both["c"], both["h"]), dim=-1) * self.factors
        return input_gradient(gates, self.w_ih)


class LSTM(Stack):
    """Long short-term memory (Hochreiter & Schmidhuber 1997); weights as in ``torch.nn.LSTM``."""

    gates = 4
    states = 2

    @property
    def prefers_fused(self) -> bool:
        """Everywhere: on the CPU it is oneDNN's."""
        return True

    def kernel(
        self, x: Tensor, weights: Weights, initial: States, padding: Tensor | None, deltas: Deltas | None
    ) -> States:
        """All states h and cells c of one layer and direction."""
        h, c = initial
        return lstm(x, weights, (h, c), padding, deltas)

    def fused(self, x: Tensor, weights: Weights, initial: States) -> tuple[Tensor, States]:
        """The same by PyTorch."""
        states, h, c = torch.lstm(x, list(initial), list(weights), True, 1, 0.0, True, False, False)
        return states, (h, c)

    def tape(self, passage: Passage) -> LSTMTape:
        """Its backward recurrence."""
        return LSTMTape.recompute(passage.x, passage.weights, passage.initial, passage.states)
