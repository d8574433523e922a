"""The gated recurrent unit as first published (Cho et al. 2014): the reset gate before the matrix product.

r, z = sigma(W x_t + b + U h_(t-1) + b'), n = tanh(W x_t + b + U (r * h_(t-1)) + b'), h_t = (1 - z) * n + z * h_(t-1).

Backwards, with delta_t = dL/dh_t: d_n = delta * (1-z)(1-n^2), v = U_n^T d_n is what reaches r * h_(t-1);
d_r = v * h_(t-1) r(1-r); d_z = delta * (h_(t-1) - n) z(1-z);
delta_(t-1) = dL/dy_(t-1) + delta_t * z + v * r + U_r^T d_r + U_z^T d_z.

A step has two matrix products, one after the other, where the form of PyTorch (`rnnae_bench.recurrence.gru`) has one.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnae_bench.errors import UserError
from rnnae_bench.recurrence import reference
from rnnae_bench.recurrence.deltas import Deltas
from rnnae_bench.recurrence.gru import GRU
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
from rnnae_bench.recurrence.stack import States


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


def _preceding(states: Tensor, initial: Tensor) -> Float[Tensor, "*model time batch hidden"]:
    """h_(t-1) for every t."""
    return torch.cat((initial.unsqueeze(-3), states[..., :-1, :, :]), dim=-3)


@dataclass(frozen=True)
class ResetBeforeTape:
    """The backward recurrence alone: linear in delta, its factors taken from the gates of a forward pass."""

    f_r: Float[Tensor, "*model time batch hidden"]
    """v times these is d_r."""
    f_z: Float[Tensor, "*model time batch hidden"]
    """delta_t times these is d_z."""
    f_n: Float[Tensor, "*model time batch hidden"]
    """delta_t times these is d_n."""
    r: Float[Tensor, "*model time batch hidden"]
    z: Float[Tensor, "*model time batch hidden"]
    w_ih: Float[Tensor, "*model gates features"]
    w_hh: Float[Tensor, "*model gates hidden"]

    @classmethod
    def of(cls, rz: Tensor, n: Tensor, before: Tensor, w_ih: Tensor, w_hh: Tensor) -> "ResetBeforeTape":
        """From the gates, r and z side by side, and h_(t-1)."""
        r, z = rz.chunk(2, dim=-1)
        f_z = (before - n).mul_(z).mul_(1 - z)
        return cls((before * r).mul_(1 - r), f_z, (1 - n * n).mul_(1 - z), r, z, w_ih, w_hh)

    @classmethod
    @torch.no_grad()
    def recompute(
        cls,
        x: Float[Tensor, "*model time batch features"],
        weights: Weights,
        initial: tuple[Tensor, ...],
        states: Float[Tensor, "*model time batch hidden"],
    ) -> "ResetBeforeTape":
        """From the stored states of a forward pass: all steps in one product each."""
        hidden = states.shape[-1]
        before, split = _preceding(states, initial[0]), (2 * hidden, hidden)
        for_rz, for_n = affine(x, weights.w_ih, weights.b_ih + weights.b_hh).split(split, dim=-1)
        w_rz, w_n = weights.w_hh.split(split, dim=-2)
        rz = (for_rz + input_gradient(before, w_rz.mT)).sigmoid_()
        n = (for_n + input_gradient(rz[..., :hidden] * before, w_n.mT)).tanh_()
        return cls.of(rz, n, before, weights.w_ih, weights.w_hh)

    def step(self, t: int, delta: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(d_r, d_z, d_n) side by side, into `out` where it is given, and what reaches h_(t-1) through step t."""
        hidden = delta.shape[-1]
        w_rz, w_n = self.w_hh.split((2 * hidden, hidden), dim=-2)
        d_n = delta * self.f_n.select(-3, t)
        v = torch.matmul(d_n, w_n)
        gates = torch.cat((v * self.f_r.select(-3, t), delta * self.f_z.select(-3, t), d_n), dim=-1)
        reached = torch.matmul(gates[..., : 2 * hidden], w_rz)
        reached.addcmul_(delta, self.z.select(-3, t)).addcmul_(v, self.r.select(-3, t))
        if out is not None:
            out.copy_(gates)
        return gates, reached

    def through_time(self, direct: Float[Tensor, "*model time batch state"]) -> tuple[Tensor, Tensor, Tensor]:
        """All delta_t, all (d_r, d_z, d_n), and dL/dh_0."""
        delta, gates = empty_steps(direct), empty_steps(direct, 3 * direct.shape[-1])
        reached = torch.zeros_like(direct[..., 0, :, :])
        for t in range(direct.shape[-3] - 1, -1, -1):
            here = torch.add(direct.select(-3, t), reached, out=delta.select(-3, t))
            _, reached = self.step(t, here, gates.select(-3, t))
        return delta, gates, reached

    def sweep(self, direct: Float[Tensor, "*model time batch state"]) -> tuple[dict[str, Tensor], Tensor]:
        """All steps at once, as the kernel does: dL/dh_t by its name, and dL/dx_t."""
        delta, gates, _ = self.through_time(direct)
        return {"h": delta}, input_gradient(gates, self.w_ih)

    def totals(self, delta: Float[Tensor, "*model time batch state"]) -> dict[str, Tensor]:
        """dL/dh_t, by its name."""
        return {"h": delta}

    def carry(self, t: int, delta: Float[Tensor, "*vectors batch state"]) -> Float[Tensor, "*vectors batch state"]:
        """J_t^T delta_t, what reaches h_(t-1) through step t; linear in delta, so any leading axes may be added."""
        return self.step(t, delta)[1]

    def inputs(self, delta: Float[Tensor, "*model time batch state"]) -> Float[Tensor, "*model time batch features"]:
        """dL/dx_t from delta_t."""
        d_n = delta * self.f_n
        v = input_gradient(d_n, self.w_hh[..., 2 * delta.shape[-1] :, :])
        return input_gradient(torch.cat((v * self.f_r, delta * self.f_z, d_n), dim=-1), self.w_ih)


class _ResetBeforeKernel(torch.autograd.Function):
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
        hidden, bias = w_hh.shape[-1], b_ih + b_hh
        split = (2 * hidden, hidden)
        # Apart, so that each of the two products of a step lands in one piece of memory.
        rz, n = (
            stepwise(affine(x, *both))
            for both in zip(w_ih.split(split, dim=-2), bias.split(split, dim=-1), strict=True)
        )
        states = torch.empty_like(n)
        multiply, (w_rz, w_n) = addmm(w_hh), (part.mT for part in w_hh.split(split, dim=-2))
        h = initial
        for rz_t, r_t, z_t, n_t, h_t in zip(
            rz.unbind(-3),
            rz[..., :hidden].unbind(-3),
            rz[..., hidden:].unbind(-3),
            n.unbind(-3),
            states.unbind(-3),
            strict=True,
        ):
            multiply(rz_t, h, w_rz, out=rz_t)
            rz_t.sigmoid_()
            multiply(n_t, r_t * h, w_n, out=n_t)
            n_t.tanh_()
            h = torch.lerp(n_t, h, z_t, out=h_t)
        if padding is not None:
            states.masked_fill_(padding, 0.0)
        ctx.save_for_backward(x, w_ih, w_hh, b_ih, b_hh, initial, states, rz, n)
        ctx.padding, ctx.deltas = padding, deltas
        return states

    @staticmethod
    def backward(ctx: Any, direct: Tensor) -> Any:
        x, w_ih, w_hh, b_ih, b_hh, initial, states, rz, n = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_differentiable(ctx, direct, (x, w_ih, w_hh, b_ih, b_hh, initial)), None, None)
        if ctx.padding is not None:
            direct = direct.masked_fill(ctx.padding, 0.0)
        hidden, before = w_hh.shape[-1], _preceding(states, initial)
        delta, gates, reached = ResetBeforeTape.of(rz, n, before, w_ih, w_hh).through_time(direct)
        if ctx.deltas is not None:
            ctx.deltas.h = delta
        gates = gates.contiguous()
        bias = gates.sum(dim=(-3, -2))
        recurrent = (
            recurrent_weight_gradient(gates[..., : 2 * hidden], states, initial),
            weight_gradient(gates[..., 2 * hidden :], rz[..., :hidden] * before),
        )
        needs = ctx.needs_input_grad
        return (
            input_gradient(gates, w_ih) if needs[0] else None,
            weight_gradient(gates, x),
            torch.cat(recurrent, dim=-2),
            bias,
            bias,
            reached if needs[5] else None,
            None,
            None,
        )


# torch.compile would unroll the loop over the steps.
_run = torch.compiler.disable(_ResetBeforeKernel.apply)


def _differentiable(ctx: Any, direct: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """The same gradients as a graph that can be differentiated again, through the reference."""
    x, w_ih, w_hh, b_ih, b_hh, initial = inputs
    states = torch.stack(reference.gru(x, Weights(w_ih, w_hh, b_ih, b_hh), initial, "before"), dim=-3)
    return differentiable_gradients((states,), ctx.needs_input_grad, inputs, (direct,), ctx.padding)


class ResetBeforeGRU(GRU):
    """Gated recurrent unit (Cho et al. 2014) with the reset gate before the product; weights as in ``torch.nn.GRU``."""

    @property
    def prefers_fused(self) -> bool:
        """Nowhere: PyTorch has the other form alone."""
        return False

    def kernel(
        self, x: Tensor, weights: Weights, initial: States, padding: Tensor | None, deltas: Deltas | None
    ) -> States:
        """All states of one layer and direction."""
        return (gru(x, weights, initial[0], padding, deltas),)

    def fused(self, x: Tensor, weights: Weights, initial: States) -> tuple[Tensor, States]:
        """Refused."""
        raise UserError("PyTorch has no fused GRU with the reset gate before the product; use backend 'kernel'")

    def tape(self, passage: Passage) -> ResetBeforeTape:  # type: ignore[override]
        """Its backward recurrence."""
        return ResetBeforeTape.recompute(passage.x, passage.weights, passage.initial, passage.states)
