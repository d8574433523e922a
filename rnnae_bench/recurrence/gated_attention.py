"""Gated linear attention: a matrix of keys and values whose rows decay, each at its own rate.

    S_t = diag(alpha_t) S_(t-1) + k_t v_t^T,    o_t = S_t^T q_t.

Source: Yang, Wang, Shen, Panda & Kim (2024), Gated linear attention transformers with hardware-efficient training,
ICML.
"""

from jaxtyping import Float
from torch import Tensor

from rnnae_bench.recurrence.chunks import between_chunks, in_chunks, out_of_chunks

STEEPEST = -10.0
"""The smallest log decay of a step that `chunked` can take: over half a chunk of it, single precision overflows not."""

_SIZE = 16
"""Steps of a chunk; exp(8 * 10) is below the largest number of single precision."""


def step(
    q: Float[Tensor, "*axes keys"],
    k: Float[Tensor, "*axes keys"],
    v: Float[Tensor, "*axes values"],
    log_decay: Float[Tensor, "*axes keys"],
    state: Float[Tensor, "*axes keys values"],
) -> tuple[Float[Tensor, "*axes values"], Float[Tensor, "*axes keys values"]]:
    """One step: o_t and S_t."""
    state = log_decay.exp().unsqueeze(-1) * state + k.unsqueeze(-1) * v.unsqueeze(-2)
    return (q.unsqueeze(-2) @ state).squeeze(-2), state


def chunked(
    q: Float[Tensor, "*axes time keys"],
    k: Float[Tensor, "*axes time keys"],
    v: Float[Tensor, "*axes time values"],
    log_decay: Float[Tensor, "*axes time keys"],
    state: Float[Tensor, "*axes keys values"],
) -> tuple[Float[Tensor, "*axes time values"], Float[Tensor, "*axes keys values"]]:
    """All steps at once: every o_t, and the last S_t.

    Decays are multiplied up as sums of logarithms. Of two steps j <= i of a chunk, exp(b_i - b_j) is the product of two
    factors, taken from the chunk's middle, so that neither overflows; between chunks there is a scan.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        log_decay: log alpha_t, from `STEEPEST` to 0.
        state: S_0.
    """
    steps = q.shape[-2]
    size = min(_SIZE, steps)
    q, k, v, log_decay = (in_chunks(part, size) for part in (q, k, v, log_decay))
    since_start = log_decay.cumsum(dim=-2)
    end, middle = since_start[..., -1:, :], since_start[..., (size - 1) // 2, None, :]
    drive = (k * (end - since_start).exp()).mT @ v
    before, state = between_chunks(end.exp().mT, drive, state)
    # Above the diagonal the product may overflow; it is not looked at.
    scores = ((q * (since_start - middle).exp()) @ (k * (middle - since_start).exp()).mT).tril()
    return out_of_chunks((q * since_start.exp()) @ before + scores @ v, steps), state
