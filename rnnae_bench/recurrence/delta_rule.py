"""The delta rule: a matrix that is corrected, at each step, towards giving a value for a key.

    S_t = (I - beta_t k_t k_t^T) S_(t-1) + beta_t k_t v_t^T = S_(t-1) + k_t u_t^T,    o_t = S_t^T q_t,

where the correction is u_t = beta_t (v_t - S_(t-1)^T k_t).

Sources: Schlag, Irie & Schmidhuber (2021), Linear transformers are secretly fast weight programmers, ICML; Yang, Wang,
Zhang, Shen & Kim (2024), Parallelizing linear transformers with the delta rule over sequence length, NeurIPS.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rnnae_bench.recurrence.chunks import in_chunks, out_of_chunks


def step(
    q: Float[Tensor, "*axes keys"],
    k: Float[Tensor, "*axes keys"],
    v: Float[Tensor, "*axes values"],
    beta: Float[Tensor, "*axes 1"],
    state: Float[Tensor, "*axes keys values"],
) -> tuple[Float[Tensor, "*axes values"], Float[Tensor, "*axes keys values"]]:
    """One step: o_t and S_t."""
    k = k.unsqueeze(-2)
    correction = beta.unsqueeze(-1) * (v.unsqueeze(-2) - k @ state)
    state = state + k.mT @ correction
    return (q.unsqueeze(-2) @ state).squeeze(-2), state


def chunked(
    q: Float[Tensor, "*axes time keys"],
    k: Float[Tensor, "*axes time keys"],
    v: Float[Tensor, "*axes time values"],
    beta: Float[Tensor, "*axes time 1"],
    state: Float[Tensor, "*axes keys values"],
    size: int = 64,
) -> tuple[Float[Tensor, "*axes time values"], Float[Tensor, "*axes keys values"]]:
    """All steps, chunk by chunk: every o_t, and the last S_t.

    With S_0 the state before a chunk, its corrections u_i are those of the triangular system

        u_i + beta_i sum_(j<i) (k_i . k_j) u_j = beta_i (v_i - S_0^T k_i),

    whose matrix does not know S_0: it is solved for all chunks at once, once for the values and once for the keys (the
    paper's WY representation in its UT form). What is left from chunk to chunk are two products.

    Args:
        q: Queries.
        k: Keys, at most 1 long.
        v: Values.
        beta: Step sizes from 0 to 2; between 0 and 1 no eigenvalue of I - beta k k^T is negative.
        state: S_0.
        size: Steps of a chunk.
    """
    steps = q.shape[-2]
    q, k, v, beta = (in_chunks(part, min(size, steps)) for part in (q, k, v, beta))
    scaled = beta * k
    solved = torch.linalg.solve_triangular(
        scaled @ k.mT, torch.cat((scaled, beta * v), dim=-1), upper=False, unitriangular=True
    )
    of_keys, of_values = solved.split((k.shape[-1], v.shape[-1]), dim=-1)
    states, corrections = [], []
    for key, of_key, of_value in zip(k.unbind(-3), of_keys.unbind(-3), of_values.unbind(-3), strict=True):
        states.append(state)
        corrections.append(of_value - of_key @ state)
        state = state + key.mT @ corrections[-1]
    outputs = q @ torch.stack(states, dim=-3) + (q @ k.mT).tril() @ torch.stack(corrections, dim=-3)
    return out_of_chunks(outputs, steps), state
