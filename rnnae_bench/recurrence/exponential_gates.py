"""Exponential gates with a stabiliser: the recurrences of xLSTM's two cells.

Both keep a sum and the sum of its weights, whose quotient is read. An input gate e^i may be of any size, so that both
are kept divided by e^m_t, where m_t = max(log f_t + m_(t-1), i_t): all factors are then at most 1, and no quotient
changes. Since none does, m_t is taken for a constant in gradients.

Source: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter (2024), xLSTM: extended
long short-term memory, NeurIPS.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from rnnae_bench.recurrence.chunks import between_chunks, in_chunks, out_of_chunks

_SMALLEST, _LARGEST = -14.0, 80.0
"""Of the exponent in e^-m: a quotient has at least 1e-6 below the line, and single precision goes to e^88."""

_LEAST = 1e-30
"""Weight below the line of the scalar memory, which is empty at the start; all that is less is nothing."""

Memory = tuple[Float[Tensor, "*axes keys values"], Float[Tensor, "*axes keys"], Float[Tensor, "*axes 1"]]
"""C_t^T, n_t and m_t of the matrix memory."""


def gates(
    i: Float[Tensor, "*axes units"], log_forget: Float[Tensor, "*axes units"], m: Float[Tensor, "*axes units"]
) -> tuple[Float[Tensor, "*axes units"], Float[Tensor, "*axes units"], Float[Tensor, "*axes units"]]:
    """Input gate, forget gate and stabiliser of a step: e^(i - m_t), f e^(m_(t-1) - m_t) and m_t."""
    held = log_forget + m
    m = torch.maximum(held, i).detach()
    return (i - m).exp(), (held - m).exp(), m


def scalar_step(
    i: Float[Tensor, "*axes units"],
    f: Float[Tensor, "*axes units"],
    z: Float[Tensor, "*axes units"],
    o: Float[Tensor, "*axes units"],
    c: Float[Tensor, "*axes units"],
    n: Float[Tensor, "*axes units"],
    m: Float[Tensor, "*axes units"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The scalar memory of sLSTM, from its four preactivations and its state: h_t, c_t, n_t and m_t.

    c_t = sigma(f) c_(t-1) + e^i tanh(z), n_t = sigma(f) n_(t-1) + e^i, h_t = sigma(o) c_t / n_t.
    """
    entering, staying, m = gates(i, logsigmoid(f), m)
    c = staying * c + entering * z.tanh()
    n = staying * n + entering
    return o.sigmoid() * (c / n.clamp(min=_LEAST)), c, n, m


def matrix_step(
    q: Float[Tensor, "*axes keys"],
    k: Float[Tensor, "*axes keys"],
    v: Float[Tensor, "*axes values"],
    i: Float[Tensor, "*axes 1"],
    log_forget: Float[Tensor, "*axes 1"],
    state: Memory,
) -> tuple[Float[Tensor, "*axes values"], Memory]:
    """One step of the matrix memory of mLSTM: h_t and the state.

    C_t = f C_(t-1) + e^i v_t k_t^T, n_t = f n_(t-1) + e^i k_t, h_t = C_t q_t / max(|n_t . q_t|, 1).
    """
    c, n, m = state
    entering, staying, m = gates(i, log_forget, m)
    c = staying.unsqueeze(-1) * c + (entering * k).unsqueeze(-1) * v.unsqueeze(-2)
    n = staying * n + entering * k
    read = (q.unsqueeze(-2) @ torch.cat((c, n.unsqueeze(-1)), dim=-1)).squeeze(-2)
    return _quotient(read, m), (c, n, m)


def matrix_chunked(
    q: Float[Tensor, "*axes time keys"],
    k: Float[Tensor, "*axes time keys"],
    v: Float[Tensor, "*axes time values"],
    i: Float[Tensor, "*axes time 1"],
    log_forget: Float[Tensor, "*axes time 1"],
    state: Memory,
    size: int = 64,
) -> tuple[Float[Tensor, "*axes time values"], Memory]:
    """All steps of `matrix_step` at once: every h_t, and the last state.

    n_t is one more column of C_t^T, of values that are all 1.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        i: The input gate's logarithm.
        log_forget: The forget gate's logarithm, at most 0.
        state: The one before the first step.
        size: Steps of a chunk.
    """
    steps, (c, n, m) = q.shape[-2], state
    size = min(size, steps)
    columns = torch.cat((v, torch.ones_like(v[..., :1])), dim=-1)
    q, k, columns, log_forget = (in_chunks(part, size) for part in (q, k, columns, log_forget))
    i = in_chunks(i, size, fill=-torch.inf)
    since_start = log_forget.cumsum(dim=-2)
    # The logarithm of what is left at step i of what was written at step j.
    left = _causal(since_start - since_start.mT + i.mT)
    # The stabiliser after each chunk, and before it.
    over = since_start[..., -1, 0]
    passed = over.cumsum(dim=-1)
    most = _causal(passed.unsqueeze(-1) - passed.unsqueeze(-2) + left[..., -1, :].amax(-1).unsqueeze(-2))
    m_after = torch.maximum(passed + m, most.amax(-1)).detach()
    m_before = torch.cat((m, m_after[..., :-1]), dim=-1)

    drive = (k * (left[..., -1, :] - m_after.unsqueeze(-1)).exp().unsqueeze(-1)).mT @ columns
    decay = (over + m_before - m_after).exp()[..., None, None].expand_as(drive[..., :1])
    before, after = between_chunks(decay, drive, torch.cat((c, n.unsqueeze(-1)), dim=-1))

    held = since_start + m_before[..., None, None]
    stabiliser = torch.maximum(held, left.amax(-1, keepdim=True)).detach()
    read = (q * (held - stabiliser).exp()) @ before + ((q @ k.mT) * (left - stabiliser).exp()) @ columns
    return out_of_chunks(_quotient(read, stabiliser), steps), (after[..., :-1], after[..., -1], m_after[..., -1:])


def _causal(scores: Float[Tensor, "*axes later earlier"]) -> Float[Tensor, "*axes later earlier"]:
    """Scores of a later step for an earlier one; minus infinity for one that is still to come."""
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, -torch.inf)


def _quotient(read: Float[Tensor, "*axes columns"], m: Float[Tensor, "*axes 1"]) -> Float[Tensor, "*axes values"]:
    """C_t q_t / max(|n_t . q_t|, e^-m), of which the last column of what was read is n_t . q_t."""
    return read[..., :-1] / torch.maximum(read[..., -1:].abs(), (-m).clamp(_SMALLEST, _LARGEST).exp())
