"""Linear recurrences of a diagonal kind, all steps at once: h_t = a_t * h_(t-1) + b_t.

The maps h -> a h + b are composed in pairs, and pairs of pairs, so that T steps take 2 log2(T) rounds of elementwise
work, T numbers in all (Blelloch 1990, Prefix sums and their applications; Martin & Cundy 2018, Parallelizing linear
recurrent neural nets over sequence length). Nothing is divided by, so that decays of zero are as good as any. The slow
twin is `rnnae_bench.recurrence.reference.linear_recurrence`.
"""

import torch
from jaxtyping import Inexact
from torch import Tensor


def scan(
    decay: Inexact[Tensor, "*axes time features"],
    drive: Inexact[Tensor, "*axes time features"],
    initial: Inexact[Tensor, "*axes features"] | None = None,
) -> Inexact[Tensor, "*axes time features"]:
    """The states h_1 ... h_T of h_t = a_t * h_(t-1) + b_t.

    Args:
        decay: a_t, real or complex.
        drive: b_t.
        initial: h_0; None is zero.

    >>> scan(torch.full((3, 1), 0.5), torch.ones(3, 1), torch.tensor([2.0])).squeeze(1)
    tensor([2., 2., 2.])
    """
    if initial is not None:
        first = drive[..., :1, :] + decay[..., :1, :] * initial.unsqueeze(-2)
        drive = torch.cat((first, drive[..., 1:, :]), dim=-2)
    return _from_zero(decay, drive)


def _from_zero(decay: Tensor, drive: Tensor) -> Tensor:
    steps = drive.shape[-2]
    if steps == 1:
        return drive
    earlier, later = slice(0, steps - 1, 2), slice(1, None, 2)
    # Two steps as one: h -> a' (a h + b) + b'.
    pairs = decay[..., later, :] * decay[..., earlier, :]
    driven = torch.addcmul(drive[..., later, :], decay[..., later, :], drive[..., earlier, :])
    after_pairs = _from_zero(pairs, driven)
    between = slice(2, None, 2)
    known = after_pairs[..., : (steps - 1) // 2, :]
    others = torch.addcmul(drive[..., between, :], decay[..., between, :], known)
    others = torch.cat((drive[..., :1, :], others), dim=-2)
    woven = torch.stack((others[..., : steps // 2, :], after_pairs), dim=-2).flatten(-3, -2)
    return torch.cat((woven, others[..., steps // 2 :, :]), dim=-2)
