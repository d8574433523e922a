"""Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000).

i, f, o = sigma(.), g = tanh(.), each of W x_t + b + U h_(t-1) + b'; c_t = f * c_(t-1) + i * g, h_t = o * tanh(c_t).

With peepholes (Gers & Schmidhuber 2000) the cell is seen by the gates: i and f add p_i * c_(t-1) and p_f * c_(t-1) to
what sigma is applied to, o adds p_o * c_t.

Backwards, with delta_t = dL/dh_t and gamma_t = dL/dc_t (both total), s = tanh(c_t):
gamma_t = dL/dc_t from outside + delta_t * o(1-s^2) + gamma_(t+1) * f_(t+1);
d_i = gamma * g i(1-i), d_f = gamma * c_(t-1) f(1-f), d_g = gamma * i(1-g^2), d_o = delta * s o(1-o);
delta_(t-1) = dL/dy_(t-1) + U^T (d_i, d_f, d_g, d_o).
With peepholes gamma_t also gets d_o p_o of its own step, and d_i p_i + d_f p_f of the next: these are multiples of
delta_t and gamma_(t+1), as what they are added to.
"""

from dataclasses import dataclass
from typing import Any, Literal

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
from rnnae_bench.recurrence.reference import Weights
from rnnae_bench.recurrence.second_order import differentiable_gradients
from rnnae_bench.recurrence.stack import Stack, States

Forget = Literal["gate", "coupled", "none"]
"""What the cell keeps of itself: f of a gate of its own, f = 1 - i, or all (f = 1)."""

OPEN = 40.0
"""A gate's bias at which sigma is 1, in double precision too."""


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
        weights: As in ``torch.nn.LSTM``: gates in the order i, f, g, o; and peepholes, or None.
        initial: h_0 and c_0.
        padding: Steps that don't exist, at the end of a sequence; their states and cells come out as zero. `x` must
            be finite there too.
        deltas: Takes dL/dh_t and dL/dc_t when the backward pass has come by.
    """
    states, cells = _run(x, *weights[:4], *initial, weights.peepholes, padding, deltas)
    return states, cells


def _split(peepholes: Float[Tensor, "*model three_hidden"]) -> tuple[Tensor, Tensor, Tensor]:
    """p_i, p_f and p_o, ``[*model 1 hidden]``."""
    p_i, p_f, p_o = peepholes.unsqueeze(-2).chunk(3, dim=-1)
    return p_i, p_f, p_o


def _factors(
    gates: Tensor, squashed: Tensor, cells: Tensor, initial: Tensor, peepholes: Tensor | None
) -> tuple[
    Float[Tensor, "*model time batch gates"],
    Float[Tensor, "*model time batch hidden"],
    Float[Tensor, "*model time batch hidden"],
]:
    """What gamma_t (for i, f, g) and delta_t (for o) are multiplied with to give the gates' gradients.

    And what delta_t is multiplied with to go into gamma_t, o(1-s^2), and gamma_t to go into gamma_(t-1), f; with
    peepholes d_o / delta_t * p_o and (d_i p_i + d_f p_f) / gamma_t more.
    """
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
    through = (1 - squashed * squashed).mul_(o)
    if peepholes is None:
        return factors, through, f
    p_i, p_f, p_o = (one.unsqueeze(-3) for one in _split(peepholes))
    return factors, through.addcmul_(f_o, p_o), torch.addcmul(f, f_i, p_i).addcmul_(f_f, p_f)


def _through_time(
    factors: Tensor, through: Tensor, kept: Tensor, w_hh: Tensor, direct: Tensor, gamma: Tensor
) -> Tensor:
    """All delta_t by the backward recurrence; in place, `factors` become the gates' gradients and `gamma` gamma_t.

    Args:
        factors: See `_factors`.
        through: What of delta_t passes into gamma_t.
        kept: What of gamma_t passes into gamma_(t-1).
        w_hh: U.
        direct: dL/dy_t.
        gamma: dL/dc_t from outside.
    """
    multiply, hidden = addmm(w_hh), w_hh.shape[-1]
    delta = empty_steps(direct)
    delta_t, gamma_t, direct_t, through_t, kept_t = (one.unbind(-3) for one in (delta, gamma, direct, through, kept))
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
            gamma_t[t - 1].addcmul_(gamma_t[t], kept_t[t])
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
        peepholes: Tensor | None,
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
        p_i, p_f, p_o = (None,) * 3 if peepholes is None else _split(peepholes)
        steps = zip(gates.unbind(-3), states.unbind(-3), cells.unbind(-3), squashed.unbind(-3), strict=True)
        for t, (gates_t, h_t, c_t, s_t) in enumerate(steps):
            multiply(gates_t, h, w, out=gates_t)
            if p_i is not None and p_f is not None:
                i[t].addcmul_(p_i, c)
                f[t].addcmul_(p_f, c)
            i_and_f[t].sigmoid_()
            g[t].tanh_()
            c = torch.mul(f[t], c, out=c_t).addcmul_(i[t], g[t])
            if p_o is not None:
                o[t].addcmul_(p_o, c)
            o[t].sigmoid_()
            torch.tanh(c, out=s_t)
            h = torch.mul(o[t], s_t, out=h_t)
        if padding is not None:
            states.masked_fill_(padding, 0.0)
            cells.masked_fill_(padding, 0.0)
        ctx.save_for_backward(x, w_ih, w_hh, b_ih, b_hh, *initial, states, cells, gates, squashed, peepholes)
        ctx.padding, ctx.deltas = padding, deltas
        ctx.set_materialize_grads(False)
        return states, cells

    @staticmethod
    def backward(ctx: Any, direct: Tensor | None, direct_c: Tensor | None) -> Any:
        x, w_ih, w_hh, b_ih, b_hh, initial_h, initial_c, states, cells, gates, squashed, peepholes = ctx.saved_tensors
        inputs = (x, w_ih, w_hh, b_ih, b_hh, initial_h, initial_c, peepholes)
        if torch.is_grad_enabled():
            return (*_differentiable(ctx, direct, direct_c, inputs), None, None)
        factors, through, kept = _factors(gates, squashed, cells, initial_c, peepholes)
        gamma = torch.zeros_like(cells) if direct_c is None else empty_steps(direct_c).copy_(direct_c)
        if direct is None:
            direct = torch.zeros_like(states)
        if ctx.padding is not None:
            direct = direct.masked_fill(ctx.padding, 0.0)
            gamma.masked_fill_(ctx.padding, 0.0)
        delta = _through_time(factors, through, kept, w_hh, direct, gamma)
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
            gamma[..., 0, :, :] * kept[..., 0, :, :] if needs[6] else None,
            _peephole_gradient(gate_gradients, cells, initial_c) if needs[7] else None,
            None,
            None,
        )


def _peephole_gradient(gates: Tensor, cells: Tensor, initial: Tensor) -> Float[Tensor, "*model three_hidden"]:
    """The sums over steps and batch of d_i * c_(t-1), d_f * c_(t-1) and d_o * c_t."""
    i, f, _, o = gates.split(cells.shape[-1], dim=-1)
    before = torch.cat((initial.unsqueeze(-3), cells[..., :-1, :, :]), dim=-3)
    return torch.cat([(d * c).sum(dim=(-3, -2)) for d, c in ((i, before), (f, before), (o, cells))], dim=-1)


# torch.compile would unroll the loop over the steps.
_run = torch.compiler.disable(_LSTMKernel.apply)


def _differentiable(
    ctx: Any, direct: Tensor | None, direct_c: Tensor | None, inputs: tuple[Any, ...]
) -> tuple[Tensor | None, ...]:
    """The same gradients as a graph that can be differentiated again, through the reference."""
    x, w_ih, w_hh, b_ih, b_hh, h, c, peepholes = inputs
    both = reference.lstm(x, Weights(w_ih, w_hh, b_ih, b_hh, peepholes), (h, c))
    states, cells = (torch.stack(each, dim=-3) for each in both)
    return differentiable_gradients((states, cells), ctx.needs_input_grad, inputs, (direct, direct_c), ctx.padding)


def _gates(
    x: Float[Tensor, "*model time batch features"],
    weights: Weights,
    initial: tuple[Tensor, ...],
    states: Float[Tensor, "*model time batch hidden"],
) -> tuple[Float[Tensor, "*model time batch gates"], Float[Tensor, "*model time batch hidden"]]:
    """From the stored states h of a forward pass: i, f, g and o side by side, and the cells."""
    hidden = states.shape[-1]
    before = torch.cat((initial[0].unsqueeze(-3), states[..., :-1, :, :]), dim=-3)
    gates = affine(before, weights.w_hh, weights.b_hh).add_(affine(x, weights.w_ih, weights.b_ih))
    i, f, g, o = gates.split(hidden, dim=-1)
    g.tanh_()
    c = initial[1]
    if weights.peepholes is None:
        gates[..., : 2 * hidden].sigmoid_()
        cells = i * g
        for c_t, f_t in zip(cells.unbind(-3), f.unbind(-3), strict=True):
            c = c_t.addcmul_(f_t, c)
    else:
        p_i, p_f, p_o = _split(weights.peepholes)
        cells = torch.empty_like(states)
        for c_t, i_t, f_t, g_t in zip(*(one.unbind(-3) for one in (cells, i, f, g)), strict=True):
            i_t.addcmul_(p_i, c).sigmoid_()
            f_t.addcmul_(p_f, c).sigmoid_()
            c = torch.mul(f_t, c, out=c_t).addcmul_(i_t, g_t)
        o.addcmul_(p_o.unsqueeze(-3), cells)
    o.sigmoid_()
    return gates, cells


@dataclass(frozen=True)
class LSTMTape:
    """The backward recurrence alone: linear in delta, its factors recomputed from the stored states.

    The state axis holds h and then c: gradients that reach h_t and c_t from after step t and from outside, so that
    what reaches c_t through h_t is not in the second half (`totals` adds it).
    """

    factors: Float[Tensor, "*model time batch gates"]
    """gamma_t (i, f, g) and delta_t (o) times these are the gates' gradients."""
    through: Float[Tensor, "*model time batch hidden"]
    """What of delta_t passes into gamma_t: without peepholes o (1 - s^2)."""
    kept: Float[Tensor, "*model time batch hidden"]
    """What of gamma_t passes into gamma_(t-1): without peepholes f."""
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
        gates, cells = _gates(x, weights, initial, states)
        factors, through, kept = _factors(gates, cells.tanh(), cells, initial[1], weights.peepholes)
        return cls(factors, through, kept, weights.w_ih, weights.w_hh)

    def sweep(self, direct: Float[Tensor, "*model time batch state"]) -> tuple[dict[str, Tensor], Tensor]:
        """All steps at once, as the kernel does: dL/dh_t and dL/dc_t by name, and dL/dx_t."""
        direct_h, direct_c = direct.chunk(2, dim=-1)
        gates, gamma = self.factors.clone(), direct_c.clone(memory_format=torch.contiguous_format)
        delta = _through_time(gates, self.through, self.kept, self.w_hh, direct_h, gamma)
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
        return torch.cat((torch.matmul(gates, self.w_hh), gamma * self.kept.select(-3, t)), dim=-1)

    def inputs(self, delta: Float[Tensor, "*model time batch state"]) -> Float[Tensor, "*model time batch features"]:
        """dL/dx_t from delta_t."""
        both = self.totals(delta)
        gates = torch.cat((both["c"], both["c"], both["c"], both["h"]), dim=-1) * self.factors
        return input_gradient(gates, self.w_ih)


class LSTM(Stack):
    """Long short-term memory (Hochreiter & Schmidhuber 1997); weights as in ``torch.nn.LSTM``.

    With `forget` other than ``gate`` there are three gates: (f, g, o) where i = 1 - f, (i, g, o) where f = 1. Their
    weights are those of four gates that are tied or fixed, and so go through the same kernel: sigma(-a) = 1 - sigma(a).

    Args:
        input_size: Features of the inputs.
        hidden_size: Numbers in the state h of one layer and direction.
        forget: What the cell keeps of itself.
        peepholes: Whether the gates see the cell (Gers & Schmidhuber 2000); PyTorch has no fused recurrence then.
        options: As of `Stack`.
    """

    gate_names = ("i", "f", "g", "o")
    keeping_gate = "f"
    states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget: Forget = "gate",
        peepholes: bool = False,
        **options: object,
    ) -> None:
        require_choice(("gate", "coupled", "none"), forget=forget)
        self.forget, self.peepholes = forget, peepholes
        # A cell that forgets nothing adds up what is written, each time little beside what there is.
        super().__init__(input_size, hidden_size, in_full=forget == "none", **options)  # type: ignore[arg-type]
        if self.backend == "fused" and peepholes:
            raise UserError("PyTorch has no fused recurrence with peepholes; use backend 'kernel'")
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if name.startswith("peephole"):
                    weight.zero_()

    @property
    def prefers_fused(self) -> bool:
        """Everywhere, but for peepholes: on the CPU it is oneDNN's."""
        return not self.peepholes

    def shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        """As `Stack.shapes`, of the gates that there are, and the peepholes."""
        found = super().shapes(features)
        if self.forget != "gate":
            found = {kind: (3 * self.hidden_size, *shape[1:]) for kind, shape in found.items()}
        seen = 3 if self.forget == "gate" else 2
        return found | ({"peephole": (seen * self.hidden_size,)} if self.peepholes else {})

    def weights_of(self, name: str) -> Weights:
        """As `Stack.weights_of`, always of four gates."""
        w_ih, w_hh, b_ih, b_hh, _ = super().weights_of(name)
        seen = self.own_weights(name).get("peephole")
        if self.forget == "gate":
            return Weights(w_ih, w_hh, b_ih, b_hh, seen)
        constant = OPEN if self.forget == "none" else 0.0
        return Weights(
            self._four(w_ih, -2),
            self._four(w_hh, -2),
            self._four(b_ih, -1, constant),
            self._four(b_hh, -1),
            None if seen is None else self._seen_by_three(seen),
        )

    def _four(self, weight: Tensor, along: int, constant: float = 0.0) -> Tensor:
        """The rows of four gates from those of three; `constant` where a gate has no weights."""
        first, g, o = weight.chunk(3, dim=along)
        if self.forget == "coupled":
            return torch.cat((-first, first, g, o), dim=along)
        return torch.cat((first, torch.full_like(first, constant), g, o), dim=along)

    def _seen_by_three(self, peepholes: Tensor) -> Tensor:
        first, o = peepholes.chunk(2, dim=-1)
        pair = (-first, first) if self.forget == "coupled" else (first, torch.zeros_like(first))
        return torch.cat((*pair, o), dim=-1)

    def kernel(
        self, x: Tensor, weights: Weights, initial: States, padding: Tensor | None, deltas: Deltas | None
    ) -> States:
        """All states h and cells c of one layer and direction."""
        h, c = initial
        return lstm(x, weights, (h, c), padding, deltas)

    def fused(self, x: Tensor, weights: Weights, initial: States) -> tuple[Tensor, States]:
        """The same by PyTorch."""
        states, h, c = torch.lstm(x, list(initial), list(weights[:4]), True, 1, 0.0, True, False, False)
        return states, (h, c)

    def tape(self, passage: Passage) -> LSTMTape:
        """Its backward recurrence."""
        return LSTMTape.recompute(passage.x, passage.weights, passage.initial, passage.states)

    def gates(self, passage: Passage) -> dict[str, Tensor]:
        """i, f and o."""
        i, f, _, o = _gates(passage.x, passage.weights, passage.initial, passage.states)[0].chunk(4, dim=-1)
        return {"i": i, "f": f, "o": o}
