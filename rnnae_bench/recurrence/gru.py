"""The gated recurrent unit (Cho et al. 2014), in PyTorch's form: the reset gate after the matrix product.

r, z = sigma(W x_t + b + U h_(t-1) + b'), n = tanh(W x_t + b + r * q), q = U h_(t-1) + b',
h_t = (1 - z) * n + z * h_(t-1).

Backwards, every gate's gradient is delta_t = dL/dh_t times a factor that the forward pass fixed:
d_n = delta * (1-z)(1-n^2) for W's rows, d_n * r for U's; d_r = d_n * q r(1-r); d_z = delta * (h_(t-1) - n) z(1-z);
delta_(t-1) = dL/dy_(t-1) + delta_t * z + U^T (d_r, d_z, d_n * r).
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


def gru(
    x: Float[Tensor, "*model time batch features"],
    weights: Weights,
    initial: Float[Tensor, "*model batch hidden"],
    padding: Bool[Tensor, "*model time batch 1"] | None = None,
    deltas: Deltas | None = None,
) -> Float[Tensor, "*model time batch hidden"]:
    """The states of all steps.

    Args:
        x: Inputs.
        weights: As in ``torch.nn.GRU``: gates in the order r, z, n.
        initial: h_0.
        padding: Steps that don't exist, at the end of a sequence; their states come out as zero. `x` must
            be finite there too.
        deltas: Takes dL/dh_t when the backward pass has come by.
    """
    states: Tensor = _run(x, *weights[:4], initial, padding, deltas)
    return states


def _factors(
    rz: Tensor, n: Tensor, q: Tensor, states: Tensor, initial: Tensor
) -> tuple[Float[Tensor, "*model time batch gates"], Float[Tensor, "*model time batch hidden"]]:
    """What delta_t is multiplied with to give (d_r, d_z, d_n * r), stacked, and d_n."""
    hidden = n.shape[-1]
    r, z = rz[..., :hidden], rz[..., hidden:]
    factors = empty_steps(n, 3 * hidden)
    f_r, f_z, f_n = factors.split(hidden, dim=-1)
    through = (1 - n * n).mul_(1 - z)
    torch.mul(through, r, out=f_n)
    torch.mul(f_n, q, out=f_r)
    f_r.mul_(1 - r)
    torch.sub(initial, n[..., 0, :, :], out=f_z[..., 0, :, :])
    torch.sub(states[..., :-1, :, :], n[..., 1:, :, :], out=f_z[..., 1:, :, :])
    f_z.mul_(z).mul_(1 - z)
    return factors, through


def _through_time(factors: Tensor, z: Tensor, w_hh: Tensor, direct: Tensor) -> Tensor:
    """All delta_t by the backward recurrence; `factors` become the gates' gradients, in place."""
    multiply = addmm(w_hh)
    delta = empty_steps(direct)
    delta_t, direct_t, z_t = delta.unbind(-3), direct.unbind(-3), z.unbind(-3)
    flat_t, split_t = factors.unbind(-3), factors.unflatten(-1, (3, delta.shape[-1])).unbind(-4)
    spread_t = delta.unsqueeze(-2).unbind(-4)
    delta_t[-1].copy_(direct_t[-1])
    for t in range(len(delta_t) - 1, 0, -1):
        split_t[t].mul_(spread_t[t])
        multiply(direct_t[t - 1], flat_t[t], w_hh, out=delta_t[t - 1]).addcmul_(delta_t[t], z_t[t])
    split_t[0].mul_(spread_t[0])
    return delta


class _GRUKernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        initial: Tensor,
        padding: Tensor | None,
        deltas: Deltas | None,
    ) -> Tensor:
        hidden = w_hh.shape[-1]
        gates = stepwise(affine(x, w_ih, b_ih))
        n = empty_steps(gates, hidden).copy_(gates[..., 2 * hidden :])
        # The recurrent product lands on the gates: r and z are then complete, and the last third is q.
        recurrent_bias = b_hh[..., None, None, :]
        gates[..., : 2 * hidden] += recurrent_bias[..., : 2 * hidden]
        gates[..., 2 * hidden :] = recurrent_bias[..., 2 * hidden :]
        rz, q = gates[..., : 2 * hidden], gates[..., 2 * hidden :]
        states = torch.empty_like(n)
        multiply, w = addmm(w_hh), w_hh.mT
        h = initial
        for gates_t, rz_t, r_t, z_t, q_t, n_t, h_t in zip(
            gates.unbind(-3),
            rz.unbind(-3),
            rz[..., :hidden].unbind(-3),
            rz[..., hidden:].unbind(-3),
            q.unbind(-3),
            n.unbind(-3),
            states.unbind(-3),
            strict=True,
        ):
            multiply(gates_t, h, w, out=gates_t)
            rz_t.sigmoid_()
            n_t.addcmul_(r_t, q_t).tanh_()
            h = torch.lerp(n_t, h, z_t, out=h_t)
        if padding is not None:
            states.masked_fill_(padding, 0.0)
        ctx.save_for_backward(x, w_ih, w_hh, b_ih, b_hh, initial, states, gates, n)
        ctx.padding, ctx.deltas = padding, deltas
        return states

    @staticmethod
    def backward(ctx: Any, direct: Tensor) -> Any:
        x, w_ih, w_hh, b_ih, b_hh, initial, states, gates, n = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_differentiable(ctx, direct, (x, w_ih, w_hh, b_ih, b_hh, initial)), None, None)
        if ctx.padding is not None:
            direct = direct.masked_fill(ctx.padding, 0.0)
        hidden = w_hh.shape[-1]
        rz, q = gates[..., : 2 * hidden], gates[..., 2 * hidden :]
        factors, through = _factors(rz, n, q, states, initial)
        delta = _through_time(factors, rz[..., hidden:], w_hh, direct)
        gate_gradients = factors.contiguous()
        if ctx.deltas is not None:
            ctx.deltas.h = delta
        needs = ctx.needs_input_grad
        initial_gradient = None
        if needs[5]:
            first = (..., 0, slice(None), slice(None))
            initial_gradient = torch.matmul(gate_gradients[first], w_hh).addcmul_(delta[first], rz[first][..., hidden:])
        recurrent = recurrent_weight_gradient(gate_gradients, states, initial)
        recurrent_bias = gate_gradients.sum(dim=(-3, -2))
        torch.mul(delta, through, out=gate_gradients[..., 2 * hidden :])
        return (
            input_gradient(gate_gradients, w_ih) if needs[0] else None,
            weight_gradient(gate_gradients, x),
            recurrent,
            gate_gradients.sum(dim=(-3, -2)),
            recurrent_bias,
            initial_gradient,
            None,
            None,
        )


# torch.compile would unroll the loop over the steps.
_run = torch.compiler.disable(_GRUKernel.apply)


def _differentiable(ctx: Any, direct: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """The same gradients as a graph that can be differentiated again, through the reference."""
    x, w_ih, w_hh, b_ih, b_hh, initial = inputs
    states = torch.stack(reference.gru(x, Weights(w_ih, w_hh, b_ih, b_hh), initial), dim=-3)
    return differentiable_gradients((states,), ctx.needs_input_grad, inputs, (direct,), ctx.padding)


@dataclass(frozen=True)
class GRUTape:
    """The backward recurrence alone: linear in delta, its factors recomputed from the stored states."""

    factors: Float[Tensor, "*model time batch gates"]
    """delta_t times these are (d_r, d_z, d_n * r)."""
    through: Float[Tensor, "*model time batch hidden"]
    """delta_t times these is d_n."""
    z: Float[Tensor, "*model time batch hidden"]
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
    ) -> "GRUTape":
        """From the stored states of a forward pass: all gates in one product each for x and h."""
        hidden = states.shape[-1]
        before = torch.cat((initial[0].unsqueeze(-3), states[..., :-1, :, :]), dim=-3)
        gates = affine(before, weights.w_hh, weights.b_hh)
        from_input = affine(x, weights.w_ih, weights.b_ih)
        q = gates[..., 2 * hidden :]
        rz = (gates[..., : 2 * hidden] + from_input[..., : 2 * hidden]).sigmoid_()
        n = from_input[..., 2 * hidden :].addcmul_(rz[..., :hidden], q).tanh_()
        factors, through = _factors(rz, n, q, states, initial[0])
        return cls(factors, through, rz[..., hidden:], weights.w_ih, weights.w_hh)

    def sweep(self, direct: Float[Tensor, "*model time batch state"]) -> tuple[dict[str, Tensor], Tensor]:
        """All steps at once, as the kernel does: dL/dh_t by its name, and dL/dx_t."""
        gates = self.factors.clone()
        delta = _through_time(gates, self.z, self.w_hh, direct)
        torch.mul(delta, self.through, out=gates[..., 2 * delta.shape[-1] :])
        return {"h": delta}, input_gradient(gates, self.w_ih)

    def totals(self, delta: Float[Tensor, "*model time batch state"]) -> dict[str, Tensor]:
        """dL/dh_t, by its name."""
        return {"h": delta}

    def carry(self, t: int, delta: Float[Tensor, "*vectors batch state"]) -> Float[Tensor, "*vectors batch state"]:
        """J_t^T delta_t, what reaches h_(t-1) through step t; linear in delta, so any leading axes may be added."""
        gates = torch.cat((delta, delta, delta), dim=-1) * self.factors.select(-3, t)
        return torch.matmul(gates, self.w_hh).addcmul_(delta, self.z.select(-3, t))

    def inputs(self, delta: Float[Tensor, "*model time batch state"]) -> Float[Tensor, "*model time batch features"]:
        """dL/dx_t from delta_t."""
        hidden = delta.shape[-1]
        r_and_z = torch.cat((delta, delta), dim=-1) * self.factors[..., : 2 * hidden]
        return input_gradient(torch.cat((r_and_z, delta * self.through), dim=-1), self.w_ih)


class GRU(Stack):
    """Gated recurrent unit (Cho et al. 2014); weights as in ``torch.nn.GRU``."""

    gate_names = ("r", "z", "n")
    keeping_gate = "z"

    def kernel(
        self, x: Tensor, weights: Weights, initial: States, padding: Tensor | None, deltas: Deltas | None
    ) -> States:
        """All states of one layer and direction."""
        return (gru(x, weights, initial[0], padding, deltas),)

    def fused(self, x: Tensor, weights: Weights, initial: States) -> tuple[Tensor, States]:
        """The same by PyTorch."""
        states, final = torch.gru(x, initial[0], list(weights[:4]), True, 1, 0.0, True, False, False)
        return states, (final,)

    def tape(self, passage: Passage) -> GRUTape:
        """Its backward recurrence."""
        return GRUTape.recompute(passage.x, passage.weights, passage.initial, passage.states)

    def gates(self, passage: Passage) -> dict[str, Tensor]:
        """r and z."""
        before = torch.cat((passage.initial[0].unsqueeze(-3), passage.states[..., :-1, :, :]), dim=-3)
        w_ih, w_hh, b_ih, b_hh, _ = passage.weights
        size = 2 * self.hidden_size
        both = affine(passage.x, w_ih[..., :size, :], b_ih[..., :size])
        both += affine(before, w_hh[..., :size, :], b_hh[..., :size])
        r, z = both.sigmoid_().chunk(2, dim=-1)
        return {"r": r, "z": z}
